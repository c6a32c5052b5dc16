//! The protocol on a local socket, for many clients: [`listen`].

use std::{
    convert::Infallible,
    fs::{self, File},
    io::{self, Read, Write},
    net::Shutdown,
    os::fd::AsFd,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    time::Timespec,
};

use super::Client;
use crate::{
    error::CellError,
    protocol::{Answer, Reply},
    worker::Worker,
};

/// The pause before the next try, if clients cannot be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves clients on a local socket, with two threads for each. Only the owner may connect.
///
/// A socket that a worker has left behind is replaced; a socket with a listener is not.
///
/// A client beyond [`Limits::clients`](crate::Limits::clients) gets an `error` named `Refused`
/// without an `id`, and its connection ends. The same happens if there is no descriptor or no
/// thread for a client; the worker reports that once on the standard error, and goes on.
///
/// # Errors
///
/// If the socket cannot be made.
pub fn listen(worker: &Worker, path: &Path) -> io::Result<Infallible> {
    let listener = bind(path)?;
    let mut spell = Spell::default();
    let mut spare = Spare::default();
    // Each client has a clone.
    let places = Arc::new(());
    loop {
        spare.fill();
        let stream = match listener.accept() {
            Ok((stream, _)) => Arc::new(stream),
            // The client's fault, or a signal.
            Err(error) if is_passing(&error) => continue,
            Err(error) => {
                spell.begins(&error);
                if fourway::net::is_exhausted(&error) && spare.give(&listener) {
                    continue;
                }
                thread::sleep(PAUSE);
                continue;
            }
        };
        // Only this thread adds clients; one that has just left may still be counted.
        let clients = Arc::strong_count(&places) - 1;
        let most = worker.limits().clients;
        if clients >= most {
            refuse(&stream, &format!("there are {most} clients already"));
            continue;
        }
        match welcome(worker, &stream, places.clone()) {
            Ok(()) => spell.ends(),
            Err(error) => {
                spell.begins(&error);
                refuse(&stream, &format!("no thread for another client: {error}"));
            }
        }
    }
}

fn welcome(worker: &Worker, stream: &Arc<UnixStream>, place: Arc<()>) -> io::Result<()> {
    let client = Client::start(worker, Shared(stream.clone()))?;
    let mut stream = Shared(stream.clone());
    let thread = thread::Builder::new().name("code-worker-client".to_owned());
    let reader = move || {
        let other = stream.0.clone();
        let is_gone = || is_gone(&*other);
        let cut = || {
            // If this fails, the connection is gone already.
            let _ = other.shutdown(Shutdown::Both);
        };
        if let Err(error) = client.serve(&mut stream, is_gone, cut) {
            eprintln!("a client: {error}");
        }
        // Before the connection ends, so that a client that comes because of that end finds the
        // place free.
        drop(place);
        drop(stream);
    };
    thread.spawn(reader).map(drop)
}

/// One descriptor for both directions: two would halve the clients that a process can have.
struct Shared(Arc<UnixStream>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}

/// Sends the reason, and ends the connection gracefully: the client reads the reason, and then the
/// end. Never waits for the client.
fn refuse(stream: &UnixStream, why: &str) {
    let mut stream = stream;
    let line = Answer {
        id: None,
        reply: Reply::Error(CellError::new("Refused", why)),
    }
    .line();
    // A new connection has room for a line. If a step fails, the client is gone.
    let told = stream
        .set_nonblocking(true)
        .and_then(|()| stream.write_all(line.as_bytes()))
        .and_then(|()| stream.shutdown(Shutdown::Both));
    // Reads what the client has sent, and blocks more: closing a connection with unread bytes would
    // give the client an error in place of the end.
    let mut buffer = [0; 4096];
    while told.is_ok() && stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
}

/// A period in which clients cannot be served: reported once, whatever the number of tries.
#[derive(Default)]
struct Spell(bool);

impl Spell {
    fn begins(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.0, true) {
            eprintln!("code-worker: clients cannot be served, until they can: {error}");
        }
    }

    fn ends(&mut self) {
        if std::mem::take(&mut self.0) {
            eprintln!("code-worker: clients are served again");
        }
    }
}

/// A spare descriptor for the moment when there is no other, so that clients are then refused
/// and not left waiting.
#[derive(Default)]
struct Spare(Option<File>);

impl Spare {
    fn fill(&mut self) {
        if self.0.is_none() {
            // Without it, clients wait until there is a descriptor.
            self.0 = File::open("/dev/null").ok();
        }
    }

    /// Refuses a client with it. `false` if there is no client, or no spare, or another thread
    /// has taken the descriptor meanwhile.
    fn give(&mut self, listener: &UnixListener) -> bool {
        // Linux allocates a descriptor before it looks for a client. Perhaps there is no client,
        // and waiting here for one would refuse it when there may be descriptors again.
        if self.0.take().is_none() || listener.set_nonblocking(true).is_err() {
            return false;
        }
        let client = listener.accept();
        if let Ok((stream, _)) = &client {
            refuse(stream, "no descriptor for another client");
        }
        // The opposite change succeeded above. If this fails, the loop tries again after each
        // pause.
        let _ = listener.set_nonblocking(false);
        client.is_ok()
    }
}

/// Has the other end been closed in both directions? A client that only sends no more is not gone.
/// (Some systems do not tell the two apart; there it is.)
pub(super) fn is_gone(output: &impl AsFd) -> bool {
    // These are reported unasked.
    let mut fds = [PollFd::new(output, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec::default())).is_ok()
        && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let is_left_behind = fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.file_type().is_socket())
        && UnixStream::connect(path).is_err();
    if is_left_behind {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // A client that connects before this needs only the permission of the folder. So the folder
    // must keep other users out from the first moment. `README.md` says so.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

//! The protocol on streams of bytes: the standard ones, and a local socket.

use std::{
    io::{self, Read, Write},
    thread,
};

use fourway::BlockOn;

use crate::{
    protocol::Lines,
    worker::{Connection, Worker},
};

/// Serves one client: reads on this thread until the end of the input or a `shutdown`, and writes
/// on another. Sessions of the client end with it.
///
/// # Errors
///
/// Of reading, or if there is no thread. A client that no longer reads has what is written to it thrown away.
pub fn serve(
    worker: &Worker,
    mut input: impl Read,
    mut output: impl Write + Send + 'static,
) -> io::Result<()> {
    let connection = worker.connect();
    let outbox = connection.outbox().clone();
    let rt = worker.runtime().clone();
    let writer = thread::Builder::new()
        .name("code-worker-out".to_owned())
        .spawn({
            let outbox = outbox.clone();
            move || {
                while let Some(answer) = rt.block_on(outbox.pop()) {
                    let written = output
                        .write_all(answer.line().as_bytes())
                        .and_then(|()| output.flush());
                    if written.is_err() {
                        outbox.close();
                    }
                }
            }
        })?;
    let result = read(&connection, &mut input);
    drop(connection);
    // Closed by that; what is still in it goes out.
    if writer.join().is_err() {
        return Err(io::Error::other("the output panicked"));
    }
    result
}

fn read(connection: &Connection, input: &mut impl Read) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => {
                lines.end(|line| connection.take(&line));
                return Ok(());
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        lines.feed(&buffer[..count], |line| {
            if !connection.is_over() {
                connection.take(&line);
            }
        });
        if connection.is_over() {
            return Ok(());
        }
    }
}

/// Serves clients on a local socket until accepting fails, a thread for each. Nobody but the owner
/// may connect.
///
/// A socket that a worker has left behind is replaced; one at which somebody listens is not.
///
/// # Errors
///
/// If the socket cannot be made, or no more clients be accepted.
#[cfg(unix)]
pub fn listen(worker: &Worker, path: &std::path::Path) -> io::Result<()> {
    let listener = bind(path)?;
    loop {
        let (stream, _) = match listener.accept() {
            Ok(accepted) => accepted,
            // The client's fault, or a signal.
            Err(error) if is_passing(&error) => continue,
            Err(error) => return Err(error),
        };
        let worker = worker.clone();
        thread::Builder::new()
            .name("code-worker-client".to_owned())
            .spawn(move || {
                let Ok(output) = stream.try_clone() else {
                    return;
                };
                if let Err(error) = serve(&worker, &stream, output) {
                    eprintln!("a client: {error}");
                }
            })?;
    }
}

#[cfg(unix)]
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

#[cfg(unix)]
fn bind(path: &std::path::Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::{
        fs,
        os::unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    };

    let is_left_behind = fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.file_type().is_socket())
        && UnixStream::connect(path).is_err();
    if is_left_behind {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // A client that comes before this has connected where the folder let it; so the folder is
    // what has to keep others out from the first moment. `README.md` says so.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

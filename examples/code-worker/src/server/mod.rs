//! The protocol on streams of bytes: the standard ones, and a local socket.

#[cfg(unix)]
mod socket;

use std::{
    io::{self, Read, Write},
    pin::pin,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use fourway::{BlockOn, Timer};

#[cfg(unix)]
pub use socket::listen;

use crate::{
    protocol::Lines,
    worker::{Connection, Worker},
};

/// How long a client that has sent everything may take to read the rest.
const PATIENCE: Duration = Duration::from_secs(30);
/// The time between two checks whether a client that has sent everything is still there.
const CHECK: Duration = Duration::from_millis(100);

/// Serves one client: reads on this thread until the end of the input or a `shutdown`, and writes
/// on another. Returns when all requests have their replies, or nobody reads these. Sessions of the
/// client end with it.
///
/// # Errors
///
/// Errors of reading, or if no thread can be started. Output to a client that no longer reads is
/// thrown away.
pub fn serve(
    worker: &Worker,
    mut input: impl Read,
    output: impl Write + Send + 'static,
) -> io::Result<()> {
    Client::start(worker, output)?.serve(&mut input, || false, || {})
}

/// [`serve`] on the standard streams.
///
/// # Errors
///
/// As there.
pub fn serve_standard_streams(worker: &Worker) -> io::Result<()> {
    let client = Client::start(worker, io::stdout())?;
    // No other client waits, so a slow one is not cut off.
    client.serve(&mut io::stdin(), is_stdout_gone, || {})
}

#[cfg(unix)]
fn is_stdout_gone() -> bool {
    socket::is_gone(&io::stdout())
}

/// The next reply will find out.
#[cfg(not(unix))]
fn is_stdout_gone() -> bool {
    false
}

/// A client that is written to.
struct Client {
    connection: Connection,
    writer: JoinHandle<()>,
    // Closed when the writer has ended.
    written: Receiver<()>,
}

impl Client {
    /// Fails if there is no thread; nothing has been written then.
    fn start(worker: &Worker, mut output: impl Write + Send + 'static) -> io::Result<Self> {
        let connection = worker.connect();
        let outbox = connection.outbox().clone();
        let rt = worker.runtime().clone();
        let (writing, written) = channel();
        let writer = thread::Builder::new()
            .name("code-worker-out".to_owned())
            .spawn(move || {
                // Held until this thread ends.
                let _writing: Sender<()> = writing;
                while let Some(answer) = rt.block_on(outbox.pop()) {
                    let written = output
                        .write_all(answer.line().as_bytes())
                        .and_then(|()| output.flush());
                    if written.is_err() {
                        outbox.close();
                    }
                }
            })?;
        Ok(Self {
            connection,
            writer,
            written,
        })
    }

    /// `is_gone` tells whether nobody reads the replies any more; `cut` makes writing fail, for a
    /// client that has sent everything and does not read.
    fn serve(
        self,
        input: &mut impl Read,
        is_gone: impl Fn() -> bool,
        cut: impl FnOnce(),
    ) -> io::Result<()> {
        let Self {
            connection,
            writer,
            written,
        } = self;
        let result = read(&connection, input);
        if result.is_ok() {
            answer_the_rest(&connection, is_gone);
        }
        drop(connection);
        // This closes it; its remaining messages go out.
        if matches!(
            written.recv_timeout(PATIENCE),
            Err(RecvTimeoutError::Timeout)
        ) {
            cut();
        }
        if writer.join().is_err() {
            return Err(io::Error::other("the output panicked"));
        }
        result
    }
}

/// Waits for the replies to all requests of a client that sends no more.
fn answer_the_rest(connection: &Connection, is_gone: impl Fn() -> bool) {
    connection.outbox().expect_no_answers();
    let rt = connection.worker().runtime();
    let mut idle = pin!(connection.idle());
    while rt.block_on(rt.timeout(CHECK, idle.as_mut())).is_err() {
        if connection.outbox().is_closed() || is_gone() {
            break;
        }
    }
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
                // This client must read before its input is read again.
                let rt = connection.worker().runtime();
                rt.block_on(connection.outbox().ready_for_requests());
                connection.take(&line);
            }
        });
        if connection.is_over() {
            return Ok(());
        }
    }
}

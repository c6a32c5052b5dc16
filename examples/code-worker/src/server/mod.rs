//! The protocol on streams of bytes: the standard ones, and a local socket.

#[cfg(unix)]
mod socket;

use std::{
    io::{self, Read, Write},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use fourway::BlockOn;

#[cfg(unix)]
pub use socket::listen;

use crate::{
    protocol::Lines,
    worker::{Connection, Worker},
};

/// How long a client that has sent everything may take to read the rest.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves one client: reads on this thread until the end of the input or a `shutdown`, and writes
/// on another. Sessions of the client end with it.
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
    // On the standard streams no other client waits.
    Client::start(worker, output)?.serve(&mut input, || {})
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

    /// `cut` makes writing fail, for a client that has sent everything and does not read.
    fn serve(self, input: &mut impl Read, cut: impl FnOnce()) -> io::Result<()> {
        let Self {
            connection,
            writer,
            written,
        } = self;
        let result = read(&connection, input);
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

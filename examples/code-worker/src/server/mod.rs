//! The protocol on streams of bytes: the standard ones, and a local socket.

#[cfg(unix)]
mod socket;

use std::{
    io::{self, Read, Write},
    thread::{self, JoinHandle},
};

use fourway::BlockOn;

#[cfg(unix)]
pub use socket::listen;

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
    output: impl Write + Send + 'static,
) -> io::Result<()> {
    Client::start(worker, output)?.serve(&mut input)
}

/// A client that is written to.
struct Client {
    connection: Connection,
    writer: JoinHandle<()>,
}

impl Client {
    /// Fails if there is no thread; nothing has been written then.
    fn start(worker: &Worker, mut output: impl Write + Send + 'static) -> io::Result<Self> {
        let connection = worker.connect();
        let outbox = connection.outbox().clone();
        let rt = worker.runtime().clone();
        let writer = thread::Builder::new()
            .name("code-worker-out".to_owned())
            .spawn(move || {
                while let Some(answer) = rt.block_on(outbox.pop()) {
                    let written = output
                        .write_all(answer.line().as_bytes())
                        .and_then(|()| output.flush());
                    if written.is_err() {
                        outbox.close();
                    }
                }
            })?;
        Ok(Self { connection, writer })
    }

    fn serve(self, input: &mut impl Read) -> io::Result<()> {
        let Self { connection, writer } = self;
        let result = read(&connection, input);
        drop(connection);
        // Closed by that; what is still in it goes out.
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
                connection.take(&line);
            }
        });
        if connection.is_over() {
            return Ok(());
        }
    }
}

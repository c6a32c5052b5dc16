//! The access log, written where it may block: [`Log`].

use std::{
    io::{BufWriter, Write},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use fourway_core::{Runtime, Task};

/// Takes lines without waiting. Those for which there is no room are lost, and counted: a slow
/// disk is not to hold up requests.
#[derive(Clone, Debug)]
pub struct Log {
    lines: Option<SyncSender<String>>,
}

impl Log {
    /// Writes to `to`, in a closure of the runtime's pool, until the last clone is gone.
    pub fn new<R: Runtime>(runtime: &R, to: impl Write + Send + 'static) -> Self {
        let (lines, written) = sync_channel(4096);
        runtime.offload(move || write(&written, to)).detach();
        Self { lines: Some(lines) }
    }

    /// Writes nothing.
    pub fn none() -> Self {
        Self { lines: None }
    }

    /// Is there room for the line?
    pub(crate) fn line(&self, line: impl FnOnce() -> String) -> bool {
        let Some(lines) = &self.lines else {
            return true;
        };
        lines.try_send(line()).is_ok()
    }
}

fn write(lines: &Receiver<String>, to: impl Write) {
    let mut to = BufWriter::new(to);
    // What is there at once is written at once.
    while let Ok(line) = lines.recv() {
        let more = std::iter::from_fn(|| lines.try_recv().ok());
        for line in std::iter::once(line).chain(more) {
            if writeln!(to, "{line}").is_err() {
                return;
            }
        }
        if to.flush().is_err() {
            return;
        }
    }
}

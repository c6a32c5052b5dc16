//! The access log, written where it may block: [`Log`].

use std::{
    fmt,
    io::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fourway_core::{Runtime, Task};

use crate::Metrics;

/// Takes lines without waiting. Lines without room are lost and counted: a slow disk must not delay
/// requests.
#[derive(Clone)]
pub struct Log {
    shared: Option<Arc<Shared>>,
}

struct Shared {
    pending: Mutex<Pending>,
    to: Mutex<Box<dyn Write + Send>>,
    offload: Box<dyn Fn(Writing) + Send + Sync>,
}

#[derive(Default)]
struct Pending {
    text: String,
    is_being_written: bool,
}

/// How many bytes may wait to be written.
const ROOM: usize = 1 << 20;

impl Log {
    /// Writes to `to` in closures of the runtime's pool, which hold a slot of it only while there
    /// is something to write.
    pub fn new<R: Runtime>(runtime: &R, to: impl Write + Send + 'static) -> Self {
        let runtime = runtime.clone();
        let shared = Shared {
            pending: Mutex::default(),
            to: Mutex::new(Box::new(to)),
            offload: Box::new(move |writing| runtime.offload(move || writing.run()).detach()),
        };
        Self {
            shared: Some(Arc::new(shared)),
        }
    }

    /// Writes nothing.
    pub fn none() -> Self {
        Self { shared: None }
    }

    /// Waits until all added lines are written, for at most `time`: a full pipe without a reader
    /// never takes them. Returns whether they are written.
    pub async fn flush<R: Runtime>(&self, runtime: &R, time: Duration) -> bool {
        let Some(shared) = self.shared.clone() else {
            return true;
        };
        let writing = runtime.offload(move || shared.write());
        matches!(runtime.timeout(time, writing).await, Ok(Ok(())))
    }

    /// Adds a line of the program itself, if there is room for it.
    pub fn say(&self, line: impl FnOnce() -> String) {
        self.line(line);
    }

    /// Adds the line. Was there room for it?
    pub(crate) fn line(&self, line: impl FnOnce() -> String) -> bool {
        let Some(shared) = &self.shared else {
            return true;
        };
        let line = line();
        let mut pending = shared.lock();
        if pending.text.len() + line.len() >= ROOM {
            return false;
        }
        pending.text.push_str(&line);
        pending.text.push('\n');
        let is_first = !pending.is_being_written;
        pending.is_being_written = true;
        drop(pending);
        if is_first {
            (shared.offload)(Writing(Some(shared.clone())));
        }
        true
    }
}

impl Shared {
    /// Writes until no lines are left.
    fn write(&self) {
        // First the writer, then the lines, so that two writing closures keep the order.
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let text = {
                let mut pending = self.lock();
                if pending.text.is_empty() {
                    pending.is_being_written = false;
                    return;
                }
                std::mem::take(&mut pending.text)
            };
            // A failed writer, such as a closed pipe, gets no lines and blocks no request.
            let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // No code panics under this lock.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A closure is going to write. If it is dropped without running, as the pool was full or shut
/// down, the next line tries again.
struct Writing(Option<Arc<Shared>>);

impl Writing {
    fn run(mut self) {
        if let Some(shared) = &self.0 {
            shared.write();
        }
        // By now another closure may be writing.
        self.0 = None;
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.lock().is_being_written = false;
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// An entry that is written when it is dropped: at the end of the answer, or with the request whose
/// client has gone.
pub(crate) struct Line {
    pub(crate) entry: Entry,
    pub(crate) log: Log,
    pub(crate) metrics: Arc<Metrics>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let had_room = self.log.line(|| self.entry.to_string());
        self.metrics.logged(had_room);
    }
}

/// The status of a request whose client has gone before its answer came, as nginx writes it.
const GONE: u16 = 499;

/// A line to be written at the end of the answer: time, peer, request, status, bytes of the
/// answer's body, duration, and whether it was complete.
#[derive(Debug)]
pub(crate) struct Entry {
    at: Stamp,
    begun: Instant,
    /// The peer, and the request.
    asked: String,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) is_complete: bool,
}

impl Entry {
    pub(crate) fn new(asked: String) -> Self {
        Self {
            at: Stamp::now(),
            begun: Instant::now(),
            asked,
            status: GONE,
            bytes: 0,
            is_complete: false,
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, took) = (self.at, self.begun.elapsed().as_millis());
        let end = if self.is_complete { "" } else { " cut off" };
        write!(
            f,
            "{at} {} {} {} bytes {took} ms{end}",
            self.asked, self.status, self.bytes,
        )
    }
}

/// A time: seconds since 1970, with three decimal places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp(Duration);

impl Stamp {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since.unwrap_or_default())
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::mpsc};

    use fourway_testing::{AGES, any, run};

    use super::*;

    /// Blocks writes until the sender of `let_it` is dropped.
    struct Blocked {
        let_it: mpsc::Receiver<()>,
        written: mpsc::Sender<usize>,
    }

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Returns when the sender is dropped.
            let _ = self.let_it.recv();
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            self.written.send(lines).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_not_written_takes_no_more_than_its_room() {
        let rt = any();
        let (unblock, let_it) = mpsc::channel();
        let (written, counts) = mpsc::channel();
        let log = Log::new(&rt, Blocked { let_it, written });
        let line = "x".repeat(1023);
        let all = 3 * ROOM / 1024;
        let taken = (0..all).filter(|_| log.line(|| line.clone())).count();
        // The lines that are being written, and as many that wait.
        assert!(taken <= 2 * ROOM / 1024, "{taken} of {all}");
        run(&rt, async {
            assert!(!log.flush(&rt, Duration::from_millis(20)).await);
            drop(unblock);
            assert!(log.flush(&rt, AGES).await);
        });
        let written: usize = counts.try_iter().sum();
        assert_eq!(written, taken);
    }
}

//! Waiting for events, with deadlines; plain threads.

use std::{
    cell::RefCell,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// How long an event that must happen may take. Only a failing case reaches it.
pub(crate) fn must() -> Duration {
    Duration::from_millis(MUST.load(Ordering::Relaxed))
}

/// How long a case watches for an event that must not happen.
pub(crate) fn must_not() -> Duration {
    Duration::from_millis(MUST_NOT.load(Ordering::Relaxed))
}

// Milliseconds. Relaxed: written before the cases of a process begin.
static MUST: AtomicU64 = AtomicU64::new(30_000);
static MUST_NOT: AtomicU64 = AtomicU64::new(50);

/// For the runner, before a case begins.
pub(crate) fn set_limits(must: u64, must_not: u64) {
    MUST.store(must, Ordering::Relaxed);
    MUST_NOT.store(must_not, Ordering::Relaxed);
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < must(), "did not happen in time: {what}");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Watches for [`MUST_NOT`], and fails if `condition` ever holds.
#[track_caller]
pub(crate) fn never(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < must_not() {
        assert!(!condition(), "must not happen: {what}");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Runs `f` on a plain thread and gives its result, or fails if that takes too long. Panics
/// continue in the caller.
#[track_caller]
pub(crate) fn on_thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(f);
    eventually("a thread ends", || thread.is_finished());
    match thread.join() {
        Ok(value) => value,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// Runs `f` on `n` plain threads at a time and gives the results in order.
#[track_caller]
pub(crate) fn on_threads<T: Send + 'static>(
    n: usize,
    f: impl Fn(usize) -> T + Clone + Send + 'static,
) -> Vec<T> {
    let threads: Vec<_> = (0..n)
        .map(|i| {
            let f = f.clone();
            thread::spawn(move || f(i))
        })
        .collect();
    eventually("all threads end", || {
        threads.iter().all(thread::JoinHandle::is_finished)
    });
    threads
        .into_iter()
        .map(|thread| match thread.join() {
            Ok(value) => value,
            Err(payload) => std::panic::resume_unwind(payload),
        })
        .collect()
}

/// Receives a message that must come.
#[track_caller]
pub(crate) fn receive<T>(from: &mpsc::Receiver<T>) -> T {
    match from.recv_timeout(must()) {
        Ok(message) => message,
        Err(error) => panic!("a message that must come did not: {error}"),
    }
}

/// Runs `f` when the calling thread ends, by the destructor of a thread-local. It must not panic.
pub(crate) fn at_thread_end(f: impl FnOnce() + 'static) {
    type Todo = Vec<Box<dyn FnOnce()>>;
    struct AtEnd(RefCell<Todo>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            self.0.take().into_iter().for_each(|f| f());
        }
    }
    thread_local! {
        static AT_END: AtEnd = const { AtEnd(RefCell::new(Vec::new())) };
    }
    AT_END.with(|at_end| at_end.0.borrow_mut().push(Box::new(f)));
}

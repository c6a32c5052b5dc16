//! Cases about the whole process run alone in it: [`with_others`], [`alone`].

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How many run now: cases, and those that are alone or wait to be.
struct Running {
    cases: usize,
    lone: usize,
    /// One of the lone ones runs.
    is_alone: bool,
}

static RUNNING: Mutex<Running> = Mutex::new(Running {
    cases: 0,
    lone: 0,
    is_alone: false,
});
static CHANGED: Condvar = Condvar::new();

/// How long to wait for other cases. Broken sockets may keep one for ever.
const PATIENCE: Duration = Duration::from_secs(60);

fn lock() -> MutexGuard<'static, Running> {
    // No code that panics runs under this lock.
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `body` beside others of its kind, but beside none that is [`alone`].
pub(crate) fn with_others<T>(body: impl FnOnce() -> T) -> T {
    // One that waits goes first, or others would keep it waiting in turn.
    let running = CHANGED.wait_while(lock(), |running| running.lone > 0);
    running.unwrap_or_else(PoisonError::into_inner).cases += 1;
    let _end = End(|running| running.cases -= 1);
    body()
}

/// Runs `body` while no other case runs.
pub(crate) fn alone<T>(body: impl FnOnce() -> T) -> T {
    let mut running = lock();
    running.lone += 1;
    let _end = End(|running| running.lone -= 1);
    let waited = CHANGED.wait_timeout_while(running, PATIENCE, |running| {
        running.cases > 0 || running.is_alone
    });
    let (mut running, waited) = waited.unwrap_or_else(PoisonError::into_inner);
    let is_free = !waited.timed_out();
    running.is_alone |= is_free;
    drop(running);
    assert!(
        is_free,
        "another case does not end, and this one has to be alone"
    );
    let _end = End(|running| running.is_alone = false);
    body()
}

/// Changes the numbers back, also after a panic.
struct End(fn(&mut Running));

impl Drop for End {
    fn drop(&mut self) {
        (self.0)(&mut lock());
        CHANGED.notify_all();
    }
}

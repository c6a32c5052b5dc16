//! Cases about the whole process run alone in it: [`Turn`].

use std::{
    mem,
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

/// How long to wait for other cases, far more than the limits of several. Broken sockets may keep
/// one for ever.
const PATIENCE: Duration = Duration::from_secs(240);

fn lock() -> MutexGuard<'static, Running> {
    // No code that panics runs under this lock.
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The turn of a case, until it is dropped.
pub(crate) struct Turn(fn(&mut Running));

impl Turn {
    /// Waits until no case that is [alone](Self::alone) runs or waits.
    pub(crate) fn with_others() -> Self {
        // One that waits goes first, or others would keep it waiting in turn.
        wait(lock(), |running| running.lone > 0).cases += 1;
        Self(|running| running.cases -= 1)
    }

    /// Waits until no other case runs.
    pub(crate) fn alone() -> Self {
        let mut running = lock();
        running.lone += 1;
        let lone = Self(|running| running.lone -= 1);
        wait(running, |running| running.cases > 0 || running.is_alone).is_alone = true;
        // Both at once, below.
        mem::forget(lone);
        Self(|running| {
            running.lone -= 1;
            running.is_alone = false;
        })
    }
}

/// Waits while it is so.
fn wait(
    running: MutexGuard<'static, Running>,
    is_so: impl FnMut(&mut Running) -> bool,
) -> MutexGuard<'static, Running> {
    let waited = CHANGED.wait_timeout_while(running, PATIENCE, is_so);
    let (running, waited) = waited.unwrap_or_else(PoisonError::into_inner);
    if waited.timed_out() {
        // Not under the lock, which a turn takes that the panic drops.
        drop(running);
        panic!("another case does not end");
    }
    running
}

/// Gives the turn to others, also after a panic.
impl Drop for Turn {
    fn drop(&mut self) {
        (self.0)(&mut lock());
        CHANGED.notify_all();
    }
}

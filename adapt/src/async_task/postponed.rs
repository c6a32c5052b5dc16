//! Cancellations that were asked for while another thread was busy with the native task. That
//! thread carries them out next. Until then the executor does not know of them, and would poll once
//! more a future that was cancelled during its poll (CA-2, cancelled promptly).

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use crate::fork::PerProcess;

#[derive(Default)]
struct Postponed {
    /// The tasks with a postponed cancellation.
    tasks: Mutex<Vec<u64>>,
    /// How many there are, to be read without the lock: most of the time, none.
    count: AtomicUsize,
}

/// Made by the first of them.
static POSTPONED: PerProcess<Postponed> = PerProcess::new();

impl Postponed {
    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under the lock.
    fn count(&self, tasks: &[u64]) {
        // Relaxed: a poll that is ordered after the request, by whatever means, sees this value or a
        // later one.
        self.count.store(tasks.len(), Ordering::Relaxed);
    }

    #[cold]
    fn contains(&self, task: u64) -> bool {
        self.lock().contains(&task)
    }
}

pub(super) fn add(task: u64) {
    let postponed = POSTPONED.get_or_init(Postponed::default);
    let mut tasks = postponed.lock();
    tasks.push(task);
    postponed.count(&tasks);
}

pub(super) fn done(task: u64) {
    let Some(postponed) = POSTPONED.get() else {
        return;
    };
    let mut tasks = postponed.lock();
    if let Some(at) = tasks.iter().position(|known| *known == task) {
        tasks.swap_remove(at);
        postponed.count(&tasks);
    }
}

#[inline]
pub(super) fn contains(task: u64) -> bool {
    POSTPONED.get().is_some_and(|postponed| {
        postponed.count.load(Ordering::Relaxed) > 0 && postponed.contains(task)
    })
}

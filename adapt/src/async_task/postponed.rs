//! Cancellations that were asked for while another thread was busy with the native task. That
//! thread carries them out next. Until then the executor does not know of them, and would poll once
//! more a future that was cancelled during its poll (CA-2).

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use crate::fork::PerProcess;

/// How many there are: most of the time, none.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// The tasks with a postponed cancellation.
static TASKS: PerProcess<Mutex<Vec<u64>>> = PerProcess::new();

fn tasks() -> MutexGuard<'static, Vec<u64>> {
    let tasks = TASKS.get_or_init(Mutex::default);
    tasks.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn add(task: u64) {
    let mut tasks = tasks();
    tasks.push(task);
    // Relaxed: a poll that is ordered after the request, by whatever means, sees this value or a
    // later one.
    COUNT.store(tasks.len(), Ordering::Relaxed);
}

pub(super) fn done(task: u64) {
    let mut tasks = tasks();
    if let Some(at) = tasks.iter().position(|known| *known == task) {
        tasks.swap_remove(at);
        COUNT.store(tasks.len(), Ordering::Relaxed);
    }
}

#[inline]
pub(super) fn contains(task: u64) -> bool {
    COUNT.load(Ordering::Relaxed) > 0 && is_listed(task)
}

#[cold]
fn is_listed(task: u64) -> bool {
    let tasks = tasks();
    // In a forked child the count was the parent's until now.
    COUNT.store(tasks.len(), Ordering::Relaxed);
    tasks.contains(&task)
}

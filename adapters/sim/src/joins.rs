//! Threads that are being joined: [`Joins`].

use std::{
    sync::{Condvar, Mutex, PoisonError},
    thread::{self, ThreadId},
};

use crate::state::lock;

/// The threads whose ends other threads are waiting for. A handle can be joined once: of two
/// shutdowns at the same time, the one that has found no handle left waits for the other (SH-1,
/// orderly shutdown).
#[derive(Default)]
pub(crate) struct Joins {
    awaited: Mutex<Vec<ThreadId>>,
    changed: Condvar,
}

impl Joins {
    /// The calling thread has taken the handle of `thread`, and is going to join it. Called under
    /// the simulation's lock, so that nobody finds neither the handle nor this.
    pub(crate) fn begin(&self, thread: ThreadId) {
        lock(&self.awaited).push(thread);
        // It may be a thread that waits in here.
        self.changed.notify_all();
    }

    /// `thread` has ended.
    pub(crate) fn end(&self, thread: ThreadId) {
        lock(&self.awaited).retain(|awaited| *awaited != thread);
        self.changed.notify_all();
    }

    /// Waits until no thread is being joined. A thread that is joined itself, and is here because
    /// of a destructor of one of its thread-locals, returns at once: the others wait for it.
    pub(crate) fn wait(&self) {
        let me = thread::current().id();
        let mut awaited = lock(&self.awaited);
        while !awaited.is_empty() && !awaited.contains(&me) {
            let waited = self.changed.wait(awaited);
            awaited = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

//! All suspended tasks, so that a shutdown finds them (JO-5, every join resolves).
//!
//! A list through the tasks themselves, which costs no memory of its own. A task
//! enters it when it is pending for the first time, and leaves it when it is done or
//! freed; most tasks are ready at once and never do. Being in the list is not a
//! reference (WA-3, lost tasks are destroyed): a task leaves the list before its memory is freed,
//! under the lock, and a reader of the list makes references only of tasks that still have some.

#![allow(unsafe_code, reason = "a list that goes through its elements")]

use std::{
    ptr::{self, NonNull},
    sync::PoisonError,
};

use crate::{
    cell::{Header, TaskRef},
    sync::{Mutex, MutexGuard, cell::UnsafeCell},
};

/// A task's place in the list.
pub(crate) struct Links(UnsafeCell<Neighbours>);

struct Neighbours {
    /// Null for the first. [`OUT`] for a task that is not in the list.
    before: *mut Header,
    after: *mut Header,
}

/// Points to no task.
const OUT: *mut Header = ptr::without_provenance_mut(1);

impl Links {
    pub(crate) fn new() -> Self {
        Self(UnsafeCell::new(Neighbours {
            before: OUT,
            after: ptr::null_mut(),
        }))
    }
}

pub(crate) struct Registry {
    list: Mutex<List>,
}

struct List {
    first: *mut Header,
    closed: bool,
}

// SAFETY: the tasks in the list may be used from any thread, and their links are
// accessed under the lock only.
unsafe impl Send for List {}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            list: Mutex::new(List {
                first: ptr::null_mut(),
                closed: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        // No user code runs under the lock, so that nothing can poison it.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a task, which is not in the list; `false` if that is closed.
    pub(crate) fn enter(&self, task: &TaskRef) -> bool {
        let mut list = self.lock();
        if list.closed {
            return false;
        }
        task.mark_registered();
        list.push(task.pointer());
        true
    }

    /// Strikes out a task, if it is in the list.
    pub(crate) fn leave(&self, task: NonNull<Header>) {
        self.lock().remove(task);
    }

    /// Refuses all tasks from here on, and gives those that there are. `None` if it was
    /// closed before.
    pub(crate) fn close(&self) -> Option<Vec<TaskRef>> {
        let mut list = self.lock();
        if list.closed {
            return None;
        }
        list.closed = true;
        let mut tasks = Vec::new();
        while let Some(first) = NonNull::new(list.first) {
            list.remove(first);
            // SAFETY: it was in the list, and the lock is held.
            tasks.extend(unsafe { TaskRef::revive(first) });
        }
        Some(tasks)
    }
}

impl List {
    fn push(&mut self, task: NonNull<Header>) {
        let first = self.first;
        with(task, |links| {
            links.before = ptr::null_mut();
            links.after = first;
        });
        if let Some(first) = NonNull::new(first) {
            with(first, |links| links.before = task.as_ptr());
        }
        self.first = task.as_ptr();
    }

    fn remove(&mut self, task: NonNull<Header>) {
        let (before, after) = with(task, |links| {
            let was = (links.before, links.after);
            links.before = OUT;
            was
        });
        if before == OUT {
            return;
        }
        match NonNull::new(before) {
            None => self.first = after,
            Some(before) => with(before, |links| links.after = after),
        }
        if let Some(after) = NonNull::new(after) {
            with(after, |links| links.before = before);
        }
    }
}

/// Accesses the links of a task that is in the list, or whose memory the caller keeps.
/// The caller has the lock: it is a method of [`List`], of which there is one mutable
/// reference at most.
fn with<R>(task: NonNull<Header>, f: impl FnOnce(&mut Neighbours) -> R) -> R {
    // SAFETY: a task leaves the list before its memory is freed, and the caller has the
    // lock.
    let header = unsafe { task.as_ref() };
    // SAFETY: links are accessed under the lock only, and `f`, which is one of those
    // above, does not come back here.
    header.links.0.with_mut(|links| f(unsafe { &mut *links }))
}

//! What takes the place of a manager's state in a forked child: [`InChild`].
//!
//! The jobs are the parent's, which goes on with them. In the child no thread runs them, and every
//! lock of the manager may be held for ever. So nothing of the parent's state is touched there, not
//! even dropped (FK-1, forked children). A manager remembers its process. In any other each of its
//! methods works on a state of its own instead, which is closed and knows no job: then no method
//! needs an answer for the child alone, but those whose error says that there was a fork.

use std::{
    mem,
    sync::{Arc, OnceLock},
};

use fourway_core::implement::fork::Process;

use crate::{
    Retry,
    inbox::Inbox,
    schedule::Schedules,
    store::{Effects, Settings, Store},
    sync::Mutex,
};

/// The state of a manager in a forked child, and in that one's children.
pub(crate) struct InChild {
    process: Process,
    pub(crate) store: Mutex<Store>,
    pub(crate) schedules: Schedules,
    /// In children of the child.
    next: Next,
}

/// The state in the next process, once it was asked for there.
pub(crate) type Next = OnceLock<Box<InChild>>;

impl InChild {
    /// The state in this process, which is a child of that of `next`'s owner.
    #[cold]
    pub(crate) fn of(mut next: &Next) -> &Self {
        loop {
            // Made before the cell is locked, for only as long as it takes to put a pointer there: for
            // a child that another thread forks in that moment, the cell is locked for ever.
            if next.get().is_none() {
                let _ = next.set(Box::new(Self::new()));
            }
            let state = next.get().expect("it was set");
            if state.process.is_this() {
                return state;
            }
            next = &state.next;
        }
    }

    fn new() -> Self {
        let settings = Settings {
            concurrency: 1,
            queue_limit: 0,
            dispatchers: 1,
            keep: 0,
            keep_for: 0,
            history: 0,
            timeout: None,
            retry: Retry::never(),
        };
        let mut store = Store::new(settings, 1, Arc::new(Inbox::new(0)));
        // It has no waiters yet, so there are no effects.
        store.close(false, &mut Effects::default());
        let schedules = Schedules::default();
        schedules.close();
        Self {
            process: Process::this(),
            store: Mutex::new(store),
            schedules,
            next: Next::new(),
        }
    }

    /// A store to leave behind in place of one that must not be dropped.
    pub(crate) fn empty_store() -> Mutex<Store> {
        Self::new().store
    }
}

/// Leaves a value behind that is the parent's.
pub(crate) fn leave<T: Default>(value: &mut T) {
    mem::forget(mem::take(value));
}

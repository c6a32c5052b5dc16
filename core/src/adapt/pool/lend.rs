//! Slot lending: what a closure does about its slot while it is parked.

use std::{cell::Cell, fmt, marker::PhantomData, sync::Arc};

use super::{Inner, Returning, Role};
use crate::sync::{
    atomic::{AtomicBool, Ordering},
    thread, thread_local,
};

thread_local! {
    /// The pool of which this thread holds a slot now.
    pub(super) static SLOT: Cell<Option<Arc<Inner>>> = const { Cell::new(None) };
}

/// If the thread is running an offloaded closure, lends its slot until the
/// returned guard is dropped.
///
/// For adapters that block a thread in a way of their own; [`Root`](crate::adapt::Root)
/// does it for `block_on`.
#[must_use]
pub fn lend() -> Option<Lent> {
    let pool = SLOT.try_with(Cell::take).ok().flatten()?;
    let mut state = pool.lock();
    state.lent += 1;
    let returning = state.release();
    // The closures that this one waits for may be in the queue, behind threads
    // that are all parked: ask for a thread that surely comes.
    let start = returning.is_none() && state.queued > 0 && !state.closed;
    if start && state.idle > 0 {
        pool.call_worker(state);
    } else if start {
        state.starting += 1;
        drop(state);
        pool.start(Role::Extra);
    } else {
        drop(state);
    }
    if let Some(returning) = returning {
        returning.grant();
    }
    Some(Lent {
        pool,
        not_send: PhantomData,
    })
}

/// A slot given up for a time. Made by [`lend`].
///
/// Dropping it takes a slot again, and waits for one to come free if it must.
#[must_use = "the slot is lent until this guard is dropped"]
pub struct Lent {
    pool: Arc<Inner>,
    // The slot belongs to this thread's closure.
    not_send: PhantomData<*const ()>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        if state.running < self.pool.config.limit {
            state.running += 1;
            state.lent -= 1;
            drop(state);
        } else {
            let returning = Arc::new(Returning {
                granted: AtomicBool::new(false),
                thread: thread::current(),
            });
            state.returning.push_back(returning.clone());
            drop(state);
            // Pairs with the Release in `grant`. The flag guards against park
            // tokens from elsewhere.
            while !returning.granted.load(Ordering::Acquire) {
                thread::park();
            }
        }
        let _ = SLOT.try_with(|slot| slot.set(Some(self.pool.clone())));
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lent")
    }
}

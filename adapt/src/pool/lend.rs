//! Slot lending: a closure gives up its slot while it is parked.

use std::{any::Any, cell::Cell, fmt, marker::PhantomData, panic::catch_unwind, sync::Arc};

use super::{Inner, Role, notice::Notice};
use crate::sync::thread_local;
use fourway_core::implement::{OnDropPanic, Parking, Rethrow};

thread_local! {
    /// The pool whose closures this thread runs.
    static POOL: Cell<Option<Arc<Inner>>> = const { Cell::new(None) };
    /// Does it hold one of that pool's slots now?
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

/// May this thread [`serve`] a pool? Not any more in the destructors of thread-locals.
#[inline]
pub(super) fn may_serve() -> bool {
    POOL.try_with(|_| ()).is_ok()
}

/// Says that this thread runs the closures of `pool`, until the guard is dropped. Panics unless
/// it [may](may_serve).
pub(super) fn serve(pool: &Arc<Inner>) -> Serving {
    Serving {
        before: POOL.replace(Some(pool.clone())),
        held: HOLDS.replace(false),
    }
}

/// Does this thread run a closure of `pool`, in one of its slots?
pub(super) fn holds_slot_of(pool: &Arc<Inner>) -> bool {
    HOLDS.try_with(Cell::get).unwrap_or(false) && serves(pool)
}

/// Does this thread run the closures of `pool`, whether it has a slot now or not?
pub(super) fn serves(pool: &Arc<Inner>) -> bool {
    // Not at hand any more in the destructors of thread-locals.
    let is_of = |cell: &Cell<Option<Arc<Inner>>>| {
        let of = cell.take();
        let is = of.as_ref().is_some_and(|of| Arc::ptr_eq(of, pool));
        cell.set(of);
        is
    };
    POOL.try_with(is_of).unwrap_or(false)
}

/// Made by [`serve`].
pub(super) struct Serving {
    before: Option<Arc<Inner>>,
    held: bool,
}

impl Serving {
    /// The thread has taken a slot, or given it back.
    pub(super) fn holds(&self, slot: bool) {
        HOLDS.set(slot);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        HOLDS.set(self.held);
        drop(POOL.replace(self.before.take()));
    }
}

/// If the thread is running an offloaded closure, lends its slot until the
/// returned guard is dropped.
///
/// For adapters that block a thread in a way of their own; [`Root`](crate::Root)
/// does it for `block_on`.
#[must_use]
pub fn lend() -> Option<Lent> {
    // Neither is at hand any more in the destructors of thread-locals.
    if !HOLDS.try_with(|holds| holds.replace(false)).ok()? {
        return None;
    }
    let pool = POOL
        .try_with(|cell| {
            let pool = cell.take();
            cell.set(pool.clone());
            pool
        })
        .ok()
        .flatten()?;
    if pool.is_inherited() {
        return None;
    }
    let mut state = pool.lock();
    state.lent += 1;
    let returning = state.release();
    // The closures that this one waits for may be in the queue, behind threads
    // that are all parked: ask for a thread that surely comes.
    pool.unattend(&mut state);
    let start = returning.is_none() && pool.queued(&state) > 0 && !state.closed;
    if start && !state.idle.is_empty() {
        pool.call_worker(state);
    } else if start {
        state.starting += 1;
        drop(state);
        pool.start(Role::Extra);
    } else {
        drop(state);
    }
    if let Some(returning) = returning {
        returning.mark();
        returning.wake();
    }
    Some(Lent {
        pool,
        not_send: PhantomData,
    })
}

/// [`lend`], for the core.
pub(super) fn lend_erased() -> Option<Box<dyn Any>> {
    lend().map(|lent| Box::new(lent) as Box<dyn Any>)
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
        if self.pool.is_inherited() {
            return;
        }
        // Also when a hook of the thread's panics: the slot has been taken then.
        let _holds = HoldsOnDrop;
        take_back(&self.pool);
    }
}

struct HoldsOnDrop;

impl Drop for HoldsOnDrop {
    fn drop(&mut self) {
        let _ = HOLDS.try_with(|holds| holds.set(true));
    }
}

/// Takes a slot for a closure that has lent its own; waits until there is one. Panics if a hook of
/// the thread panics, but only after it has the slot.
pub(super) fn take_back(pool: &Inner) {
    let mut state = pool.lock();
    if state.running < pool.config.limit {
        state.running += 1;
        state.lent -= 1;
    } else {
        let returning = Arc::new(Notice::new());
        state.returning.push_back(returning.clone());
        drop(state);
        // Without the host's lock, so that the closure that has the slot can go on.
        let parking = catch_unwind(Parking::begin);
        returning.wait();
        match parking {
            Ok(parking) => drop(parking),
            // In a destructor, which may run while the thread unwinds.
            Err(payload) => Rethrow.report(payload),
        }
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lent")
    }
}

//! Helping: a thread that waits for a closure which has not started runs it itself.
//!
//! A sync thread that offloads a closure and waits for it needs two hand-overs: one wakes a
//! worker, the other wakes the thread. Both are spared if the thread runs the closure; and
//! where the processors are busy, the second is worth milliseconds. (Fork-join pools do
//! this for what a thread has forked itself; there a waiting thread runs also what others
//! have, which this one must not: it would come back late.)
//!
//! The thread is a worker for the time of one closure: it takes a slot, is counted among
//! the pool's threads, and looks for who should come when it gives the slot back. So
//! shutting down waits for it, and it may lend the slot. What a closure finds on a thread
//! is the same: its mark, no values, no layers, and what the source's threads provide
//! ([`Threads::surround`](super::Threads::surround)).
//!
//! * The closure must not overtake others (OF-5): it is run only if there is a slot for
//!   each closure that waits, and none that comes back waits for one.
//! * A thread that runs a closure of the same pool uses its slot for the one it waits for:
//!   its own closure has lent it, and takes it back at the end before anyone else could.
//! * The entry in the queue stays behind, claimed, as that of a cancelled closure does.

use std::{cell::Cell, sync::Arc};

use super::{Inner, closure::Job, lend};
use crate::sync::{thread, thread_local};
use fourway_core::{
    context::{self, Context},
    layer::Layers,
    values::Values,
};

/// So many closures may run inside each other on a thread that helps: each needs of its
/// stack what it would have had to itself. A thread that waits deeper than that is parked.
const DEPTH: usize = 16;

thread_local! {
    /// How many closures this thread runs because it waits for them.
    static HELPING: Cell<usize> = const { Cell::new(0) };
}

/// The calling thread, which may block, is about to wait for `job`: runs it here if it has
/// not started and may start now.
pub(super) fn help(pool: &Arc<Inner>, job: &dyn Job) {
    // In a destructor of a thread-local a closure would not find what it expects of a
    // thread; nor on a thread that unwinds, where `thread::panicking` is true.
    let Ok(depth) = HELPING.try_with(Cell::get) else {
        return;
    };
    if depth < DEPTH && job.is_waiting() && !thread::panicking() {
        pool.source.surround(&mut || {
            HELPING.set(depth + 1);
            run(pool, job);
            HELPING.set(depth);
        });
    }
}

/// Does not panic, as [`Inner::work`] does not.
fn run(pool: &Arc<Inner>, job: &dyn Job) {
    let inside = lend::holds_slot_of(pool);
    if !pool.begin_to_help(job, inside) {
        return;
    }
    // A closure of another pool lends its slot there, as it does if the thread is parked.
    let elsewhere = if inside { None } else { lend::lend() };
    {
        let serving = lend::serve(pool);
        serving.holds(true);
        let _mark = context::enter(Context::Blocking, pool.config.runtime);
        Layers::default().scope(|| Values::default().scope(|| job.run()));
    }
    pool.end_to_help(job, inside);
    drop(elsewhere);
}

impl Inner {
    /// Takes `job` out of the queue, and a slot for it: that of the closure which the
    /// thread is `inside` of, or another one. `false` if it may not start now.
    fn begin_to_help(&self, job: &dyn Job, inside: bool) -> bool {
        let mut state = self.lock();
        let free = self.config.limit + usize::from(inside) - state.running;
        // Closures that are handed in at this moment may be missing: those come later.
        let waiting = self.queued(&state);
        if state.closed || !state.returning.is_empty() || waiting > free || !job.claim() {
            return false;
        }
        state.threads += 1;
        if inside {
            state.lent += 1;
        } else {
            state.running += 1;
        }
        self.forget_one(state);
        true
    }

    /// Gives the slot back, and then shows the result.
    fn end_to_help(self: &Arc<Self>, job: &dyn Job, inside: bool) {
        let mut state = self.lock();
        state.threads -= 1;
        let returning = state.release();
        let taken_back = inside && returning.is_none();
        if taken_back {
            state.running += 1;
            state.lent -= 1;
            drop(state);
        } else if let Some(returning) = returning {
            drop(state);
            returning.mark();
            returning.wake();
        } else {
            // While all slots were taken, submitters relied on whoever gives one back.
            self.call_worker(state);
        }
        self.ended.notify_all();
        job.publish();
        if inside && !taken_back {
            lend::take_back(self);
        }
    }
}

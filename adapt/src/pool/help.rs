//! Helping: a thread that waits for a closure which has not started runs it itself.
//!
//! A sync thread that offloads a closure and waits for it needs two hand-overs: one wakes a worker,
//! the other wakes the thread. Neither is needed if the thread runs the closure. On busy processors
//! the second one takes milliseconds. (Fork-join pools do this for the thread's own forks. Their
//! waiting threads also run the work of others, which this one must not: it would come back late.)
//!
//! The thread is a worker for the time of one closure: it takes a slot, is counted among the pool's
//! threads, and calls the next worker when it gives the slot back. So a shutdown waits for it, and
//! it may lend the slot. The closure finds the same environment as on a worker: its mark, no
//! values, no layers, and the environment of the source's threads
//! ([`Threads::surround`](super::Threads::surround)).
//!
//! * The closure must not overtake others (OF-5, limits are exact): it runs only if there is a slot
//!   for each waiting closure, and no returning closure waits for a slot.
//! * A thread that runs a closure of the same pool uses its slot for the one it waits for: its own
//!   closure has lent the slot, and takes it back at the end before any other could.
//! * *No needless wake-ups.* Waking a worker takes longer than running a short closure, and a
//!   submitter does not say whether it is going to wait. But a thread has habits: one that has
//!   waited at once several times in a row leaves its next closure in the inbox, if there is a
//!   [warden](super::warden), which looks at the inbox every millisecond. If the thread does not
//!   wait for once, its closure waits for the warden, and the thread loses the habit.
//! * The entry in the queue stays behind, claimed, as that of a cancelled closure does.

use std::{
    cell::Cell,
    panic::{catch_unwind, resume_unwind},
    ptr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Inner, closure::Job, lend};
use crate::sync::{now, thread, thread_local};
use fourway_core::{
    context::Context,
    implement::{self, Parking},
    layer::Layers,
    values::Values,
};

/// Closures nest at most so deep on a thread that helps, because they share its stack. A thread
/// that waits deeper than that is parked.
const DEPTH: usize = 16;

/// A thread that has waited at once so many times in a row will do so again.
const HABIT: u8 = if cfg!(fourway_shuttle) { 1 } else { 4 };

/// A thread that waits later than this after the hand-over had other work meanwhile, and wants
/// another thread to run the closure.
const AT_ONCE: Duration = Duration::from_micros(10);

thread_local! {
    /// How many closures this thread runs because it waits for them.
    static HELPING: Cell<usize> = const { Cell::new(0) };
    static RECENT: Cell<Recent> = const { Cell::new(Recent::NONE) };
}

/// Whether the thread has waited for the closures that it handed over.
#[derive(Clone, Copy)]
struct Recent {
    /// How often in a row it has waited at once.
    at_once: u8,
    /// The address of the last closure, if the thread has not waited since; zero otherwise.
    last: usize,
    /// When the last closure was handed over, if a worker was, or should have been, woken for it.
    at: Option<Instant>,
}

impl Recent {
    const NONE: Self = Self {
        at_once: 0,
        last: 0,
        at: None,
    };
}

/// Is the calling thread, which hands a closure over, likely to wait for it at once?
pub(super) fn is_likely() -> bool {
    // (Not at hand where a model destroys its thread-locals.)
    let recent = RECENT.try_with(Cell::get).unwrap_or(Recent::NONE);
    // In the destructors of thread-locals no thread helps.
    recent.last == 0 && recent.at_once >= HABIT && lend::may_serve()
}

/// The calling thread has handed `job` over. Was the inbox unattended?
pub(super) fn handed_over(job: usize, unattended: bool) {
    let _ = RECENT.try_with(|cell| {
        let recent = cell.get();
        cell.set(Recent {
            // The closure before was not waited for, so far.
            at_once: if recent.last == 0 { recent.at_once } else { 0 },
            last: job,
            at: unattended.then(now),
        });
    });
}

/// The calling thread waits for `job`. Is that a habit?
fn waits_for(job: usize) -> bool {
    let recent = RECENT.replace(Recent::NONE);
    let soon = |at: Instant| now().saturating_duration_since(at) < AT_ONCE;
    let at_once = match recent.at {
        _ if recent.last != job => 0,
        // The pool had enough to do. That says nothing.
        None => recent.at_once,
        Some(at) if soon(at) => recent.at_once.saturating_add(1),
        Some(_) => 0,
    };
    RECENT.set(Recent {
        at_once,
        ..Recent::NONE
    });
    at_once >= HABIT
}

/// The calling thread, which may block, is about to wait for `job`: runs it here if it has
/// not started and may start now.
pub(super) fn help(pool: &Arc<Inner>, job: &dyn Job) {
    // In a destructor of a thread-local a closure would not find what it expects of a
    // thread; nor on a thread that unwinds, where `thread::panicking` is true. `HELPING` does not
    // tell, because it has no destructor. Asked before the closure is claimed: it would be lost.
    if !lend::may_serve() {
        return;
    }
    let Ok(depth) = HELPING.try_with(Cell::get) else {
        return;
    };
    if waits_for(ptr::from_ref(job).addr()) {
        pool.warden.want();
    }
    if depth < DEPTH && job.is_waiting() && !thread::panicking() {
        pool.source.surround(&mut || {
            let _depth = Depth::enter(depth + 1);
            run(pool, job);
        });
    }
}

/// Sets [`HELPING`] until it is dropped.
struct Depth(usize);

impl Depth {
    fn enter(depth: usize) -> Self {
        Self(HELPING.replace(depth))
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        HELPING.set(self.0);
    }
}

/// Panics if a hook of the thread panics, but only after the closure is done.
fn run(pool: &Arc<Inner>, job: &dyn Job) {
    let inside = lend::holds_slot_of(pool);
    if !pool.begin_to_help(job, inside) {
        return;
    }
    // The closure runs as on another thread: it may need the lock that this one's hooks let
    // go of.
    let parking = catch_unwind(Parking::begin);
    // A closure of another pool lends its slot there, as it does if the thread is parked.
    let elsewhere = if inside { None } else { lend::lend() };
    {
        let serving = lend::serve(pool);
        serving.holds(true);
        let _mark = implement::enter(Context::Blocking, pool.config.runtime);
        Layers::default().scope(|| Values::default().scope(|| job.run()));
    }
    if pool.is_inherited() {
        // The closure has forked, and this is the child. The result is not published.
        return;
    }
    pool.end_to_help(job, inside);
    drop(elsewhere);
    drop(parking.unwrap_or_else(|payload| resume_unwind(payload)));
}

impl Inner {
    /// Takes `job` out of the queue, and a slot for it: that of the closure which the
    /// thread is `inside` of, or another one. `false` if it may not start now.
    fn begin_to_help(&self, job: &dyn Job, inside: bool) -> bool {
        let mut state = self.lock();
        // Saturating: the limit may be the largest there is.
        let slots = self.config.limit.saturating_add(usize::from(inside));
        let free = slots - state.running;
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
        let last = state.threads + state.starting == 0;
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
            // While all slots were taken, submitters relied on the thread that gives one back.
            self.call_worker(state);
        }
        // A notification without a waiter is a system call as well.
        if last {
            self.ended.notify_all();
        }
        job.publish();
        if inside && !taken_back {
            lend::take_back(self);
        }
    }
}

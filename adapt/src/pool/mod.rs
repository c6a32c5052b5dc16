//! An elastic pool of threads for closures that may block: [`Pool`].
//!
//! Threads come from a [`Threads`] source, so that the same queue, limit and
//! slot lending serve threads of our own and those of a runtime that has some
//! already.
//!
//! # How it works
//!
//! A **slot** is the right to run a closure; there are as many as the limit
//! says. A **worker** is a thread that takes closures from the queue, one slot
//! each. Submitted closures go to an inbox with a lock of its own, from which the
//! workers fetch them; all the rest of the pool's state is under one other lock, which a submitter
//! takes only if no other thread is sure to look at the inbox (`queue.rs`). User code (closures,
//! destructors, wakers, the thread source) never runs under either.
//!
//! * *Growing.* A closure that finds no idle worker starts one, as long as there
//!   are fewer than a small number ([`PoolBuilder::eager`]). Beyond that, a
//!   single **standby** thread looks at the queue every
//!   [`GROW_AFTER`], and joins in only if no closure was taken in between. So threads appear when
//!   the others are really blocked. A queue that is not empty for a moment adds none (OF-7, a burst
//!   starts few threads), nor does a busy machine: as long as enough of the threads run or wait for
//!   a processor, the standby waits another tenth of a second. It also joins in if the queue moves,
//!   but none of the others is ever seen running: their closures block for less time than a look
//!   takes.
//! * *Idling.* A worker counts itself idle *before* it publishes a result, so
//!   that a caller who submits the next closure as soon as it has the result
//!   finds the worker rather than start another. A submitter notifies one idle worker,
//!   the one that was busy last, by moving it from `idle` to `called`, under the lock; a
//!   worker that times out looks whether it was, and at the queue, before it ends. So no
//!   closure is stranded between the two (OF-6, threads come and go). One idle worker at a time
//!   goes on [looking](crate::spin::Spin) before it sleeps, if that has been worth it lately;
//!   notifying it takes no system call. A joiner's waker that submits a closure runs on such a
//!   worker, which does not call itself.
//! * *Offering.* A worker that runs out of closures after several in a row offers its processor
//!   before it idles: the threads that it has woken may be waiting for it, and bring the next
//!   closures. (Otherwise tasks that offload one closure after the other would find both processors
//!   asleep in turn.)
//! * *Late threads.* A source may have threads of its own that wait for each other: a
//!   thread that was asked of it and has not come after [`LATE`] is replaced by one that
//!   comes for sure (`late.rs`).
//! * *Forks.* A forked child touches nothing of this: each entry first asks whether the pool is of
//!   this process (FK-1, forked children).
//! * *Lending.* A closure that parks in `block_on` gives up its slot, and takes
//!   one again before it goes on. Returning closures go before queued ones, so
//!   that a deep chain unwinds (OF-4, nested offload never starves).
//! * *Helping.* A thread that waits for a closure which has not started runs it itself, if
//!   that overtakes no other closure (`help.rs`). While threads do so, one of the idle workers is
//!   the warden, which saves them a wake-up each time (`warden.rs`).

mod blocked;
mod closure;
mod config;
mod help;
mod idle;
mod late;
mod lend;
#[cfg(all(test, fourway_loom, not(fourway_shuttle)))]
mod loom_models;
mod notice;
mod queue;
#[cfg(all(test, not(any(fourway_shuttle, fourway_loom))))]
mod tests;
mod warden;
mod worker;

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

pub use closure::OffloadTask;
pub use config::{PoolBuilder, StdThreads, Threads};
pub use fourway_core::PoolStatus;
pub use late::LATE;
pub use lend::{Lent, lend};
pub use worker::Worker;

use self::{
    blocked::Serving,
    closure::{Job, closure},
    idle::Idle,
    notice::Notice,
    queue::Submitters,
    warden::Warden,
};
use crate::{
    ThreadGroup,
    fork::{ForgetInChild, Process},
    sync::{Condvar, Mutex, atomic::AtomicBool, now},
};
use fourway_core::{JoinError, TryOffloadError, task::Metadata};

/// How long the queue must stand still before a thread is added beyond the
/// eager ones.
pub const GROW_AFTER: Duration = Duration::from_millis(1);

/// An elastic pool of threads. A clone is another handle on the same pool.
///
/// Dropping the last handle shuts the pool down without waiting.
#[derive(Clone)]
pub struct Pool {
    owner: Arc<Owner>,
}

/// Workers and closures hold `Inner` alone, so that the pool ends with its last handle.
struct Owner {
    inner: ForgetInChild<Arc<Inner>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.inner.close();
    }
}

struct Inner {
    /// In any other process there are no workers, and the locks may be held for ever.
    process: Process,
    submitters: Submitters,
    state: Apart<Mutex<State>>,
    /// Signalled when a thread ends.
    ended: Condvar,
    /// Does an idle worker look, rather than sleep?
    looking: AtomicBool,
    serving: Serving,
    warden: Warden,
    config: PoolBuilder,
    source: ForgetInChild<Box<dyn Threads>>,
    /// See [`Worker::run_on_extra_thread`].
    extra: ThreadGroup,
}

/// On cache lines of its own.
#[repr(align(128))]
struct Apart<T>(T);

#[derive(Default)]
struct State {
    /// Waiting closures that were fetched from the inbox, in order. May hold some that
    /// were cancelled.
    queue: VecDeque<Arc<dyn Job>>,
    /// How many closures have been fetched so far.
    fetched: usize,
    /// How many have been taken out, or were cancelled.
    settled: usize,
    /// Is another thread sure to look at the inbox, so that submitters need not look at this state?
    /// See [`queue`].
    attended: bool,
    /// Closures of this pool that wait for its end: [`Pool::wait_ended`].
    own_waits: usize,
    /// Slots taken by running closures.
    running: usize,
    /// Closures that gave up their slot while parked in `block_on`.
    lent: usize,
    /// Closures that want their slot back, in order.
    returning: VecDeque<Arc<Notice>>,
    /// Threads that have arrived and not ended, parked closures included; and those that
    /// help, as if a thread had come for that one closure.
    threads: usize,
    /// Threads asked for that have not arrived.
    starting: usize,
    /// Workers that wait for work and have not been notified; the last is the first to
    /// be.
    idle: Vec<Arc<Idle>>,
    /// Workers that have been notified, and have not noticed yet.
    called: Vec<Arc<Idle>>,
    /// Workers that have run out and [offer](Inner::offer_processor) their processors.
    offering: usize,
    /// Is there a standby thread, or one on its way?
    standby: bool,
    /// Counts closures taken; tells a standing queue from a moving one.
    taken: u64,
    /// Closures dropped by `close`.
    dropped: usize,
    closed: bool,
}

/// The role in which a thread starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Eager,
    Standby,
    Extra,
}

impl Pool {
    /// See [`Offload::offload`](fourway_core::Offload::offload).
    #[track_caller]
    pub fn offload<F, T>(&self, f: F) -> OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.offload_with(Metadata::caller(), f)
    }

    /// See [`Offload::offload_with`](fourway_core::Offload::offload_with).
    pub fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let inner = &self.owner.inner;
        let (job, task) = closure(inner, metadata, f);
        if inner.is_inherited() {
            job.refuse(JoinError::forked());
        } else if let Err(job) = inner.push(job) {
            job.refuse(JoinError::shutdown());
        }
        task
    }

    /// See [`Offload::try_offload`](fourway_core::Offload::try_offload).
    ///
    /// # Errors
    ///
    /// Gives `f` back if the queue is full or the pool is shut down.
    #[track_caller]
    pub fn try_offload<F, T>(&self, f: F) -> Result<OffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.try_offload_with(Metadata::caller(), f)
    }

    /// See [`Offload::try_offload_with`](fourway_core::Offload::try_offload_with).
    ///
    /// # Errors
    ///
    /// Those of [`try_offload`](Self::try_offload).
    pub fn try_offload_with<F, T>(
        &self,
        metadata: Metadata,
        f: F,
    ) -> Result<OffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let inner = &self.owner.inner;
        if inner.is_inherited() {
            return Err(TryOffloadError::forked(f));
        }
        let state = inner.lock();
        if state.closed {
            return Err(TryOffloadError::shutdown(f));
        }
        // A closure that finds a free slot passes through the queue without
        // waiting in it; only closures that would wait count against the bound.
        let waiting = (inner.queued(&state) + state.running + 1).saturating_sub(inner.config.limit);
        if inner.config.queue_bound.is_some_and(|n| waiting > n) {
            return Err(TryOffloadError::full(f));
        }
        let (job, task) = closure(inner, metadata, f);
        inner.push_locked(state, job);
        Ok(task)
    }

    /// Accepts no more closures, drops those that have not started, and lets
    /// idle threads end. Does not wait.
    pub fn close(&self) {
        self.owner.inner.close();
    }

    /// Has the pool been closed?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let inner = &self.owner.inner;
        inner.is_inherited() || inner.lock().closed
    }

    /// Waits until all closures and threads have ended, or until `deadline`.
    /// Parks the calling thread. If that runs a closure of this pool, it waits neither for itself nor for
    /// others that are in this function too, but gives the status as soon as the rest has ended. In a forked child there is nothing to wait
    /// for.
    #[must_use]
    pub fn wait_ended(&self, deadline: Option<Instant>) -> PoolStatus {
        let inner = &self.owner.inner;
        if inner.is_inherited() {
            return PoolStatus::default();
        }
        let is_own = lend::serves(inner);
        let mut state = inner.lock();
        if is_own {
            state.own_waits += 1;
            // Others of them that now wait for such threads alone need not wait any more.
            inner.ended.notify_all();
        }
        loop {
            let left = state.threads + state.starting;
            let needless = if is_own { state.own_waits } else { 0 };
            let time = match deadline.map(|d| d.saturating_duration_since(now())) {
                Some(Duration::ZERO) => break,
                Some(time) => time,
                None => Duration::MAX,
            };
            if left <= needless {
                break;
            }
            state = worker::wait(&inner.ended, state, time);
        }
        if is_own {
            state.own_waits -= 1;
        }
        let status = inner.status(&state);
        let ended = state.threads + state.starting == 0;
        drop(state);
        if ended {
            inner.source.join();
            inner.extra.join();
        }
        status
    }

    /// The state of the pool at this moment. In a forked child: nothing.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        if self.owner.inner.is_inherited() {
            return PoolStatus::default();
        }
        self.owner.inner.status(&self.owner.inner.lock())
    }
}

#[cfg(all(test, any(fourway_shuttle, fourway_loom)))]
impl Pool {
    /// After the end: do the lists hold no thread that has gone?
    pub(crate) fn lists_nobody(&self) -> bool {
        let state = self.owner.inner.lock();
        state.idle.is_empty() && state.called.is_empty() && state.returning.is_empty()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("limit", &self.owner.inner.config.limit)
            .field("status", &self.status())
            .finish()
    }
}

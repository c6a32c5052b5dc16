//! The life of a pool's threads: taking closures, growing, idling, ending.

use std::{
    collections::VecDeque,
    error::Error,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{
    GROW_AFTER, Inner, PoolBuilder, Role, State, closure::Job, idle::Idle, late::Ticket, lend,
    notice::Notice,
};
use crate::spin::{Seen, Spin};
use crate::sync::{
    Condvar, MutexGuard,
    atomic::{AtomicU8, Ordering},
    now, thread,
};
use fourway_core::{JoinError, context, implement};

/// The standby joins in after so many looks although the other threads are not blocked.
const PATIENCE: u32 = 100;

/// The standby joins in after so many looks at a queue that moves, if no other thread ran
/// at any of them: closures that block for less than [`GROW_AFTER`] each.
const LULLS: u32 = 5;

/// After so many closures without a rest a worker offers its processor before it idles.
const STREAK: u32 = if cfg!(any(fourway_shuttle, fourway_loom)) {
    2
} else {
    4
};

/// A worker offers its processor at most so often in a row, unless a closure comes.
const OFFERS: u32 = if cfg!(any(fourway_shuttle, fourway_loom)) {
    1
} else {
    32
};

/// An idle worker looks for at most so long before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

impl State {
    /// Threads that serve the queue, or will.
    pub(super) fn serving(&self) -> usize {
        self.threads + self.starting - self.lent
    }

    /// Is another thread sure to look at the inbox, so that submitters need not call a worker? See
    /// [`queue`](super::queue).
    pub(super) fn is_attended(&self, config: &PoolBuilder) -> bool {
        if self.running >= config.limit {
            return true;
        }
        if !self.idle.is_empty() {
            return self.called.iter().any(|called| called.is_coming());
        }
        self.serving() >= config.limit
            || (self.serving() >= config.eager && (self.standby || self.offering > 0))
    }

    /// A slot has come free: gives it to a closure that wants its own back.
    /// The thread must be unparked after the lock was released.
    pub(super) fn release(&mut self) -> Option<Arc<Notice>> {
        self.running -= 1;
        let next = self.returning.pop_front()?;
        self.running += 1;
        self.lent -= 1;
        Some(next)
    }
}

impl Inner {
    /// Is this a forked child of the process that the pool is of?
    #[inline]
    pub(super) fn is_inherited(&self) -> bool {
        !self.process.is_this()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under the lock, so that nothing can poison it.
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a worker, if there may be a closure to run.
    pub(super) fn call_worker(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.is_attended(&self.config) {
            // A worker that has been called takes its closure first, and calls the next
            // then. To wake all at once for a burst of short closures would take longer
            // than to run them.
            self.attend(&mut state);
            return;
        }
        self.unattend(&mut state);
        let queued = self.queued(&state);
        if queued == 0 {
            return;
        }
        if let Some(idle) = state.call_idle() {
            self.attend(&mut state);
            drop(state);
            idle.wake();
            return;
        }
        // Each worker that was notified or is on the way takes one closure.
        if queued <= state.called.len() + state.starting {
            return;
        }
        // Idle or not, no more threads than slots.
        if state.serving() >= self.config.limit {
            return;
        }
        let role = if state.serving() < self.config.eager {
            Role::Eager
        } else if state.standby {
            return;
        } else {
            state.standby = true;
            Role::Standby
        };
        state.starting += 1;
        self.attend(&mut state);
        drop(state);
        self.start(role);
    }

    /// Starts a thread that has been counted in `starting`.
    pub(super) fn start(self: &Arc<Self>, role: Role) {
        match role {
            Role::Extra => self.start_own(role),
            Role::Eager | Role::Standby => {
                let ticket = self.start_from(role, |worker| self.source.start(worker));
                if self.source.may_be_late() {
                    self.watch(role, &ticket);
                }
            }
        }
    }

    /// As `start`, on a thread that does not wait for the source's other threads.
    pub(super) fn start_own(self: &Arc<Self>, role: Role) {
        self.start_from(role, |worker| self.source.start_extra(worker));
    }

    fn start_from(
        self: &Arc<Self>,
        role: Role,
        start: impl FnOnce(Worker) -> io::Result<()>,
    ) -> Arc<Ticket> {
        let fate = Arc::new(AtomicU8::new(HANDING_OVER));
        let ticket = Arc::new(Ticket::default());
        let worker = Worker {
            pool: Some(self.clone()),
            role,
            fate: fate.clone(),
            ticket: ticket.clone(),
        };
        // A source may panic (Tokio's does when the system is out of threads).
        let started = catch_unwind(AssertUnwindSafe(|| start(worker)));
        // Shared by all the closures that fail for this reason.
        let reason: Option<Arc<dyn Error + Send + Sync>> = match started {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Arc::new(error)),
            Err(payload) => Some(Arc::new(JoinError::panicked(payload))),
        };
        // The worker was dropped while it was being handed over: it has taken itself out of the
        // count, and left the error to us. AcqRel on both sides: the count is behind the lock, and
        // only one of the two sees the other.
        if fate.swap(HANDED_OVER, Ordering::AcqRel) == DROPPED {
            self.fail_if_unserved(&|| match &reason {
                Some(reason) => JoinError::unstarted(reason.clone()),
                None => JoinError::shutdown(),
            });
        }
        ticket
    }

    /// A thread that was asked for will not come.
    fn lost_thread(&self, role: Role, ticket: &Ticket) {
        let mut state = self.lock();
        if !ticket.settle() {
            return;
        }
        state.starting -= 1;
        if role == Role::Standby {
            state.standby = false;
        }
        self.unattend(&mut state);
        drop(state);
        self.ended.notify_all();
    }

    /// Refuses all waiting closures if no thread is left to run them (OF-6, threads come and go).
    fn fail_if_unserved(&self, error: &dyn Fn() -> JoinError) {
        let mut state = self.lock();
        if state.serving() > 0 {
            return;
        }
        let queue = self.clear_queue(&mut state);
        drop(state);
        refuse_all(queue, error);
    }

    pub(super) fn close(&self) {
        if self.is_inherited() {
            return;
        }
        let mut state = self.lock();
        let queue = self.close_queue(&mut state);
        let idle = state.call_all();
        state.dropped += queue.len();
        drop(state);
        for idle in idle {
            idle.wake();
        }
        refuse_all(queue, &JoinError::shutdown);
    }

    /// The life of one thread.
    fn work(self: &Arc<Self>, role: Role, ticket: &Ticket) {
        let serving = lend::serve(self);
        let entered = self.serving.enter();
        let me = Arc::new(Idle::new());
        let mut spin = Spin::new(SPIN);
        let mut wanted = 0;
        let mut state = self.lock();
        if !ticket.settle() {
            // Too late: another thread is here in its place.
            return;
        }
        state.starting -= 1;
        state.threads += 1;
        if role == Role::Standby {
            state = self.stand_by(state);
        }
        let mut cancelled = Vec::new();
        // How many closures it has taken since it last rested.
        let mut streak = 0;
        // A finished closure whose result has not been published yet.
        let mut finished: Option<Arc<dyn Job>> = None;
        loop {
            if let Some(job) = self.take(&mut state, &mut cancelled) {
                // More may be waiting than this thread can take.
                self.call_worker(state);
                publish(finished.take());
                cancelled.clear();
                streak += 1;

                serving.holds(true);
                let mark = implement::enter(context::Context::Blocking, self.config.runtime);
                job.run();
                if self.is_inherited() {
                    // The closure has forked, and this is the child, in which there is
                    // nothing left to do: the other closures are the parent's. Its only
                    // thread ends, and so does the process.
                    std::mem::forget(entered);
                    return;
                }
                drop(mark);
                serving.holds(false);

                finished = Some(job);
                state = self.lock();
                let returning = state.release();
                if let Some(returning) = returning {
                    // The slot went to another closure.
                    drop(state);
                    returning.mark();
                    returning.wake();
                    state = self.lock();
                }
                continue;
            }
            if state.closed {
                break;
            }
            if std::mem::take(&mut streak) >= STREAK {
                state = self.offer_processor(state, || {
                    publish(finished.take());
                    cancelled.clear();
                });
                continue;
            }
            // Idle from here on, before anyone can see the result.
            state.add_idle(&me);
            if !state.is_attended(&self.config) {
                self.unattend(&mut state);
                if self.has_mail(&state) {
                    state.withdraw(&me);
                    continue;
                }
            }
            drop(state);
            let overlooked = me.publish(|| {
                publish(finished.take());
                cancelled.clear();
            });
            let again = overlooked || self.rest(&me, &mut spin, &mut wanted);
            state = self.lock();
            if !state.withdraw(&me) && !again {
                // No thread has called it, so the only closures to take are those that a free slot
                // or a sweep has left to the next thread that looks. Another thread is sure to come
                // for them: no model misses these lines, which save the start of a thread.
                self.unattend(&mut state);
                let nothing = self.queued(&state) == 0 || state.running >= self.config.limit;
                if nothing && !state.closed {
                    break;
                }
            }
        }
        state.threads -= 1;
        drop(state);
        publish(finished.take());
        self.ended.notify_all();
    }

    /// The worker has run out, after a streak: publishes, and offers its processor to the threads
    /// that its results have woken, which may be waiting for it with the next closures.
    ///
    /// If it slept instead, one of them would run, and wake a worker on a processor that has fallen
    /// idle meanwhile, which takes as long as several short closures. The worker does not count as
    /// idle, because no thread has to wake it.
    fn offer_processor<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        publish: impl FnOnce(),
    ) -> MutexGuard<'a, State> {
        state.offering += 1;
        if !state.is_attended(&self.config) {
            self.unattend(&mut state);
        }
        let mail = self.has_mail(&state);
        let submitted = self.submitted();
        drop(state);
        publish();
        if !mail {
            for _ in 0..OFFERS {
                thread::yield_now();
                if self.submitted() != submitted {
                    break;
                }
            }
        }
        let mut state = self.lock();
        state.offering -= 1;
        state
    }

    /// Waits until the thread is called, or the pool is closed, or the time for which a
    /// thread is kept is over. `true`: as the [warden](super::warden) it has seen a closure.
    fn rest(&self, me: &Idle, spin: &mut Spin, wanted: &mut usize) -> bool {
        // One worker looks, the others sleep. Relaxed: no other access depends on it.
        if self.looking.swap(true, Ordering::Relaxed) {
            me.wait_for(self.config.keep_alive);
            // Discarded: looking would not have shortened this wait.
            let _ = me.called_at();
            return false;
        }
        let wait = spin.begin();
        let seen = spin.look(&wait, || me.is_called());
        self.looking.store(false, Ordering::Relaxed);
        let found = seen == Seen::No && self.guard(me, wanted);
        if seen == Seen::No && !found {
            me.wait_for(self.config.keep_alive);
        }
        spin.end(&wait, seen, me.called_at());
        found
    }

    /// Waits while the queue moves without this thread's help.
    fn stand_by<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        // How often the queue stood still while the threads had enough to do.
        let mut patience = PATIENCE;
        let mut lulls = 0;
        while !state.closed && self.queued(&state) > 0 {
            let seen = state.taken;
            let since = now();
            // Not on `work`: notifications are for workers.
            drop(state);
            thread::park_timeout(GROW_AFTER);
            // Beyond the processors, threads that are not blocked do not help each other.
            // But a closure may also wait for another one without ever blocking.
            // (This thread is one of them, and runs.)
            let runnable = self.serving.runnable(self.config.eager + 1);
            let busy = patience > 0 && runnable > Some(self.config.eager);
            state = self.lock();
            if state.taken != seen {
                patience = PATIENCE;
                // One look may find a thread that waits for a lock for a moment. If more is taken
                // than such closures allow, they are short ones.
                let taken = state.taken.wrapping_sub(seen);
                let few = are_few(taken, state.threads, now().saturating_duration_since(since));
                let lull = few && runnable == Some(1);
                lulls = if lull { lulls + 1 } else { 0 };
                if lulls < LULLS {
                    continue;
                }
                break;
            }
            if busy {
                patience -= 1;
                continue;
            }
            let queued = self.queued(&state);
            if queued > 0 {
                // All are blocked. Besides this thread, add five times as many as
                // there are, so that a hundred closures that block wait for two steps
                // of some milliseconds and not for a hundred.
                let more = (state.serving() * 5)
                    .min(queued - 1)
                    .min(self.config.limit.saturating_sub(state.serving()));
                // (If the threads had enough to do, none: only this thread joins in.)
                let more = if patience == 0 { 0 } else { more };
                if more > 0 {
                    state.starting += more;
                    drop(state);
                    (0..more).for_each(|_| self.start(Role::Eager));
                    state = self.lock();
                }
                break;
            }
        }
        state.standby = false;
        state
    }
}

/// Can it be that `threads` took no more closures in this time because each one blocks?
///
/// By the time that has passed, as the standby may be late: counted by its looks, a standby that has to
/// wait for a processor each time would take closures that block for short ones, and never join in.
pub(super) fn are_few(taken: u64, threads: usize, elapsed: Duration) -> bool {
    let looks = (elapsed.as_nanos() / GROW_AFTER.as_nanos()).max(1);
    u128::from(taken) <= 2 * threads as u128 * looks
}

fn publish(job: Option<Arc<dyn Job>>) {
    if let Some(job) = job {
        job.publish();
    }
}

fn refuse_all(queue: VecDeque<Arc<dyn Job>>, error: &dyn Fn() -> JoinError) {
    for job in queue {
        job.refuse_claimed(error());
    }
}

pub(super) fn wait<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    time: Duration,
) -> MutexGuard<'a, T> {
    wait_or_expire(condvar, guard, time).0
}

fn wait_or_expire<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    time: Duration,
) -> (MutexGuard<'a, T>, bool) {
    let (guard, result) = condvar
        .wait_timeout(guard, time)
        .unwrap_or_else(PoisonError::into_inner);
    (guard, result.timed_out())
}

/// One thread's worth of a [`Pool`](super::Pool)'s work, to be [run](Self::run) by a
/// [`Threads`](super::Threads) source.
pub struct Worker {
    pool: Option<Arc<Inner>>,
    role: Role,
    fate: Arc<AtomicU8>,
    ticket: Arc<Ticket>,
}

/// The source has not returned from `start` yet.
const HANDING_OVER: u8 = 0;
/// It has, and the worker is its to run.
const HANDED_OVER: u8 = 1;
/// The worker was dropped unrun.
const DROPPED: u8 = 2;

impl Worker {
    /// Runs closures on the calling thread until the pool has no more use for
    /// it. Does not panic.
    pub fn run(mut self) {
        if let Some(pool) = self.pool.take() {
            pool.work(self.role, &self.ticket);
        }
    }

    /// Runs it on a new thread of the standard library, called `fourway-extra`. The pool joins that
    /// thread at its end ([`Pool::wait_ended`](super::Pool::wait_ended)). `stack_size` is in bytes;
    /// without one it is the standard library's.
    ///
    /// `around` runs on the thread, with the thread's whole life, which it must call once. It must
    /// not panic.
    ///
    /// # Errors
    ///
    /// If the system has no thread. The worker has been dropped.
    pub fn run_on_extra_thread(
        self,
        stack_size: Option<usize>,
        around: impl FnOnce(&mut dyn FnMut()) + Send + 'static,
    ) -> io::Result<()> {
        let Some(pool) = self.pool.clone() else {
            return Ok(());
        };
        let life = self.into_life(around);
        let name = String::from("fourway-extra");
        pool.extra.spawn(name, stack_size, life)
    }

    /// The whole life of a thread that runs it inside of `around`.
    pub(super) fn into_life(self, around: impl FnOnce(&mut dyn FnMut())) -> impl FnOnce() {
        let mut worker = Some(self);
        move || {
            around(&mut || {
                if let Some(worker) = worker.take() {
                    worker.run();
                }
            });
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.lost_thread(self.role, &self.ticket);
            if self.fate.swap(DROPPED, Ordering::AcqRel) == HANDED_OVER {
                // The source had taken it and gave it up: its runtime is gone.
                pool.fail_if_unserved(&JoinError::shutdown);
            }
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("role", &self.role).finish()
    }
}

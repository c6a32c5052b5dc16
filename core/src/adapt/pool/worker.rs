//! What a pool's threads do: taking closures, growing, idling, ending.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{GROW_AFTER, Inner, PoolStatus, Returning, Role, State, closure::Job, lend};
use crate::{
    JoinError,
    adapt::spin::Spin,
    context,
    sync::{
        Condvar, MutexGuard,
        atomic::{AtomicU8, Ordering},
        thread,
    },
};

/// The standby joins in after so many looks although the other threads are not blocked.
const PATIENCE: u32 = 100;

/// An idle worker looks for at most so long before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

impl State {
    pub(super) fn status(&self) -> PoolStatus {
        PoolStatus {
            queued: self.queued,
            running: self.running,
            lent: self.lent,
            threads: self.threads + self.starting,
            dropped: self.dropped,
        }
    }

    /// Threads that serve the queue, or will.
    pub(super) fn serving(&self) -> usize {
        self.threads + self.starting - self.lent
    }

    /// Takes the next closure, and a slot for it.
    fn take(&mut self, limit: usize, cancelled: &mut Vec<Arc<dyn Job>>) -> Option<Arc<dyn Job>> {
        if self.running >= limit || !self.returning.is_empty() {
            return None;
        }
        while let Some(job) = self.queue.pop_front() {
            if job.claim() {
                self.queued -= 1;
                self.running += 1;
                self.taken = self.taken.wrapping_add(1);
                return Some(job);
            }
            // Dropping it may run user code: later, outside of the lock.
            cancelled.push(job);
        }
        None
    }

    /// A slot has come free: gives it to a closure that wants its own back.
    /// The thread must be unparked after the lock was released.
    pub(super) fn release(&mut self) -> Option<Arc<Returning>> {
        self.running -= 1;
        let next = self.returning.pop_front()?;
        self.running += 1;
        self.lent -= 1;
        Some(next)
    }
}

impl Returning {
    pub(super) fn grant(&self) {
        // Pairs with the Acquire in `Lent::drop`.
        self.granted.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Inner {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under the lock, so that nothing can poison it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(self: &Arc<Self>, mut state: MutexGuard<'_, State>, job: Arc<dyn Job>) {
        state.queue.push_back(job);
        state.queued += 1;
        self.call_worker(state);
    }

    /// There may be a closure to run: sees to it that a thread comes for it.
    pub(super) fn call_worker(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.queued == 0 || state.running >= self.config.limit {
            return;
        }
        if state.notified > 0 && state.idle > 0 {
            // One is coming, and sees to the rest when it has taken its closure. To wake
            // all at once for a burst of short closures would take longer than to run
            // them.
            return;
        }
        if state.idle > 0 {
            state.idle -= 1;
            state.notified += 1;
            self.tell(&state);
            // Those who look see it by themselves.
            let asleep = state.notified > state.looking;
            drop(state);
            if asleep {
                self.work.notify_one();
            }
            return;
        }
        // Whoever was notified or is on the way takes one closure each.
        if state.queued <= state.notified + state.starting {
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
        drop(state);
        self.start(role);
    }

    /// Starts a thread that has been counted in `starting`.
    pub(super) fn start(self: &Arc<Self>, role: Role) {
        let fate = Arc::new(AtomicU8::new(HANDING_OVER));
        let worker = Worker {
            pool: Some(self.clone()),
            role,
            fate: fate.clone(),
        };
        // A source may panic (Tokio's does when the system is out of threads).
        let started = catch_unwind(AssertUnwindSafe(|| match role {
            Role::Extra => self.source.start_extra(worker),
            Role::Eager | Role::Standby => self.source.start(worker),
        }));
        let reason = match started {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(payload) => Some(JoinError::panicked(payload).to_string()),
        };
        // Dropped while it was being handed over: it has taken itself out of
        // the count, and left it to us to say why. AcqRel on both sides: the
        // count is behind the lock, and only one of the two sees the other.
        if fate.swap(HANDED_OVER, Ordering::AcqRel) == DROPPED {
            self.fail_if_unserved(&|| match &reason {
                Some(reason) => JoinError::unstarted(reason),
                None => JoinError::shutdown(),
            });
        }
    }

    /// A thread that was asked for will not come.
    fn lost_thread(&self, role: Role) {
        let mut state = self.lock();
        state.starting -= 1;
        if role == Role::Standby {
            state.standby = false;
        }
        drop(state);
        self.ended.notify_all();
    }

    /// Refuses all waiting closures if no thread is left to run them (OF-6).
    fn fail_if_unserved(&self, error: &dyn Fn() -> JoinError) {
        let mut state = self.lock();
        if state.serving() > 0 {
            return;
        }
        let queue = state.clear_queue();
        drop(state);
        refuse_all(queue, error);
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.tell(&state);
        let queue = state.clear_queue();
        state.dropped += queue.len();
        drop(state);
        self.work.notify_all();
        refuse_all(queue, &JoinError::shutdown);
    }

    /// A waiting closure was cancelled: its place in the queue is free.
    pub(super) fn forget_one(&self) {
        let mut state = self.lock();
        state.queued -= 1;
        // Sweep when most of the queue is dead, so that the cost of sweeping is
        // paid for by the cancellations.
        let mut dead = VecDeque::new();
        if state.queue.len() > 32 && state.queue.len() / 2 > state.queued {
            dead = std::mem::take(&mut state.queue);
            let mut live = VecDeque::with_capacity(state.queued);
            dead.retain(|job| {
                let waiting = job.is_waiting();
                if waiting {
                    live.push_back(job.clone());
                }
                !waiting
            });
            state.queue = live;
        }
        drop(state);
        drop(dead);
    }

    /// Shows those who look whether there is something for them.
    fn tell(&self, state: &State) {
        // Release pairs with nothing: whoever sees it takes the lock.
        self.call
            .store(state.notified > 0 || state.closed, Ordering::Relaxed);
    }

    /// The life of one thread.
    fn work(self: &Arc<Self>, role: Role) {
        let serving = lend::serve(self);
        let _entered = self.serving.enter();
        let mut spin = Spin::new(SPIN);
        let mut state = self.lock();
        state.starting -= 1;
        state.threads += 1;
        if role == Role::Standby {
            state = self.stand_by(state);
        }
        let mut cancelled = Vec::new();
        // A finished closure whose result has not been published yet.
        let mut finished: Option<Arc<dyn Job>> = None;
        loop {
            if let Some(job) = state.take(self.config.limit, &mut cancelled) {
                // More may be waiting than this thread can take.
                self.call_worker(state);
                publish(finished.take());
                cancelled.clear();

                serving.holds(true);
                let mark = context::enter(context::Context::Blocking, self.config.runtime);
                job.run();
                drop(mark);
                serving.holds(false);

                finished = Some(job);
                state = self.lock();
                let returning = state.release();
                if let Some(returning) = returning {
                    // The slot went to another closure.
                    drop(state);
                    returning.grant();
                    state = self.lock();
                }
                continue;
            }
            if state.closed {
                break;
            }
            // Idle from here on, before anyone can see the result.
            state.idle += 1;
            if finished.is_some() || !cancelled.is_empty() {
                // The joiner's waker is foreign code, which may take its time: this thread
                // does not count as one that looks before that is over.
                drop(state);
                publish(finished.take());
                cancelled.clear();
                state = self.lock();
            }
            if state.notified == 0 && !state.closed && state.looking == 0 {
                // One looks, the others sleep.
                state.looking += 1;
                drop(state);
                let wait = spin.begin();
                // Relaxed: what it stands for is behind the lock.
                let seen = spin.look(&wait, || self.call.load(Ordering::Relaxed));
                state = self.lock();
                state.looking -= 1;
                state = self.sleep(state);
                spin.end(&wait, seen);
            } else {
                state = self.sleep(state);
            }
            if state.notified > 0 {
                // Also if the time ran out just then: this thread takes the
                // notification, whomever it was meant for.
                state.notified -= 1;
                self.tell(&state);
            } else {
                state.idle -= 1;
                // Nothing was notified, so there is nothing to take but what a
                // free slot or a sweep has left to whoever looks.
                if !state.closed && (state.queued == 0 || state.running >= self.config.limit) {
                    break;
                }
            }
        }
        state.threads -= 1;
        drop(state);
        publish(finished.take());
        self.ended.notify_all();
    }

    /// Sleeps until there is a notification, or the pool is closed, or the time for
    /// which a thread is kept is over.
    fn sleep<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let mut expired = false;
        while state.notified == 0 && !state.closed && !expired {
            (state, expired) = wait_or_expire(&self.work, state, self.config.keep_alive);
        }
        state
    }

    /// Waits while the queue moves without this thread's help.
    fn stand_by<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        // How often the queue stood still while the threads had enough to do.
        let mut patience = PATIENCE;
        while !state.closed && state.queued > 0 {
            let seen = state.taken;
            // Not on `work`: notifications are for workers.
            drop(state);
            thread::park_timeout(GROW_AFTER);
            // Beyond the processors, threads that are not blocked do not help each other.
            // But a closure may also wait for another one without ever blocking.
            // (This thread is one of them, and runs.)
            let busy = patience > 0 && self.serving.at_least_runnable(self.config.eager + 1);
            state = self.lock();
            if state.taken != seen {
                patience = PATIENCE;
                continue;
            }
            if busy {
                patience -= 1;
                continue;
            }
            if state.queued > 0 {
                // All are blocked. Besides this thread, add a quarter of what
                // there is, so that hundreds of blocking closures do not have
                // to wait for one thread a millisecond.
                let more = (state.serving() / 4)
                    .min(state.queued - 1)
                    .min(self.config.limit.saturating_sub(state.serving()));
                // (If there was enough to do, none: this one was waited for.)
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

impl State {
    fn clear_queue(&mut self) -> VecDeque<Arc<dyn Job>> {
        let mut queue = std::mem::take(&mut self.queue);
        // Claimed under the lock, so that a cancellation cannot count twice.
        queue.retain(|job| job.claim());
        self.queued = self.queued.saturating_sub(queue.len());
        queue
    }
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
            pool.work(self.role);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.lost_thread(self.role);
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

//! A task without its type, and its wakers.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use fourway_adapt::BoxFuture;

use crate::{
    bugs::Bug,
    odd::{self, Odd},
};

use super::{INLINE, Inner, enter, lock};

/// A task without the type of its output, which its future leaves in a `Join`.
pub(super) struct Cell {
    pub(super) inner: Arc<Inner>,
    pub(super) state: Mutex<CellState>,
    pub(super) aborted: Arc<AtomicBool>,
    pub(super) polls: AtomicUsize,
    /// Threads that are just waking it, for [`Bug::WakersCollide`].
    pub(super) waking: AtomicUsize,
    /// Destroys, resolves: called with the reason when the task ends early.
    pub(super) end: Box<dyn Fn(Option<BoxFuture>, End) + Send + Sync>,
}

pub(super) struct CellState {
    pub(super) future: Option<BoxFuture>,
    pub(super) run: Run,
    /// Wakes that have not been followed by a poll, for [`Bug::NoCoalescing`].
    pub(super) extra: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    Idle,
    Queued,
    Running,
    Notified,
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Cancelled,
    Shutdown,
}

impl Cell {
    /// Polls once; `false` if the worker died of it.
    pub(super) fn run(self: Arc<Self>) -> bool {
        let inner = self.inner.clone();
        let mut future = {
            let mut state = lock(&self.state);
            state.run = Run::Running;
            match state.future.take() {
                Some(future) => future,
                None => return true,
            }
        };
        if self.aborted.load(Ordering::SeqCst) && !inner.is(Bug::PolledAfterCancel) {
            lock(&self.state).run = Run::Done;
            self.finish(future, End::Cancelled);
            return true;
        }
        let polls = self.polls.fetch_add(1, Ordering::SeqCst) + 1;
        let waker = match inner.bug {
            Bug::StaleWakerIgnored => Waker::from(Arc::new(OfOnePoll(self.clone(), polls))),
            Bug::OneWakerForAll => {
                let new = || Waker::from(Arc::new(OfAll(Arc::downgrade(&inner))));
                inner.all.get_or_init(new).clone()
            }
            _ if odd::is(Odd::FreshWakers) => {
                Waker::from(Arc::new(OfOnePoll(self.clone(), usize::MAX)))
            }
            _ => Waker::from(self.clone()),
        };
        let mut cx = Context::from_waker(&waker);
        let poll = if inner.is(Bug::PanicKillsWorker) {
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)))
        } else {
            Ok(future.as_mut().poll(&mut cx))
        };
        let Ok(poll) = poll else {
            // The worker is gone, and the waiters are not told.
            std::mem::forget(future);
            return false;
        };
        if poll.is_ready() {
            let mut state = lock(&self.state);
            state.run = Run::Done;
            if inner.is(Bug::FutureKeptByWaker) {
                state.future = Some(future);
            } else {
                drop(state);
                drop(future);
            }
            return true;
        }
        if self.aborted.load(Ordering::SeqCst) {
            lock(&self.state).run = Run::Done;
            self.finish(future, End::Cancelled);
            return true;
        }
        let again = {
            let mut state = lock(&self.state);
            state.future = Some(future);
            let notified = state.run == Run::Notified && !inner.is(Bug::LostWakeDuringPoll);
            let extra = std::mem::take(&mut state.extra) > 0;
            let again = notified || extra || inner.is(Bug::SpuriousPolls);
            let again = again && !self.is_spent();
            state.run = if again { Run::Queued } else { Run::Idle };
            again
        };
        if again {
            if inner.is(Bug::SpuriousPolls) {
                thread::sleep(Duration::from_millis(1));
            }
            if inner.is(Bug::SlotNotEmptied) {
                // A task that woke itself must not be forgotten because of another one.
                lock(&inner.state).queue.push_back(self);
            } else {
                inner.push(self);
            }
        }
        true
    }

    pub(super) fn destroy(&self) {
        let future = {
            let mut state = lock(&self.state);
            state.run = Run::Done;
            state.future.take()
        };
        let reason = if self.aborted.load(Ordering::SeqCst) {
            End::Cancelled
        } else {
            End::Shutdown
        };
        if let Some(future) = future {
            self.finish(future, reason);
        }
    }

    /// Destroys its future, under the locks that the bug holds.
    fn finish(&self, future: BoxFuture, reason: End) {
        let inner = &self.inner;
        let _task = inner
            .is(Bug::DestroyUnderTaskLock)
            .then(|| lock(&self.state));
        let _runtime = inner
            .is(Bug::DestroyUnderRuntimeLock)
            .then(|| lock(&inner.state));
        match inner.bug {
            Bug::FutureKeptByWaker => {
                (self.end)(None, reason);
                lock(&self.state).future = Some(future);
            }
            Bug::CancelledForgotten if reason == End::Cancelled => {
                std::mem::forget(future);
                (self.end)(None, reason);
            }
            _ => (self.end)(Some(future), reason),
        }
    }

    /// For [`Bug::BudgetRunsOut`].
    fn is_spent(&self) -> bool {
        let many = self.polls.load(Ordering::SeqCst) >= 1000;
        many && self.inner.is(Bug::BudgetRunsOut) && !self.aborted.load(Ordering::SeqCst)
    }

    /// A wake by the runtime itself.
    pub(super) fn notify(self: Arc<Self>) {
        let push = {
            let mut state = lock(&self.state);
            match state.run {
                Run::Idle => {
                    state.run = Run::Queued;
                    true
                }
                Run::Running => {
                    state.run = Run::Notified;
                    false
                }
                Run::Queued | Run::Notified => {
                    if self.inner.is(Bug::NoCoalescing) {
                        state.extra += 1;
                    }
                    false
                }
                Run::Done => false,
            }
        };
        if push && !self.is_spent() {
            match self.inner.bug {
                Bug::WakePollsInline => {
                    self.run();
                }
                Bug::PanicReachesWaker => {
                    let before = INLINE.replace(true);
                    self.run();
                    INLINE.set(before);
                }
                _ => self.inner.clone().push(self),
            }
        }
    }
}

impl Wake for Cell {
    fn wake(self: Arc<Self>) {
        enter(self.inner.bug);
        match self.inner.bug {
            Bug::WakeAfterGonePanics if lock(&self.inner.state).closed => {
                panic!("woken after the runtime is gone")
            }
            Bug::WakeAfterEndPanics if lock(&self.state).run == Run::Done => {
                panic!("woken after the end")
            }
            Bug::WakersCollide => {
                let others = self.waking.fetch_add(1, Ordering::SeqCst);
                (0..3).for_each(|_| thread::yield_now());
                self.waking.fetch_sub(1, Ordering::SeqCst);
                let mut state = lock(&self.state);
                if others > 0 && state.run == Run::Idle {
                    // Each thread leaves it to the other.
                    state.run = Run::Queued;
                    return;
                }
            }
            _ => {}
        }
        self.notify();
    }
}

/// For [`Bug::StaleWakerIgnored`]: good until the next poll. And for
/// [`Odd::FreshWakers`]: good for ever.
struct OfOnePoll(Arc<Cell>, usize);

impl Wake for OfOnePoll {
    fn wake(self: Arc<Self>) {
        if self.1 == usize::MAX || self.0.polls.load(Ordering::SeqCst) == self.1 {
            self.0.clone().wake();
        }
    }
}

/// For [`Bug::OneWakerForAll`].
struct OfAll(Weak<Inner>);

impl Wake for OfAll {
    fn wake(self: Arc<Self>) {
        let Some(inner) = self.0.upgrade() else {
            return;
        };
        let tasks = lock(&inner.state).tasks.clone();
        for task in tasks {
            if let Some(task) = task.upgrade() {
                task.wake();
            }
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let future = lock(&self.state).future.take();
        if future.is_some() {
            (self.end)(future, End::Shutdown);
        }
    }
}

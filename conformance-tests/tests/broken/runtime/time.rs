//! Time.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use fourway_adapt::{self as adapt, fork::Process, pool::Pool, timer::Timers};
use fourway_core::{
    Task, Timer,
    context::Context as Code,
    implement::{self, RuntimeId},
    time,
};

use crate::{bugs::Bug, odd};

use super::{Broken, Inner, lock, spawn::count};

pub(crate) struct BrokenSleep {
    sleep: adapt::timer::Sleep,
    bug: Bug,
    polls: usize,
    leaked: Option<Waker>,
    duration: Duration,
    /// The context it was made in.
    made: Option<RuntimeId>,
    shared: TimerShared,
}

/// The part of the runtime that timers need; without the owner it does not keep the runtime alive.
struct TimerShared {
    inner: Arc<Inner>,
    timers: Option<Timers>,
    pool: Option<Pool>,
    /// For [`Bug::TimerOwnsRuntime`].
    _owner: Option<Broken>,
}

impl Future for BrokenSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.polls += 1;
        if self.polls == 1 {
            match self.bug {
                Bug::DueTimerPends => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Bug::SleepWakerLeaks | Bug::FirstTimerWakerWins => {
                    self.leaked = Some(cx.waker().clone());
                }
                Bug::TimerCountsFromPoll => {
                    if let Some(timers) = &self.shared.timers {
                        self.sleep = timers.sleep(self.duration);
                    }
                }
                Bug::TimersInPool => {
                    let (waker, duration) = (cx.waker().clone(), self.duration);
                    if let Some(pool) = &self.shared.pool {
                        pool.offload(move || {
                            thread::sleep(duration.min(Duration::from_secs(60)));
                            waker.wake();
                        })
                        .detach();
                    }
                }
                _ => {}
            }
        }
        match self.bug {
            Bug::ForkedTimersStand if Process::this().is_forked() => return Poll::Pending,
            Bug::TimersInPool => {
                // Polled when it is woken out of the pool.
                let mut cx = Context::from_waker(Waker::noop());
                return Pin::new(&mut self.sleep).poll(&mut cx);
            }
            Bug::TimerBoundToExecutor => {
                let here = implement::runtime_id();
                let bound = self.made.is_some() && self.made != here;
                assert!(!bound, "polled outside of the runtime it was made in");
            }
            Bug::FirstTimerWakerWins => {
                if let Some(first) = self.leaked.clone() {
                    return Pin::new(&mut self.sleep).poll(&mut Context::from_waker(&first));
                }
            }
            Bug::TimerDiesWithRuntime if lock(&self.shared.inner.state).closing => {
                return Poll::Pending;
            }
            // Not earlier: the shutdown itself waits for the runtime's own thread.
            Bug::TimerThreadStays if lock(&self.shared.inner.state).shut => {
                let waker = Waker::from(Arc::new(Staying(cx.waker().clone())));
                return Pin::new(&mut self.sleep).poll(&mut Context::from_waker(&waker));
            }
            Bug::TimerWakerUncontained => {
                let uncontained = Uncontained(cx.waker().clone(), self.shared.inner.clone());
                let waker = Waker::from(Arc::new(uncontained));
                return Pin::new(&mut self.sleep).poll(&mut Context::from_waker(&waker));
            }
            Bug::TimerWakerUnmarked => {
                let waker = Waker::from(Arc::new(Unmarked(cx.waker().clone())));
                return Pin::new(&mut self.sleep).poll(&mut Context::from_waker(&waker));
            }
            _ => {}
        }
        Pin::new(&mut self.sleep).poll(cx)
    }
}

/// For [`Bug::TimerThreadStays`]: the thread that wakes never ends.
struct Staying(Waker);

impl Wake for Staying {
    fn wake(self: Arc<Self>) {
        struct Stays;
        impl Drop for Stays {
            fn drop(&mut self) {
                loop {
                    thread::park();
                }
            }
        }
        thread_local! {
            static STAYS: Stays = const { Stays };
        }
        self.0.wake_by_ref();
        // Made last, and so destroyed first.
        STAYS.with(|_| ());
    }
}

/// For [`Bug::TimerWakerUncontained`]: as if the thread that unwinds were the runtime's only one.
struct Uncontained(Waker, Arc<Inner>);

impl Wake for Uncontained {
    fn wake(self: Arc<Self>) {
        if catch_unwind(AssertUnwindSafe(|| self.0.wake_by_ref())).is_err() {
            self.1.close();
        }
    }
}

/// For [`Bug::TimerWakerUnmarked`].
struct Unmarked(Waker);

impl Wake for Unmarked {
    fn wake(self: Arc<Self>) {
        let _mark = implement::enter(Code::Sync, None);
        self.0.wake_by_ref();
    }
}

impl time::Sleep for BrokenSleep {
    fn reset_after(mut self: Pin<&mut Self>, duration: Duration) {
        match self.bug {
            Bug::ResetIgnored => {}
            Bug::ResetOverflows => {
                let rounded_up = Instant::now() + duration + Duration::from_millis(1);
                Pin::new(&mut self.sleep).reset(rounded_up);
            }
            Bug::ResetForgetsWaker => {
                // As if the coming poll would handle it.
                let timers = Timers::global();
                self.sleep = timers.sleep(duration);
            }
            _ => Pin::new(&mut self.sleep).reset_after(duration),
        }
    }
}

impl Drop for BrokenSleep {
    fn drop(&mut self) {
        if self.bug == Bug::SleepWakerLeaks {
            std::mem::forget(self.leaked.take());
        }
    }
}

impl Timer for Broken {
    type Sleep = BrokenSleep;

    fn now(&self) -> Instant {
        let now = Instant::now();
        if self.shared.inner.is(Bug::ClockGoesBack) && count() % 2 == 0 {
            return now.checked_sub(Duration::from_millis(50)).unwrap_or(now);
        }
        if self.shared.inner.is(Bug::ClockStands) {
            static FIRST: OnceLock<Instant> = OnceLock::new();
            return *FIRST.get_or_init(|| now);
        }
        now
    }

    fn sleep(&self, duration: Duration) -> BrokenSleep {
        let bug = self.shared.inner.bug;
        if bug == Bug::TimerNeedsRuntime {
            assert!(
                implement::runtime_id().is_some(),
                "there is no reactor running"
            );
        }
        let timers = &self.shared.timers;
        let sleep = match bug {
            Bug::TimerEarly => timers.sleep(duration.saturating_sub(Duration::from_millis(3))),
            Bug::HugeDurationPanics => timers.sleep_until(Instant::now() + duration),
            Bug::TimersCoarse => {
                // As if the wait for the first timer could not be cut short.
                static LAST: Mutex<Option<Instant>> = Mutex::new(None);
                let mut last = lock(&LAST);
                let wanted = Instant::now().checked_add(duration);
                *last = last.max(wanted);
                match *last {
                    Some(at) => timers.sleep_until(at),
                    None => timers.sleep(duration),
                }
            }
            _ => timers.sleep(odd::coarse(duration)),
        };
        BrokenSleep {
            sleep,
            bug,
            polls: 0,
            leaked: None,
            duration,
            made: implement::runtime_id(),
            shared: TimerShared {
                inner: self.shared.inner.clone(),
                timers: (bug == Bug::TimerCountsFromPoll).then(|| timers.clone()),
                pool: (bug == Bug::TimersInPool).then(|| self.shared.pool.clone()),
                _owner: (bug == Bug::TimerOwnsRuntime).then(|| self.clone()),
            },
        }
    }
}

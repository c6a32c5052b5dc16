use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use fourway_adapt::timer::Sleep as RealSleep;
use fourway_core::{Timer, time};

use crate::{
    Sim,
    block_on::note,
    failure::Wait,
    state::{Due, Inner, Phase, State},
};

/// In a run, on the virtual clock; outside of one, on the real one.
impl Timer for Sim {
    type Sleep = Sleep;

    fn sleep(&self, duration: Duration) -> Sleep {
        let inner = self.inner();
        if inner.is_inherited() {
            return Sleep(Kind::Real(self.timers().sleep(duration)));
        }
        let state = inner.lock();
        if state.strict {
            let deadline = state.clock.saturating_add(nanos(duration));
            drop(state);
            Sleep::simulated(inner, deadline)
        } else {
            drop(state);
            Sleep(Kind::Real(self.timers().sleep(duration)))
        }
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let inner = self.inner();
        if !inner.is_inherited() && inner.lock().strict {
            let deadline = nanos(deadline.saturating_duration_since(inner.base));
            Sleep::simulated(inner, deadline)
        } else {
            Sleep(Kind::Real(self.timers().sleep_until(deadline)))
        }
    }

    fn now(&self) -> Instant {
        let inner = self.inner();
        if inner.is_inherited() {
            return Instant::now();
        }
        let state = inner.lock();
        if state.strict {
            inner.time(&state)
        } else {
            Instant::now()
        }
    }
}

impl Inner {
    /// The time on the virtual clock.
    fn time(&self, state: &State) -> Instant {
        let since = Duration::from_nanos(state.clock);
        // Beyond what the system's clock can express, it stands still.
        self.base.checked_add(since).unwrap_or(self.base)
    }
}

/// The longest ones never end: some 580 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A timer of a [`Sim`].
pub struct Sleep(Kind);

enum Kind {
    Simulated {
        inner: Arc<Inner>,
        deadline: u64,
        key: Option<(u64, u64)>,
    },
    Real(RealSleep),
}

impl Sleep {
    /// In a run.
    pub(crate) fn after(inner: &Arc<Inner>, duration: Duration) -> Self {
        let now = inner.lock().clock;
        Self::simulated(inner, now.saturating_add(nanos(duration)))
    }

    /// In a run, at a time on the virtual clock.
    pub(crate) fn simulated(inner: &Arc<Inner>, deadline: u64) -> Self {
        Self(Kind::Simulated {
            inner: inner.clone(),
            deadline,
            key: None,
        })
    }
}

/// Takes the timer back, and gives its action.
fn forget(inner: &Inner, key: &mut Option<(u64, u64)>) -> Option<Due> {
    let key = key.take()?;
    inner.lock().timers.remove(&key)
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (inner, deadline, key) = match &mut self.0 {
            Kind::Real(sleep) => return Pin::new(sleep).poll(cx),
            Kind::Simulated {
                inner,
                deadline,
                key,
            } => (inner, *deadline, key),
        };
        // Cloned before the lock is taken, because it is user code.
        let waker = cx.waker().clone();
        let mut state = inner.lock();
        // After the run there is no time.
        let over = state.phase == Phase::Over;
        let before = key.take().and_then(|key| state.timers.remove(&key));
        if state.clock >= deadline || over {
            drop(state);
            drop((before, waker));
            return Poll::Ready(());
        }
        let late = state.faults.jitter();
        *key = Some(state.at(deadline.saturating_add(late), Due::Wake(waker)));
        drop(state);
        drop(before);
        note(inner, Wait::Timer(Duration::from_nanos(deadline)));
        Poll::Pending
    }
}

impl time::Sleep for Sleep {
    fn reset_after(mut self: Pin<&mut Self>, duration: Duration) {
        match &mut self.0 {
            Kind::Real(sleep) => Pin::new(sleep).reset_after(duration),
            Kind::Simulated { inner, .. } => {
                let deadline = inner.lock().clock.saturating_add(nanos(duration));
                self.move_to(deadline);
            }
        }
    }

    fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        match &mut self.0 {
            Kind::Real(sleep) => Pin::new(sleep).reset(deadline),
            Kind::Simulated { inner, .. } => {
                let deadline = nanos(deadline.saturating_duration_since(inner.base));
                self.move_to(deadline);
            }
        }
    }
}

impl Sleep {
    fn move_to(mut self: Pin<&mut Self>, to: u64) {
        let Kind::Simulated {
            inner,
            deadline,
            key,
        } = &mut self.0
        else {
            return;
        };
        *deadline = to;
        // Without an action, the timer was not polled, or its task was woken and is going to poll
        // again.
        if let Some(due) = forget(inner, key) {
            let mut state = inner.lock();
            let late = state.faults.jitter();
            // A deadline that has passed is fired at the next turn.
            *key = Some(state.at(to.saturating_add(late), due));
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Kind::Simulated { inner, key, .. } = &mut self.0 {
            drop(forget(inner, key));
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Real(sleep) => sleep.fmt(f),
            Kind::Simulated { deadline, .. } => f
                .debug_struct("Sleep")
                .field("deadline", &Duration::from_nanos(*deadline))
                .finish_non_exhaustive(),
        }
    }
}

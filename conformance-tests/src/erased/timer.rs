use std::time::{Duration, Instant};

use fourway_core::{Timer, forward, time::BoxSleep};

use super::runtime::ErasedRuntime;

/// A [`Timer`] without generics.
pub(super) trait DynTimer {
    fn sleep_dyn(&self, duration: Duration) -> BoxSleep;
    fn sleep_until_dyn(&self, deadline: Instant) -> BoxSleep;
    fn now_dyn(&self) -> Instant;
}

impl<R: Timer> DynTimer for R {
    fn sleep_dyn(&self, duration: Duration) -> BoxSleep {
        Box::pin(self.sleep(duration))
    }

    fn sleep_until_dyn(&self, deadline: Instant) -> BoxSleep {
        Box::pin(self.sleep_until(deadline))
    }

    fn now_dyn(&self) -> Instant {
        self.now()
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl Timer for ErasedRuntime {
    type Sleep = BoxSleep;

    forward!(provided Timer);

    fn sleep(&self, duration: Duration) -> BoxSleep {
        self.0.sleep_dyn(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> BoxSleep {
        self.0.sleep_until_dyn(deadline)
    }

    fn now(&self) -> Instant {
        self.0.now_dyn()
    }
}

use std::time::{Duration, Instant};

use fourway_core::Timer;

use crate::{Sleep, StdThread};

impl Timer for StdThread {
    type Sleep = Sleep;

    fn sleep(&self, duration: Duration) -> Sleep {
        self.shared.timers.sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        self.shared.timers.sleep_until(deadline)
    }
}

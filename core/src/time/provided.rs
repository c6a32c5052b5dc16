//! Methods that [`Timer`] provides, for timers that write its methods out:
//! `forward!(provided Timer)`.

use std::{
    future::IntoFuture,
    time::{Duration, Instant},
};

use super::{Interval, Timeout, Timer};

/// As [`Timer::timeout`], with the sleep made.
pub fn timeout<F: IntoFuture, S>(future: F, sleep: S) -> Timeout<F::IntoFuture, S> {
    Timeout::new(future.into_future(), sleep)
}

/// As [`Timer::interval_at`], with the timer cloned.
#[track_caller]
pub fn interval<R: Timer>(timer: R, start: Instant, period: Duration) -> Interval<R> {
    Interval::new(timer, start, period)
}

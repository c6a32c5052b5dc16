use core::time::Duration;
#[cfg(feature = "std")]
use std::time::Instant;

use super::Sleep;
#[cfg(feature = "std")]
use super::{Interval, Timeout};

/// Makes timers.
///
/// A timer is never early; one that is due already is ready at its first poll;
/// the longest [`Duration`] does not overflow ([never early][TI-1]). Timers can be made on any
/// thread and polled on any executor, and dropping one releases its waker
/// ([timers work anywhere][TI-2]).
///
/// [TI-1]: crate::contract#TI-1
/// [TI-2]: crate::contract#TI-2
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a runtime: it has no timers",
    note = "a library takes `R: Runtime`; an application has one of `fourway`'s, for example `fourway::default_runtime()`. For an executor of your own, see `fourway-adapt`"
)]
pub trait Timer {
    /// A future that is ready once its time has come.
    type Sleep: Sleep + 'static;

    /// Waits until `duration` has passed, counted from this call and not from
    /// the first poll.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the timer and has no other effect.
    fn sleep(&self, duration: Duration) -> Self::Sleep;

    /// Waits until `deadline`.
    ///
    /// # Cancel safety
    ///
    /// As [`sleep`](Self::sleep).
    #[cfg(feature = "std")]
    fn sleep_until(&self, deadline: Instant) -> Self::Sleep {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }

    /// The current time on this timer's clock, which a runtime for tests may
    /// have paused.
    #[cfg(feature = "std")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Gives `future`, or anything else that can be awaited, at most `duration` from now to finish
    /// ([timeout and interval][TI-3]).
    ///
    /// The result is `Ok(output)`, or [`Elapsed`](super::Elapsed) after the
    /// future has been dropped.
    ///
    /// [TI-3]: crate::contract#TI-3
    #[cfg(feature = "std")]
    #[track_caller]
    fn timeout<F: IntoFuture>(
        &self,
        duration: Duration,
        future: F,
    ) -> Timeout<F::IntoFuture, Self::Sleep> {
        Timeout::new(future.into_future(), self.sleep(duration))
    }

    /// Gives `future`, or anything else that can be awaited, until `deadline` to finish ([timeout
    /// and interval][TI-3]).
    ///
    /// [TI-3]: crate::contract#TI-3
    #[cfg(feature = "std")]
    #[track_caller]
    fn timeout_at<F: IntoFuture>(
        &self,
        deadline: Instant,
        future: F,
    ) -> Timeout<F::IntoFuture, Self::Sleep> {
        Timeout::new(future.into_future(), self.sleep_until(deadline))
    }

    /// Ticks every `period`, the first time at once.
    ///
    /// # Panics
    ///
    /// If `period` is zero.
    #[cfg(feature = "std")]
    #[track_caller]
    fn interval(&self, period: Duration) -> Interval<Self>
    where
        Self: Clone,
    {
        self.interval_at(self.now(), period)
    }

    /// Ticks every `period`, the first time at `start`.
    ///
    /// # Panics
    ///
    /// If `period` is zero.
    #[cfg(feature = "std")]
    #[track_caller]
    fn interval_at(&self, start: Instant, period: Duration) -> Interval<Self>
    where
        Self: Clone,
    {
        Interval::new(self.clone(), start, period)
    }
}

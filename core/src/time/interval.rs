use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures_core::Stream;

use super::{Sleep, Timer};
use crate::implement::later;

/// A stream of ticks. Made by [`Timer::interval`].
///
/// Ticks are due at `start + n × period`. What happens when the caller is late
/// for one is the choice of a [`MissedTickBehavior`]; the default is
/// [`Burst`](MissedTickBehavior::Burst).
///
/// It is an endless [`Stream`] of the instants that ticks were due at. To poll it, use
/// [`poll_tick`](Self::poll_tick). The names are those of `tokio::time::Interval`.
///
/// It costs one allocation, and none for a tick.
///
/// It keeps its timer, because it asks it for the time. Made by a runtime, it is one more handle on
/// that: a task that ticks keeps its own runtime, which does not end with the other handles, but by
/// a shutdown. A [`Sleep`](Timer::Sleep) that is [reset](Sleep::reset) keeps none.
///
/// # Examples
///
/// ```
/// # async fn example(rt: impl fourway_core::Runtime) {
/// use fourway_core::{Timer, time::MissedTickBehavior};
/// use std::time::Duration;
///
/// let mut beat = rt.interval(Duration::from_secs(1));
/// beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
/// loop {
///     beat.tick().await;
///     // once a second
/// }
/// # }
/// ```
pub struct Interval<R: Timer> {
    timer: R,
    /// Due at `next`.
    sleep: Pin<Box<R::Sleep>>,
    next: Instant,
    period: Duration,
    missed: MissedTickBehavior,
}

/// How an [`Interval`] handles ticks that were due while no caller waited.
///
/// With a period of 10 ms, a start at 0 and a caller who comes back at 34 ms,
/// having last seen the tick of 10 ms:
///
/// | behaviour | ticks given |
/// |---|---|
/// | `Burst` | at once for 20, at once for 30, then at 40, 50, … |
/// | `Delay` | at once for 20, then at 44, 54, … |
/// | `Skip`  | at once for 20, then at 40, 50, … |
///
/// The names and meanings are those of `tokio::time::MissedTickBehavior`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissedTickBehavior {
    /// Gives the missed ticks one after the other, without pause, until it has
    /// caught up.
    #[default]
    Burst,
    /// Counts the period anew from the moment of the late tick.
    Delay,
    /// Leaves missed ticks out and goes on at the next multiple of the period.
    Skip,
}

impl<R: Timer> Interval<R> {
    #[track_caller]
    pub(super) fn new(timer: R, start: Instant, period: Duration) -> Self {
        assert!(
            !period.is_zero(),
            "the period of an interval must not be zero"
        );
        Self {
            sleep: Box::pin(timer.sleep_until(start)),
            timer,
            next: start,
            period,
            missed: MissedTickBehavior::default(),
        }
    }

    /// Waits for the next tick and returns the instant it was due at.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no tick.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// Is the next tick due? If so, gives the instant it was due at; if not, has the waker
    /// called when it is.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(self.sleep.as_mut().poll(cx));
        // A tick is either taken whole or not at all.
        let due = self.next;
        self.set_next(self.following(due, self.timer.now()));
        Poll::Ready(due)
    }

    /// Starts over: the next tick is one period from now.
    pub fn reset(&mut self) {
        self.set_next(later(self.timer.now(), self.period));
    }

    /// Starts over: the next tick is due at once.
    pub fn reset_immediately(&mut self) {
        self.set_next(self.timer.now());
    }

    /// Starts over: the next tick is due after `after`, those that follow at each period.
    pub fn reset_after(&mut self, after: Duration) {
        self.set_next(later(self.timer.now(), after));
    }

    /// Starts over: the next tick is due at `deadline`, those that follow at each period.
    pub fn reset_at(&mut self, deadline: Instant) {
        self.set_next(deadline);
    }

    /// The time between ticks.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// How missed ticks are handled.
    #[must_use]
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// Chooses how missed ticks are handled.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }

    fn set_next(&mut self, next: Instant) {
        self.next = next;
        self.sleep.as_mut().reset(next);
    }

    fn following(&self, due: Instant, now: Instant) -> Instant {
        let regular = later(due, self.period);
        // A tick counts as missed once the one after it is due as well;
        // a caller late by less than a period keeps the rhythm in every mode.
        if now < regular {
            return regular;
        }
        match self.missed {
            MissedTickBehavior::Burst => regular,
            MissedTickBehavior::Delay => later(now, self.period),
            MissedTickBehavior::Skip => {
                let period = self.period.as_nanos();
                let into_period = now.duration_since(due).as_nanos() % period;
                let rest = u64::try_from(period - into_period).unwrap_or(u64::MAX);
                later(now, Duration::from_nanos(rest))
            }
        }
    }
}

// Nothing in it is pinned but the timer, which is boxed.
impl<R: Timer> Unpin for Interval<R> {}

/// Each tick, by the instant it was due at.
impl<R: Timer> Stream for Interval<R> {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(cx).map(Some)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

impl<R: Timer> fmt::Debug for Interval<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interval")
            .field("next", &self.next)
            .field("period", &self.period)
            .field("missed", &self.missed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Never;
    struct NeverReady;

    impl Timer for Never {
        type Sleep = NeverReady;
        fn sleep(&self, _: Duration) -> Self::Sleep {
            NeverReady
        }
    }

    impl std::future::Future for NeverReady {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    impl Sleep for NeverReady {
        fn reset_after(self: Pin<&mut Self>, _: Duration) {}
    }

    /// The table in the docs of `MissedTickBehavior`.
    #[test]
    fn a_late_caller_sees_what_the_table_says() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let after_20_at_34 = |behavior| {
            let mut interval = Never.interval_at(start, ms(10));
            interval.set_missed_tick_behavior(behavior);
            interval.following(start + ms(20), start + ms(34)) - start
        };
        assert_eq!(after_20_at_34(MissedTickBehavior::Burst), ms(30));
        assert_eq!(after_20_at_34(MissedTickBehavior::Delay), ms(44));
        assert_eq!(after_20_at_34(MissedTickBehavior::Skip), ms(40));
    }

    #[test]
    fn a_reset_sets_the_next_tick_and_keeps_the_period() {
        let (start, hour) = (Instant::now(), Duration::from_secs(3600));
        let mut interval = Never.interval_at(start, hour);
        interval.reset_after(2 * hour);
        // The clock goes on meanwhile, by less than an hour.
        let next = interval.next - start;
        assert!((2 * hour..3 * hour).contains(&next), "{next:?}");
        interval.reset_at(start + 5 * hour);
        assert_eq!(interval.next, start + 5 * hour);
        interval.reset_immediately();
        assert!(interval.next - start < hour);
        interval.reset();
        let next = interval.next - start;
        assert!((hour..2 * hour).contains(&next), "{next:?}");
        assert_eq!(interval.period(), hour);
    }

    #[test]
    fn huge_periods_do_not_overflow() {
        let interval = Never.interval(Duration::MAX);
        let now = Instant::now();
        assert!(interval.following(now, now) > now);
    }

    #[test]
    #[should_panic(expected = "must not be zero")]
    fn a_zero_period_is_refused() {
        let _ = Never.interval(Duration::ZERO);
    }
}

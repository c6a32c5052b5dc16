use std::{
    fmt,
    time::{Duration, Instant},
};

use super::Timer;

/// A stream of ticks. Made by [`Timer::interval`].
///
/// Ticks are due at `start + n × period`. What happens when the caller is late
/// for one is the choice of a [`MissedTickBehavior`]; the default is
/// [`Burst`](MissedTickBehavior::Burst).
pub struct Interval<R> {
    timer: R,
    next: Instant,
    period: Duration,
    missed: MissedTickBehavior,
}

/// What an [`Interval`] does about ticks that were due while nobody waited.
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
            timer,
            next: start,
            period,
            missed: MissedTickBehavior::default(),
        }
    }

    /// Chooses what happens about missed ticks.
    #[must_use]
    pub fn missed_tick_behavior(mut self, behavior: MissedTickBehavior) -> Self {
        self.missed = behavior;
        self
    }

    /// The time between ticks.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Starts over: the next tick is one period from now.
    pub fn reset(&mut self) {
        self.next = add(self.timer.now(), self.period);
    }

    /// Waits for the next tick and returns the instant it was due at.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no tick.
    pub async fn tick(&mut self) -> Instant {
        let due = self.next;
        self.timer.sleep_until(due).await;
        // No await from here on: a tick is either taken whole or not at all.
        self.next = self.following(due, self.timer.now());
        due
    }

    fn following(&self, due: Instant, now: Instant) -> Instant {
        let regular = add(due, self.period);
        // A tick counts as missed once the one after it is due as well;
        // a caller late by less than a period keeps the rhythm in every mode.
        if now < regular {
            return regular;
        }
        match self.missed {
            MissedTickBehavior::Burst => regular,
            MissedTickBehavior::Delay => add(now, self.period),
            MissedTickBehavior::Skip => {
                let period = self.period.as_nanos();
                let into_period = now.duration_since(due).as_nanos() % period;
                let rest = u64::try_from(period - into_period).unwrap_or(u64::MAX);
                add(now, Duration::from_nanos(rest))
            }
        }
    }
}

/// `instant + duration`, or as far ahead as an `Instant` is sure to reach.
fn add(instant: Instant, duration: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    instant
        .checked_add(duration)
        .unwrap_or_else(|| instant + CENTURY)
}

impl<R> fmt::Debug for Interval<R> {
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
    impl Timer for Never {
        type Sleep = std::future::Pending<()>;
        fn sleep(&self, _: Duration) -> Self::Sleep {
            std::future::pending()
        }
    }

    /// The table in the docs of `MissedTickBehavior`.
    #[test]
    fn a_late_caller_sees_what_the_table_says() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let after_20_at_34 = |behavior| {
            let interval = Never
                .interval_at(start, ms(10))
                .missed_tick_behavior(behavior);
            interval.following(start + ms(20), start + ms(34)) - start
        };
        assert_eq!(after_20_at_34(MissedTickBehavior::Burst), ms(30));
        assert_eq!(after_20_at_34(MissedTickBehavior::Delay), ms(44));
        assert_eq!(after_20_at_34(MissedTickBehavior::Skip), ms(40));
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

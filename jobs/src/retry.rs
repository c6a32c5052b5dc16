//! How often a job is tried, and after which pauses: [`Retry`].

use std::time::Duration;

/// How often a job is tried, and how long it waits in between: longer each time, with jitter,
/// so that many jobs that failed together do not come back together.
///
/// # Examples
///
/// ```
/// use fourway_jobs::Retry;
/// use std::time::Duration;
///
/// let retry = Retry::attempts(5).pause(Duration::from_millis(200)).longest(Duration::from_secs(30));
/// # drop(retry);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    pub(crate) attempts: u32,
    first: Duration,
    longest: Duration,
    factor: f32,
    jitter: bool,
    pub(crate) timeouts: bool,
}

impl Retry {
    /// At most so many attempts, with the first; 0 is taken for 1.
    ///
    /// The pause is one second after the first attempt and doubles with each, up to an hour.
    /// Jitter adds up to as much again.
    #[must_use]
    pub fn attempts(attempts: u32) -> Self {
        Self {
            attempts: attempts.max(1),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(3600),
            factor: 2.0,
            jitter: true,
            timeouts: true,
        }
    }

    /// One attempt: the default of a job, unless its manager has
    /// [another](crate::JobManagerBuilder::retry).
    #[must_use]
    pub fn never() -> Self {
        Self::attempts(1)
    }

    /// The pause after the first attempt.
    #[must_use]
    pub fn pause(mut self, first: Duration) -> Self {
        self.first = first;
        self
    }

    /// The longest pause, before the jitter.
    #[must_use]
    pub fn longest(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// The factor by which each pause is longer than the one before; at least 1.
    #[must_use]
    pub fn factor(mut self, factor: f32) -> Self {
        self.factor = factor.max(1.0);
        self
    }

    /// Whether up to as much again is added to each pause, by chance. It is by default.
    #[must_use]
    pub fn jitter(mut self, jitter: bool) -> Self {
        self.jitter = jitter;
        self
    }

    /// Whether an attempt that took longer than the job's timeout is followed by another, as a
    /// failed attempt is. It is by default.
    #[must_use]
    pub fn timeouts(mut self, timeouts: bool) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// How many attempts there are at most, with the first.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether an attempt that took too long is [followed by another one](Self::timeouts).
    #[must_use]
    pub fn retries_timeouts(&self) -> bool {
        self.timeouts
    }

    /// How long to wait after that attempt has failed; the first one is 1.
    #[must_use]
    pub fn after(&self, attempt: u32) -> Duration {
        let growth = f64::from(self.factor).powf(f64::from(attempt.saturating_sub(1)));
        // The growth may be infinite; and infinitely many times nothing is no number.
        let pause = if self.first.is_zero() {
            Duration::ZERO
        } else if growth == 1.0 {
            self.first
        } else {
            let seconds = self.first.as_secs_f64() * growth;
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
        };
        let pause = pause.min(self.longest);
        if self.jitter {
            pause.saturating_add(pause.mul_f64(fastrand::f64()))
        } else {
            pause
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::never()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pause_is_longer_than_the_longest() {
        let retry = Retry::attempts(9).longest(Duration::from_millis(10));
        for retry in [retry.clone(), retry.factor(f32::INFINITY)] {
            for attempt in [1, 2, 64, u32::MAX] {
                let pause = retry.clone().jitter(false).after(attempt);
                assert_eq!(pause, Duration::from_millis(10));
                assert!(retry.after(attempt) <= Duration::from_millis(20));
            }
        }
        // No limit overflows.
        let endless = Retry::attempts(9)
            .pause(Duration::MAX)
            .longest(Duration::MAX);
        assert_eq!(endless.jitter(false).after(3), Duration::MAX);
    }

    #[test]
    fn pauses_grow_by_the_factor() {
        let retry = Retry::attempts(9)
            .pause(Duration::from_secs(1))
            .jitter(false);
        assert_eq!(
            [1, 2, 3].map(|attempt| retry.after(attempt).as_secs()),
            [1, 2, 4]
        );
        // However slowly, they grow to the longest one.
        let day = Duration::from_secs(86_400);
        let slow = retry.clone().factor(1.1).longest(day);
        assert!(slow.after(65) < slow.after(66));
        assert_eq!(slow.after(200), day);
        // A pause that is none stays so.
        let none = retry.clone().pause(Duration::ZERO).factor(f32::INFINITY);
        assert_eq!(none.after(3), Duration::ZERO);
        // A factor below 1, or none, is 1.
        for factor in [0.5, -1.0, f32::NAN] {
            assert_eq!(retry.clone().factor(factor).after(5).as_secs(), 1);
        }
    }
}

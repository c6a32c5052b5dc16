//! The server's clock, seen from here.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fourway_jobs_engine::EngineError;

use crate::bucket::Bucket;

/// How old the known time of the server may be.
const FRESH: Duration = Duration::from_secs(10);

/// The key at which the server is asked for the time.
const KEY: &str = "clock";

/// A server whose clock is further behind than this was set back, or follows another leader with a wrong
/// clock. Its answers differ by less otherwise.
const SET_BACK: u64 = 5000;

/// Asks the server for its time now and then, and counts from there by this machine's monotonic
/// clock. So a worker's wrong clock has no effect. The remaining error is half a round trip, plus
/// the drift between two clocks in ten seconds.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    known: Option<(Instant, u64)>,
    /// The latest time that was given: it does not go back after a new answer of the server, unless the
    /// server's clock was set back.
    latest: u64,
}

impl Clock {
    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        let mut times = self.times();
        let now = times.known.map_or(0, |(then, at)| {
            at.saturating_add(u64::try_from(then.elapsed().as_millis()).unwrap_or(u64::MAX))
        });
        times.latest = times.latest.max(now);
        times.latest
    }

    /// Asks the server, unless it was asked a moment ago.
    pub(crate) async fn refresh(&self, bucket: &Bucket) -> Result<(), EngineError> {
        let known = self.times().known;
        if known.is_some_and(|(then, _)| then.elapsed() < FRESH) {
            return Ok(());
        }
        // The answer to a write has no time, but the written value has. If another process wrote at
        // the same moment, its value serves as well.
        let revision = bucket.get(KEY).await?.map_or(0, |value| value.revision);
        let asked = Instant::now();
        let _ = bucket.put(KEY, Vec::new(), revision).await?;
        let between = asked + asked.elapsed() / 2;
        let Some(value) = bucket.get(KEY).await? else {
            return Err(EngineError::unavailable("the server did not tell the time"));
        };
        self.told(between, value.written_at);
        Ok(())
    }

    /// The server's time was `at` then.
    fn told(&self, then: Instant, at: u64) {
        let mut times = self.times();
        times.known = Some((then, at));
        // Otherwise the time would stand still until the server's clock is where it was.
        if at.saturating_add(SET_BACK) < times.latest {
            times.latest = at;
        }
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_is_followed_and_a_small_difference_is_not() {
        let clock = Clock::default();
        clock.told(Instant::now(), 1_000_000_000);
        assert!(clock.now() >= 1_000_000_000);
        clock.told(Instant::now(), 999_999_000);
        assert!(clock.now() >= 1_000_000_000);
        clock.told(Instant::now(), 500_000_000);
        assert!((500_000_000..900_000_000).contains(&clock.now()));
    }
}

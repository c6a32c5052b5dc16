//! The server's clock, seen from here.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fourway_jobs_engine::EngineError;

use crate::bucket::Bucket;

/// How old the known time of the server may be.
const FRESH: Duration = Duration::from_secs(10);

/// The key at which the server is asked for the time.
const KEY: &str = "clock";

/// Asks the server for its time now and then, and counts from there by this machine's monotonic
/// clock. So a worker's wrong clock has no effect. The remaining error is half a round trip, plus
/// the drift between two clocks in ten seconds.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    known: Mutex<Option<(Instant, u64)>>,
    /// The latest time that was given: it does not go back after a new answer of the server.
    latest: AtomicU64,
}

impl Clock {
    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = known.map_or(0, |(then, at)| {
            at.saturating_add(u64::try_from(then.elapsed().as_millis()).unwrap_or(u64::MAX))
        });
        // Relaxed: a number by itself, which only grows.
        self.latest.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Asks the server, unless it was asked a moment ago.
    pub(crate) async fn refresh(&self, bucket: &Bucket) -> Result<(), EngineError> {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
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
        let known = Some((between, value.written_at));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }
}

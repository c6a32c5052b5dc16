use std::time::{Duration, Instant};

/// `instant + duration`; a century later if that is further ahead than an `Instant` can say.
///
/// So that a timer that is never ready is a timer as any other: it can be moved, and keeps
/// the waker that polled it.
#[must_use]
pub fn later(instant: Instant, duration: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    instant
        .checked_add(duration)
        .unwrap_or_else(|| instant + CENTURY)
}

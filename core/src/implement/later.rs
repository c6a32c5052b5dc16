use std::time::{Duration, Instant};

/// `instant + duration`, or a century later if an `Instant` cannot represent that.
///
/// So a timer that is never ready works as any other: it can be moved, and keeps the waker that
/// polled it.
#[must_use]
pub fn later(instant: Instant, duration: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    instant
        .checked_add(duration)
        .unwrap_or_else(|| instant + CENTURY)
}

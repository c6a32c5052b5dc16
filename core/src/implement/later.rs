use std::time::{Duration, Instant};

/// `instant + duration`, or a century later if an `Instant` cannot represent that. If it cannot
/// represent that either, `instant` is as good as never, and given as it is.
///
/// So a timer that is never ready works as any other: it can be moved, and keeps the waker that
/// polled it.
#[must_use]
pub fn later(instant: Instant, duration: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    instant
        .checked_add(duration)
        .or_else(|| instant.checked_add(CENTURY))
        .unwrap_or(instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_something_later_than_any_instant() {
        let now = Instant::now();
        assert_eq!(
            later(now, Duration::from_secs(1)),
            now + Duration::from_secs(1)
        );
        let never = later(now, Duration::MAX);
        assert!(never > now + Duration::from_secs(3600));
        // The last one that there is.
        let mut last = now;
        let mut step = Duration::from_secs(1 << 62);
        while !step.is_zero() {
            match last.checked_add(step) {
                Some(next) => last = next,
                None => step /= 2,
            }
        }
        assert_eq!(later(last, Duration::from_secs(1)), last);
    }
}

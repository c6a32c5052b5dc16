//! Options that need more than a number: [`Keepalive`]. How other values reach the system:
//! [`linger`], [`buffer_size`].

use std::time::Duration;

/// When the system asks a silent peer whether it is still there. For
/// [`TcpStream::set_keepalive`](crate::TcpStream::set_keepalive).
///
/// Values that are not set are the system's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Keepalive {
    idle: Option<Duration>,
    interval: Option<Duration>,
    retries: Option<u32>,
}

impl Keepalive {
    /// The system's values: on Linux, two hours.
    pub fn new() -> Self {
        Self::default()
    }

    /// The silence before the first probe, rounded up to whole seconds: at least one, and at most
    /// 32,767 (9 hours), which is Linux' limit.
    pub fn idle(mut self, time: Duration) -> Self {
        self.idle = Some(time);
        self
    }

    /// The time between an unanswered probe and the next, rounded as for [`idle`](Self::idle).
    pub fn interval(mut self, time: Duration) -> Self {
        self.interval = Some(time);
        self
    }

    /// After how many unanswered probes the connection is given up: at least one, and at most 127,
    /// which is Linux' limit.
    pub fn retries(mut self, questions: u32) -> Self {
        self.retries = Some(questions);
        self
    }

    pub(crate) fn to_socket2(self) -> socket2::TcpKeepalive {
        let mut them = socket2::TcpKeepalive::new();
        if let Some(idle) = self.idle {
            them = them.with_time(probe_time(idle));
        }
        if let Some(interval) = self.interval {
            them = them.with_interval(probe_time(interval));
        }
        if let Some(retries) = self.retries {
            them = them.with_retries(retries.clamp(1, 127));
        }
        them
    }
}

/// Linux refuses zero and more than this, with an error that would read as if the peer could not be
/// connected to.
fn probe_time(time: Duration) -> Duration {
    const LONGEST: u64 = 32_767;
    Duration::from_secs(seconds(time).clamp(1, LONGEST))
}

/// The time for `SO_LINGER`. Cut to whole seconds, less than one would be zero, which discards what
/// was not sent; more than fit would be negative.
pub(crate) fn linger(time: Duration) -> Duration {
    Duration::from_secs(seconds(time).min(C_INT_MAX as u64))
}

/// The size for `SO_RCVBUF` and `SO_SNDBUF`. Cast, 2^32 bytes would be none.
pub(crate) fn buffer_size(bytes: usize) -> usize {
    bytes.min(C_INT_MAX as usize)
}

/// Of every Unix.
const C_INT_MAX: i32 = i32::MAX;

/// Rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_add(u64::from(time.subsec_nanos() > 0))
}

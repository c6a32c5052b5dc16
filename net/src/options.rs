//! Options that need more than a number: [`Keepalive`].

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

    /// The silence before the first probe, in whole seconds.
    pub fn idle(mut self, time: Duration) -> Self {
        self.idle = Some(time);
        self
    }

    /// The time between an unanswered probe and the next, in whole seconds.
    pub fn interval(mut self, time: Duration) -> Self {
        self.interval = Some(time);
        self
    }

    /// After how many unanswered probes the connection is given up.
    pub fn retries(mut self, questions: u32) -> Self {
        self.retries = Some(questions);
        self
    }

    pub(crate) fn to_socket2(self) -> socket2::TcpKeepalive {
        let mut them = socket2::TcpKeepalive::new();
        if let Some(idle) = self.idle {
            them = them.with_time(idle);
        }
        if let Some(interval) = self.interval {
            them = them.with_interval(interval);
        }
        if let Some(retries) = self.retries {
            them = them.with_retries(retries);
        }
        them
    }
}

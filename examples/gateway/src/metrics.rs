//! Counters: [`Metrics`].

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// Counters, printed in Prometheus' format. They are independent, so all accesses are relaxed.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Answers, by the hundred of their status.
    answers: [AtomicU64; 6],
    pub(crate) accept_errors: Counter,
    pub(crate) connect_errors: Counter,
    pub(crate) malformed: Counter,
    pub(crate) refused_busy: Counter,
    pub(crate) refused_peer: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) head_timeouts: Counter,
    pub(crate) body_timeouts: Counter,
    pub(crate) send_timeouts: Counter,
    pub(crate) retries: Counter,
    pub(crate) in_flight: Counter,
    pub(crate) tcp_connections: Counter,
    pub(crate) log_lines_lost: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metrics {
    pub(crate) fn answered(&self, status: u16) {
        let place = usize::from(status / 100).min(self.answers.len() - 1);
        self.answers[place].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a line for which the log had no room.
    pub(crate) fn logged(&self, had_room: bool) {
        if !had_room {
            self.log_lines_lost.add();
        }
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# TYPE gateway_answers_total counter")?;
        for (i, answers) in self.answers.iter().enumerate().skip(1) {
            let answers = answers.load(Ordering::Relaxed);
            writeln!(f, "gateway_answers_total{{status=\"{i}xx\"}} {answers}")?;
        }
        let counters = [
            ("accept_errors_total", "counter", &self.accept_errors),
            ("connect_errors_total", "counter", &self.connect_errors),
            ("malformed_total", "counter", &self.malformed),
            ("refused_busy_total", "counter", &self.refused_busy),
            ("refused_peer_total", "counter", &self.refused_peer),
            ("timeouts_total", "counter", &self.timeouts),
            ("head_timeouts_total", "counter", &self.head_timeouts),
            ("body_timeouts_total", "counter", &self.body_timeouts),
            ("send_timeouts_total", "counter", &self.send_timeouts),
            ("retries_total", "counter", &self.retries),
            ("log_lines_lost_total", "counter", &self.log_lines_lost),
            ("requests_in_flight", "gauge", &self.in_flight),
            ("tcp_connections", "gauge", &self.tcp_connections),
        ];
        for (name, kind, counter) in counters {
            writeln!(f, "# TYPE gateway_{name} {kind}")?;
            writeln!(f, "gateway_{name} {}", counter.get())?;
        }
        Ok(())
    }
}

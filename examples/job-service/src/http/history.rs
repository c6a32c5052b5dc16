//! The last minutes, second by second, for the dashboard's plots.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use fourway_core::Timer;
use fourway_jobs::{Counts, Event, EventKind, Events, JobState};
use serde::Serialize;
use utoipa::ToSchema;

use super::{app::Shared, jobs::Now, view::millis};

/// How many seconds are kept.
const KEPT: usize = 300;

/// How many latencies of a second are used: the first ones.
const SAMPLED: usize = 20_000;

/// The counts of one second.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(super) struct Second {
    /// The end of the second, in milliseconds since 1970.
    at: u64,
    submitted: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    timed_out: u64,
    /// The number of queued jobs at the end of the second.
    queued: u64,
    /// The number of running jobs at the end of the second.
    running: u64,
    /// The median time from submission to end of the jobs that ended in this second, in
    /// milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50: Option<u64>,
    /// The 99th percentile of that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    p99: Option<u64>,
}

#[derive(Default)]
pub(super) struct History {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    seconds: VecDeque<Second>,
    /// Latencies of the current second.
    latencies: Vec<u64>,
    submitted: u64,
    ended: Counts,
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seconds(&self) -> Vec<Second> {
        self.lock().seconds.iter().cloned().collect()
    }

    /// How many jobs ended in a second, lately.
    pub(super) fn rate(&self) -> f64 {
        let kept = self.lock();
        let lately = kept.seconds.iter().rev().take(10);
        let (seconds, ended) = lately.fold((0_u32, 0), |(seconds, ended), second| {
            let all = second.completed + second.failed + second.cancelled + second.timed_out;
            (seconds + 1, ended + all)
        });
        ended as f64 / f64::from(seconds.max(1))
    }

    pub(super) fn ended(&self, latency: Duration) {
        let mut kept = self.lock();
        if kept.latencies.len() < SAMPLED {
            let latency = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
            kept.latencies.push(latency);
        }
    }

    fn tick(&self, now: &Now) {
        let mut kept = self.lock();
        let mut latencies = std::mem::take(&mut kept.latencies);
        latencies.sort_unstable();
        let percentile = |of: usize| {
            let last = latencies.len().checked_sub(1)?;
            Some(latencies[last * of / 100])
        };
        let more = |state| now.ended.of(state).saturating_sub(kept.ended.of(state));
        let second = Second {
            at: millis(SystemTime::now()),
            submitted: now.submitted.saturating_sub(kept.submitted),
            completed: more(JobState::Completed),
            failed: more(JobState::Failed),
            cancelled: more(JobState::Cancelled),
            timed_out: more(JobState::TimedOut),
            queued: now.counts.queued,
            running: now.counts.running,
            p50: percentile(50),
            p99: percentile(99),
        };
        (kept.submitted, kept.ended) = (now.submitted, now.ended);
        if kept.seconds.len() >= KEPT {
            kept.seconds.pop_front();
        }
        kept.seconds.push_back(second);
    }
}

/// Records one second after the other, until the service ends.
pub(super) async fn tick(app: Shared) {
    let closing = app.closing.clone();
    let ticks = async {
        loop {
            app.rt.sleep(Duration::from_secs(1)).await;
            app.history.tick(&app.jobs.now());
        }
    };
    // It only ends by the cancellation.
    let _ = closing.run_until_cancelled::<_>(ticks).await;
}

/// Reads all events, for latencies; until the service ends.
pub(super) async fn listen(app: Shared, mut events: Events) {
    let closing = app.closing.clone();
    let all = async {
        while let Some(event) = events.recv().await {
            app.metrics.missed(events.lost());
            heard(&app, &event);
        }
    };
    let _ = closing.run_until_cancelled(all).await;
}

fn heard(app: &Shared, event: &Event) {
    let EventKind::State { to, .. } = event.kind else {
        return;
    };
    let since = event.at.duration_since(event.id.submitted_at());
    // Zero if the clock was set back in between.
    let since = since.unwrap_or_default();
    if to == JobState::Running {
        app.metrics.started(since);
    } else if to.is_finished() {
        app.metrics.ended(since);
        app.history.ended(since);
    }
}

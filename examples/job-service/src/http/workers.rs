//! The workers of a store's jobs, as seen in the records: [`Workers`].

use std::collections::BTreeMap;

use fourway_jobs::JobId;
use fourway_jobs_engine::{AttemptEnd, Record};

use super::view::{HeldView, WorkerView};
use crate::kinds;

/// A worker without a sign of life for this time is gone, in milliseconds.
const GONE: u64 = 3_600_000;

/// The workers named in jobs' records. A worker that has run no job yet is missing, as engines do
/// not know workers without jobs.
#[derive(Default)]
pub(super) struct Workers(BTreeMap<String, Seen>);

#[derive(Default)]
struct Seen {
    since: u64,
    heard: u64,
    /// Its jobs, each with the end of its lease, which a heartbeat moves.
    holds: BTreeMap<JobId, HeldView>,
}

impl Workers {
    /// Updates from the newest jobs, all running ones, and the time.
    pub(super) fn look(&mut self, newest: &[Record], running: &[Record], now: u64) {
        for attempt in newest.iter().flat_map(|job| &job.attempts) {
            let seen = self.seen(&attempt.worker, attempt.started_at);
            // For a lost attempt, the sign of life is from the worker that found the loss.
            let ended = attempt
                .ended_at
                .filter(|_| attempt.end != Some(AttemptEnd::Lost));
            seen.heard = seen.heard.max(attempt.started_at).max(ended.unwrap_or(0));
        }
        let before: BTreeMap<_, _> = (self.0.iter_mut())
            .map(|(name, seen)| (name.clone(), std::mem::take(&mut seen.holds)))
            .collect();
        for job in running {
            let (Some(worker), Some(until)) = (&job.worker, job.lease_until) else {
                continue;
            };
            let since = job.started_at.unwrap_or(job.submitted_at);
            let seen = self.seen(worker, since);
            seen.heard = seen.heard.max(since);
            let was = before.get(worker).and_then(|holds| holds.get(&job.id));
            if was.is_some_and(|was| was.until != until) {
                seen.heard = seen.heard.max(now);
            }
            let held = HeldView {
                id: job.id.to_string(),
                name: job.headers.get(kinds::NAME).cloned(),
                since,
                until,
            };
            seen.holds.insert(job.id, held);
        }
        self.0
            .retain(|_, seen| !seen.holds.is_empty() || seen.heard.saturating_add(GONE) > now);
    }

    fn seen(&mut self, name: &str, since: u64) -> &mut Seen {
        let seen = self.0.entry(name.to_owned()).or_insert_with(|| Seen {
            since,
            ..Seen::default()
        });
        seen.since = seen.since.min(since);
        seen
    }

    pub(super) fn view(&self) -> Vec<WorkerView> {
        let view = |(name, seen): (&String, &Seen)| WorkerView {
            name: name.clone(),
            since: seen.since,
            heard_at: seen.heard,
            holds: seen.holds.values().cloned().collect(),
        };
        self.0.iter().map(view).collect()
    }
}

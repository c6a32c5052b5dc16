//! An engine's record of a job: [`Record`].

use std::{collections::BTreeMap, time::UNIX_EPOCH};

use fourway_jobs::{JobId, JobState, Progress};

use crate::EngineError;

/// A job at one moment. All fields belong to that one moment ([states and
/// snapshots](fourway_core::contract#JB-2)).
///
/// Points in time are milliseconds since 1970 on the engine's clock.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// Its id.
    pub id: JobId,
    /// The name of its kind.
    pub kind: String,
    /// The version of its kind with which it was submitted.
    pub version: u32,
    /// Where it is on its way.
    pub state: JobState,
    /// It has failed because it was given up: its attempts never came to an end, or its handler
    /// [gave up](crate::GiveUp). Somebody should look at it.
    pub dead: bool,
    /// It runs and will be cancelled.
    pub cancelling: bool,
    /// Higher ones first.
    pub priority: i8,
    /// Its unique key.
    pub unique: Option<String>,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// How many attempts have begun.
    pub attempt: u32,
    /// How many there may be: one more than at first for each [lost
    /// attempt](crate::NewJob::lost_attempts) that is made up for.
    pub max_attempts: u32,
    /// When it was submitted.
    pub submitted_at: u64,
    /// When it is or was due.
    pub due_at: u64,
    /// When its last attempt began.
    pub started_at: Option<u64>,
    /// When it ended.
    pub ended_at: Option<u64>,
    /// The worker that runs it, or ran it last.
    pub worker: Option<String>,
    /// Until when its worker holds it, unless it sends a heartbeat before.
    pub lease_until: Option<u64>,
    /// Its attempts, oldest first; the last [`ATTEMPTS_KEPT`](fourway_jobs::ATTEMPTS_KEPT).
    pub attempts: Vec<AttemptRecord>,
    /// Why it has ended, unless it has completed. Before its end, the error of its last attempt.
    /// Only the first [`ERROR_KEPT`](crate::life::ERROR_KEPT) bytes.
    pub error: Option<String>,
    /// The progress that it reported.
    pub progress: Option<Progress>,
}

impl Record {
    /// For engines: the entry in a list for a job whose record this program cannot read, perhaps
    /// because a newer program has written it. Its [error](Self::error) says so. The unknown fields
    /// are those of a job that has never run.
    #[must_use]
    pub fn unreadable(
        id: JobId,
        kind: impl Into<String>,
        version: u32,
        state: JobState,
        why: &EngineError,
    ) -> Self {
        let submitted_at = id
            .submitted_at()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let submitted_at = u64::try_from(submitted_at.as_millis()).unwrap_or(u64::MAX);
        Self {
            id,
            kind: kind.into(),
            version,
            state,
            dead: false,
            cancelling: false,
            priority: 0,
            unique: None,
            headers: BTreeMap::new(),
            attempt: 0,
            max_attempts: 1,
            submitted_at,
            due_at: submitted_at,
            started_at: None,
            ended_at: None,
            worker: None,
            lease_until: None,
            attempts: Vec::new(),
            error: Some(format!(
                "what is known of it cannot be read here, perhaps because a newer program has written it: {why}"
            )),
            progress: None,
        }
    }
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// The first one is 1.
    pub number: u32,
    /// The worker that ran it.
    pub worker: String,
    /// When it began.
    pub started_at: u64,
    /// When it ended, or was found to be lost.
    pub ended_at: Option<u64>,
    /// How it ended; `None` while it runs.
    pub end: Option<AttemptEnd>,
    /// Its error.
    pub error: Option<String>,
}

/// How an attempt has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptEnd {
    /// With an output.
    Completed,
    /// With an error or a panic.
    Failed,
    /// It took too long.
    TimedOut,
    /// It was cancelled.
    Cancelled,
    /// Its worker sent no heartbeat until the lease ran out: it died, or stood still.
    Lost,
    /// Its worker gave it back, to be run by another worker. It does not count.
    Released,
}

//! Requests to an engine and its answers: [`NewJob`], [`Submitted`], [`CancelAnswer`],
//! [`RetryAnswer`].

use std::{collections::BTreeMap, time::Duration};

use fourway_jobs::{JobId, JobState};

/// A job on its way into an engine.
///
/// It has no points in time, only durations. The engine's clock decides, so a wrong clock of a
/// client or worker has no effect.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NewJob {
    /// Made by the submitter, so that submitting again after a lost answer is harmless.
    pub id: JobId,
    /// The name of its kind.
    pub kind: String,
    /// The version of its kind: workers of an older version do not get it.
    pub version: u32,
    /// Its arguments.
    pub args: Vec<u8>,
    /// Higher ones first. 0 by default.
    pub priority: i8,
    /// How long it must not run.
    pub delay: Duration,
    /// The key of which one job exists at a time ([unique keys](fourway_core::contract#JB-6)),
    /// within its kind.
    pub unique: Option<UniqueKey>,
    /// Headers that are stored with it.
    pub headers: BTreeMap<String, String>,
    /// The most attempts, including attempts whose worker died. At least 1; 5 by default.
    pub max_attempts: u32,
    /// How many attempts whose worker died, or stood still until its lease ran out, are followed by
    /// one more than [`max_attempts`](Self::max_attempts). 0 by default.
    pub lost_attempts: u32,
    /// How long an attempt may take. Workers enforce it.
    pub timeout: Option<Duration>,
    /// How long it is known after its end: [a week](Self::KEEP) by default. A job whose [unique
    /// key](UniqueKey::within) has a period is known until that is over.
    pub keep: Duration,
}

impl NewJob {
    /// How long a job is known after its end, unless it says otherwise.
    pub const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

    /// A job of that kind, to run at once, with a new id.
    #[must_use]
    pub fn new(kind: impl Into<String>, version: u32, args: impl Into<Vec<u8>>) -> Self {
        Self {
            id: crate::next_id(),
            kind: kind.into(),
            version,
            args: args.into(),
            priority: 0,
            delay: Duration::ZERO,
            unique: None,
            headers: BTreeMap::new(),
            max_attempts: 5,
            lost_attempts: 0,
            timeout: None,
            keep: Self::KEEP,
        }
    }
}

/// A key that one job of a kind has at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct UniqueKey {
    /// The key.
    pub key: String,
    /// How long after its submission the job takes the key, whatever its state; `None`
    /// while it has not ended.
    pub within: Option<Duration>,
}

/// An engine has accepted a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is there now. Also if the same id was submitted before.
    New(JobId),
    /// Another job has its unique key, and this one was dropped.
    Existing(JobId),
}

impl Submitted {
    /// The job that is there.
    #[must_use]
    pub fn id(self) -> JobId {
        match self {
            Self::New(id) | Self::Existing(id) => id,
        }
    }

    /// It is the one that was submitted.
    #[must_use]
    pub fn is_new(self) -> bool {
        matches!(self, Self::New(_))
    }
}

/// The answer to a request to cancel a job ([cancelling](fourway_core::contract#JB-3), [the same
/// everywhere](fourway_core::contract#EN-4)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CancelAnswer {
    /// It waited, and will never run.
    Dequeued,
    /// It runs. Its worker is told with its next heartbeat; if it has died, the job is cancelled
    /// when the lease runs out.
    Requested,
    /// It had ended.
    TooLate,
    /// The engine cannot cancel a job in the state in which it is.
    Unsupported,
    /// No such job is known (any more).
    Unknown,
}

/// The answer to a request to run a job again ([failures and retries](fourway_core::contract#JB-4),
/// [the same everywhere](fourway_core::contract#EN-4)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RetryAnswer {
    /// It had ended without an output, or waited for its next attempt, and is queued now.
    Queued,
    /// It is in this state, in which it cannot be tried again: it has completed, runs, or waits to run.
    State(JobState),
    /// Another job has its unique key by now.
    KeyTaken(JobId),
    /// No such job is known (any more).
    Unknown,
}

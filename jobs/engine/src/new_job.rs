//! What is handed to an engine, and what it answers: [`NewJob`], [`Submitted`], [`CancelAnswer`].

use std::{collections::BTreeMap, time::Duration};

use fourway_jobs::JobId;

/// A job on its way into an engine.
///
/// It has no points in time, only durations: the engine's clock is the one that counts, so that
/// a client or worker whose clock is wrong changes nothing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NewJob {
    /// Made by who submits, so that submitting again after a lost answer is harmless.
    pub id: JobId,
    /// The name of its kind.
    pub kind: String,
    /// The version of its kind: workers of an older one are not given it.
    pub version: u32,
    /// Its arguments.
    pub args: Vec<u8>,
    /// Higher ones first. 0 by default.
    pub priority: i8,
    /// For how long it is not to run.
    pub delay: Duration,
    /// The key under which it is there once (JB-6), within its kind.
    pub unique: Option<UniqueKey>,
    /// Whatever is to travel with it.
    pub headers: BTreeMap<String, String>,
    /// How many attempts there are, those included whose worker died. At least 1; 5 by default.
    pub max_attempts: u32,
    /// How long an attempt may take. Workers see to it.
    pub timeout: Option<Duration>,
    /// For how long it is known once it has ended: a week by default. One whose [unique
    /// key](UniqueKey::within) has a period is known until that is over.
    pub keep: Duration,
}

impl NewJob {
    /// A job of that kind, to run at once, with an id of its own.
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
            timeout: None,
            keep: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// A key that one job of a kind has at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct UniqueKey {
    /// The key.
    pub key: String,
    /// For how long since it was submitted the job takes the key, whatever its state; `None`
    /// while it has not ended.
    pub within: Option<Duration>,
}

/// An engine has accepted a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is there now. So it is if the same id was submitted before.
    New(JobId),
    /// Another one has its unique key, and this one was dropped.
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

/// What became of a request to cancel a job (JB-3, EN-4).
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

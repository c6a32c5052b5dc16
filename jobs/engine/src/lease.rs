//! The worker's side of the boundary: [`Fetch`], [`Lease`], [`Verdict`].

use std::{collections::BTreeMap, time::Duration};

use fourway_jobs::{JobId, Progress};

/// A worker's request for jobs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fetch {
    /// The worker's name: unique among all running workers, also after a restart.
    pub worker: String,
    /// The kinds that it runs, each with the newest version that it knows. Jobs of a newer version
    /// are left for other workers. A kind that is named twice counts with its newest version.
    pub kinds: Vec<(String, u32)>,
    /// At most so many jobs.
    pub max: usize,
    /// For how long it holds them without a heartbeat.
    pub lease: Duration,
    /// For how long the engine may wait for a job, if there is none.
    pub patience: Duration,
}

impl Fetch {
    /// One job of these kinds, held for half a minute; the engine does not wait for it.
    #[must_use]
    pub fn new(worker: impl Into<String>, kinds: Vec<(String, u32)>) -> Self {
        Self {
            worker: worker.into(),
            kinds,
            max: 1,
            lease: Duration::from_secs(30),
            patience: Duration::ZERO,
        }
    }

    /// At most so many jobs.
    #[must_use]
    pub fn max(mut self, max: usize) -> Self {
        self.max = max;
        self
    }

    /// Held for so long without a heartbeat.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Waits for the first one for so long.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// The right to report the verdict on an attempt.
///
/// The token grows each time the job is handed out. The holder of an old token has lost the job:
/// its heartbeats and verdicts change nothing ([run at least once, recorded
/// once](fourway_core::contract#EN-2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// The number of the hand-out.
    pub token: u64,
}

/// A job to run now.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Leased {
    /// Sent with each heartbeat and with the verdict.
    pub lease: Lease,
    /// The name of its kind.
    pub kind: String,
    /// The version with which it was submitted.
    pub version: u32,
    /// Its arguments.
    pub args: Vec<u8>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How many there may be.
    pub max_attempts: u32,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
}

/// A sign of life for one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Beat {
    /// For which job.
    pub lease: Lease,
    /// How far it is, if that has changed.
    pub progress: Option<Progress>,
}

/// An engine's answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Held {
    /// The lease begins anew.
    Yes,
    /// The lease begins anew, and the job must be cancelled.
    Cancel,
    /// The lease is lost: the job has ended, or another worker has it. The attempt must be stopped,
    /// as its result cannot be recorded.
    Lost,
}

/// The result of an attempt.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// It gave this output.
    Complete(Vec<u8>),
    /// It failed, and must be tried again after a pause, if attempts are left.
    RetryLater {
        /// The pause.
        delay: Duration,
        /// Why.
        error: String,
        /// It took too long.
        timed_out: bool,
    },
    /// It failed for good.
    Fail {
        /// Why.
        error: String,
        /// It took too long.
        timed_out: bool,
    },
    /// No attempt will ever succeed; somebody should look at it.
    DeadLetter {
        /// Why.
        error: String,
    },
    /// It was cancelled, as requested.
    Cancelled,
    /// It is given back, to be run elsewhere at once. It does not count as an attempt.
    Release,
}

/// Whether a verdict counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is recorded. Also if the same lease sent the same verdict before and the answer was lost.
    Recorded,
    /// The lease was lost before: nothing has changed.
    Lost,
}

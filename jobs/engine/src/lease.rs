//! The worker's side of the boundary: [`Fetch`], [`Lease`], [`Verdict`].

use std::{collections::BTreeMap, time::Duration};

use fourway_jobs::{JobId, Progress};

/// What a worker asks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fetch {
    /// Who asks: unique among all that run, also after a restart.
    pub worker: String,
    /// The kinds that it runs, each with the newest version that it knows. Jobs of a newer one
    /// are left for others.
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

/// The right to say what became of an attempt.
///
/// The token grows each time that the job is handed out. Who has an old one has lost the job:
/// heartbeats and verdicts with it change nothing (EN-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// Which hand-out of it.
    pub token: u64,
}

/// A job that is to be run now.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Leased {
    /// To be shown with each heartbeat, and with the verdict.
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
    /// What travels with it.
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

/// What an engine answers to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Held {
    /// The lease begins anew.
    Yes,
    /// So it does, and the job is to be cancelled.
    Cancel,
    /// The lease is lost: the job has ended, or somebody else has it. The attempt is to be
    /// stopped, for nobody will hear of its result.
    Lost,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// It gave this output.
    Complete(Vec<u8>),
    /// It failed, and is to be tried again after a pause, if attempts are left.
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
    /// It was cancelled, as was asked for.
    Cancelled,
    /// It is given back, to be run elsewhere at once. It does not count as an attempt.
    Release,
}

/// Whether a verdict counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is recorded. So it is if the same lease said the same before, and the answer was lost.
    Recorded,
    /// The lease was lost before: nothing has changed.
    Lost,
}

//! A request to the writer, and its answer: [`Ask`] and [`Answer`].

use std::time::Duration;

use fourway_jobs_engine::{
    Beat, CancelAnswer, EngineError, Fetch, Held, JobId, Lease, Leased, NewJob, RetryAnswer,
    Settled, Submitted, Verdict,
};

use crate::transact::SWEEP;

/// A request to the writer.
#[derive(Debug)]
pub(crate) enum Ask {
    Submit(Vec<NewJob>),
    Cancel(JobId),
    Retry(JobId),
    Beat(Vec<Beat>, Duration),
    Settle(Vec<(Lease, Verdict)>),
    Fetch(Fetch),
    /// Makes the due transition of a leased job.
    Expire(JobId),
    /// Makes all due transitions.
    Pass,
}

impl Ask {
    /// About how many rows it concerns; much data counts as many rows.
    pub(crate) fn weight(&self) -> usize {
        const ROW: usize = 16 * 1024;
        match self {
            Self::Submit(jobs) => jobs.iter().map(|job| 1 + job.args.len() / ROW).sum(),
            Self::Beat(beats, _) => beats.len(),
            Self::Settle(verdicts) => verdicts
                .iter()
                .map(|(_, verdict)| match verdict {
                    Verdict::Complete(output) => 1 + output.len() / ROW,
                    _ => 1,
                })
                .sum(),
            Self::Fetch(fetch) => fetch.max,
            Self::Cancel(_) | Self::Retry(_) | Self::Expire(_) => 1,
            Self::Pass => 3 * SWEEP.unsigned_abs() as usize,
        }
    }
}

/// The answer, of the same kind as the request.
#[derive(Debug)]
pub(crate) enum Answer {
    Submit(Vec<Submitted>),
    Cancel(CancelAnswer),
    Retry(RetryAnswer),
    Beat(Vec<Held>),
    Settle(Vec<Settled>),
    /// With the time until the next due transition.
    Fetch(Vec<Leased>, Option<Duration>),
    Pass,
    /// An unreadable job was found. It has been set aside.
    Refused(EngineError),
}

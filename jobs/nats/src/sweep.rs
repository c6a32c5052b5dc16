//! Maintenance: forgets jobs whose time is over.
//!
//! JetStream 2.9 has an age for all messages of a stream, and none for each. So one of the
//! processes goes through the records now and then. Leases that have run out need no sweep: their
//! messages come back to workers that fetch.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fourway_jobs_engine::{EngineError, JobId};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::{
    bucket::Written,
    store::{Known, Store},
    view::View,
};

/// The key for the last sweep of all processes.
const KEY: &str = "sweep";

/// How long a mark stays where a job was: longer than any submission of it may be on its way.
const MARKS: u64 = 3_600_000;

/// How many jobs are forgotten at a time.
const AT_A_TIME: usize = 100;

#[derive(Debug)]
pub(crate) struct Sweeps {
    every: Duration,
    next: Mutex<Instant>,
}

impl Sweeps {
    pub(crate) fn new(every: Duration) -> Self {
        Self {
            every,
            next: Mutex::new(Instant::now() + some_of(every)),
        }
    }

    /// Whether this process must ask. If so, it does not ask again for a while.
    fn is_due(&self) -> bool {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let due = *next <= Instant::now();
        if due {
            *next = Instant::now() + some_of(self.every);
        }
        due
    }
}

/// Not all at once.
fn some_of(every: Duration) -> Duration {
    every.mul_f64(0.5 + fastrand::f64() / 2.0)
}

impl Store {
    pub(crate) async fn maintain(&self) -> Result<(), EngineError> {
        let now = self.tell_time().await?;
        self.let_go_of_lost(now);
        if self.sweeps.is_due() && self.is_first(now).await? {
            self.sweep().await?;
        }
        Ok(())
    }

    /// No other process has swept lately, or is about to.
    async fn is_first(&self, now: u64) -> Result<bool, EngineError> {
        let last = self.keys().get(KEY).await?;
        let (written_at, revision) = last.map_or((0, 0), |last| (last.written_at, last.revision));
        let every = u64::try_from(self.sweeps.every.as_millis()).unwrap_or(u64::MAX);
        if now.saturating_sub(written_at) < every / 2 {
            return Ok(false);
        }
        let written = self.keys().put(KEY, Vec::new(), revision).await?;
        Ok(written != Written::Conflict)
    }

    pub(crate) async fn sweep(&self) -> Result<(), EngineError> {
        let had_view = self.view.lock().await.is_some();
        let find = |view: &View, now: u64| {
            let over = |at: Option<u64>| at.is_some_and(|at| at <= now);
            let jobs = view.jobs.iter().filter(|(_, job)| over(job.forget_at));
            let jobs: Vec<JobId> = jobs.map(|(id, _)| *id).collect();
            let old = view.marks.iter();
            let old = old.filter(|(_, mark)| now.saturating_sub(mark.written_at) > MARKS);
            let mut marks: Vec<_> = old.map(|(at, mark)| (*at, mark.before)).collect();
            // The last mark stays: it tells other processes how far to follow.
            marks.pop();
            (jobs, marks)
        };
        let (jobs, marks) = self.with_view(find).await?;
        for some in jobs.chunks(AT_A_TIME) {
            for forgotten in join_all(some.iter().map(|id| self.forget_now(*id))).await {
                forgotten?;
            }
        }
        for some in marks.chunks(AT_A_TIME) {
            let remove = async |&(mark, before): &(u64, Option<u64>)| {
                // Without the mark, the value before it would be current again.
                if let Some(before) = before {
                    self.records().delete(before).await?;
                }
                self.records().delete(mark).await
            };
            for removed in join_all(some.iter().map(remove)).await {
                removed?;
            }
        }
        if !had_view {
            *self.view.lock().await = None;
        }
        Ok(())
    }

    async fn forget_now(&self, id: JobId) -> Result<(), EngineError> {
        match self.known(id).await? {
            Known::Job(job) => self.forget(id, &job).await,
            Known::Never | Known::Forgotten => Ok(()),
        }
    }
}

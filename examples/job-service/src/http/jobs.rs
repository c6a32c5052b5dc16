//! Where the service's jobs are: in this process's [`JobManager`], or [`Kept`] by an engine.

use std::time::Duration;

use axum::http::StatusCode;
use fourway_core::yield_now;
use fourway_jobs::{
    CancelOutcome, ClassStatus, Counts, JobHandle, JobId, JobManager, JobState, JobStatus,
    UnknownJob,
};

use super::{
    api::Which,
    app::Shared,
    counted::Done,
    kept::Kept,
    problem::Problem,
    view::{JobView, PageView, ScheduleView, WorkerView},
};
use crate::{
    task::{Outcome, Submission},
    work::Toolbox,
};

type Answer<T> = Result<T, Problem>;

#[derive(Clone)]
pub(super) enum Jobs {
    /// They end with the process.
    Here(JobManager),
    /// They outlive the process.
    Kept(Kept),
}

/// All jobs at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Now {
    pub(super) counts: Counts,
    pub(super) submitted: u64,
    pub(super) ended: Counts,
    /// The part of this process.
    pub(super) here: Done,
    pub(super) classes: Vec<ClassStatus>,
    pub(super) paused: bool,
}

/// A job that was accepted, or that had its unique key already.
pub(super) struct Accepted {
    pub(super) id: JobId,
    pub(super) is_new: bool,
    pub(super) asked: Option<Asked>,
}

/// What is left of a job that the manager forgets before its submitter has an answer.
pub(super) struct Asked {
    submission: Submission,
    handle: JobHandle<Outcome>,
}

impl Accepted {
    /// The job, which has ended, without what only the manager knew.
    async fn forgotten(&mut self, error: UnknownJob) -> Answer<JobView> {
        let asked = self.asked.take().ok_or(error)?;
        JobView::forgotten(self.id, &asked.submission, asked.handle.await)
    }
}

/// The result of a request to cancel a job.
pub(super) enum Cancelling {
    /// It never runs.
    Cancelled,
    /// It runs, and was asked to end.
    Requested,
}

impl Cancelling {
    pub(super) fn too_late(id: JobId, state: JobState) -> Problem {
        let detail = format!("the job {id} has ended already: it is {state}");
        Problem::new(StatusCode::CONFLICT, detail)
    }
}

impl Jobs {
    pub(super) async fn submit(
        &self,
        submission: Submission,
        toolbox: &Toolbox,
        retry_after: u64,
    ) -> Answer<Accepted> {
        match self {
            Self::Here(jobs) => {
                let submitted = submission.submit(jobs, toolbox);
                let handle = submitted.map_err(|error| Problem::submit(&error, retry_after))?;
                Ok(Accepted {
                    id: handle.id(),
                    is_new: !handle.was_there(),
                    asked: Some(Asked { submission, handle }),
                })
            }
            Self::Kept(kept) => kept.submit(submission, retry_after).await,
        }
    }

    /// The job with its result.
    pub(super) async fn view(&self, id: JobId) -> Answer<JobView> {
        match self {
            Self::Here(jobs) => JobView::whole(jobs, jobs.status(id)?),
            Self::Kept(kept) => kept.view(id).await,
        }
    }

    /// The same, for its submitter: also if the manager has forgotten it already.
    pub(super) async fn view_accepted(&self, job: &mut Accepted) -> Answer<JobView> {
        match self {
            Self::Here(jobs) => match jobs.status(job.id) {
                Ok(status) => Self::whole(jobs, status, job).await,
                Err(error) => job.forgotten(error).await,
            },
            Self::Kept(kept) => kept.view(job.id).await,
        }
    }

    /// The same, once it has ended.
    pub(super) async fn wait(&self, job: &mut Accepted) -> Answer<JobView> {
        match self {
            Self::Here(jobs) => match jobs.wait(job.id).await {
                Ok(ended) => Self::whole(jobs, ended, job).await,
                Err(error) => job.forgotten(error).await,
            },
            Self::Kept(kept) => kept.wait(job.id).await,
        }
    }

    async fn whole(jobs: &JobManager, status: JobStatus, job: &mut Accepted) -> Answer<JobView> {
        let view = JobView::whole(jobs, status)?;
        match jobs.status(job.id) {
            // Forgotten in between, perhaps with its result.
            Err(error) if view.lacks_its_result() => job.forgotten(error).await,
            _ => Ok(view),
        }
    }

    pub(super) async fn cancel(&self, id: JobId) -> Answer<Cancelling> {
        match self {
            Self::Here(jobs) => match jobs.cancel(id)? {
                CancelOutcome::Cancelled => Ok(Cancelling::Cancelled),
                CancelOutcome::Requested => Ok(Cancelling::Requested),
                CancelOutcome::TooLate(state) => Err(Cancelling::too_late(id, state)),
                other => {
                    let detail = format!("the manager says {other:?}");
                    Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail))
                }
            },
            Self::Kept(kept) => kept.cancel(id).await,
        }
    }

    pub(super) async fn retry(&self, id: JobId, retry_after: u64) -> Answer<()> {
        match self {
            Self::Here(jobs) => {
                let retried = jobs.retry(id);
                retried.map_err(|error| Problem::retry(&error, retry_after))
            }
            Self::Kept(kept) => kept.retry(id).await,
        }
    }

    pub(super) async fn list(&self, which: &Which) -> Answer<PageView> {
        match self {
            Self::Here(jobs) => {
                let filter = which.filter()?;
                let wanted = which.limit();
                let mut page = jobs.list(&filter);
                let mut found = std::mem::take(&mut page.jobs);
                // The manager looks at a limited number of jobs at a time, but a client wants a
                // full page.
                while let (true, Some(next)) = (found.len() < wanted, page.next) {
                    // Other tasks get a turn in between, and this future ends if the client goes
                    // away.
                    yield_now().await;
                    page = jobs.list(&filter.clone().limit(wanted - found.len()).after(next));
                    found.append(&mut page.jobs);
                }
                Ok(PageView {
                    jobs: found.into_iter().map(Into::into).collect(),
                    next: page.next.map(|next| next.to_string()),
                })
            }
            Self::Kept(kept) => kept.list(which).await,
        }
    }

    /// The manager, for what engines cannot do.
    pub(super) fn here(&self) -> Answer<&JobManager> {
        match self {
            Self::Here(jobs) => Ok(jobs),
            Self::Kept(_) => Err(Problem::new(
                StatusCode::NOT_IMPLEMENTED,
                "the queues of jobs that are kept in a store are not paused, and their jobs are run again one by one",
            )),
        }
    }

    /// The counts; for kept jobs, as of a moment ago.
    pub(super) fn now(&self) -> Now {
        match self {
            Self::Here(jobs) => {
                let now = jobs.overview();
                Now {
                    counts: now.counts,
                    submitted: now.submitted,
                    ended: now.ended,
                    here: Done {
                        submitted: now.submitted,
                        ended: now.ended,
                    },
                    classes: now.classes,
                    paused: now.paused,
                }
            }
            Self::Kept(kept) => kept.now(),
        }
    }

    /// The workers that run kept jobs.
    pub(super) fn workers(&self) -> Vec<WorkerView> {
        match self {
            Self::Here(_) => Vec::new(),
            Self::Kept(kept) => kept.workers(),
        }
    }

    /// The schedules.
    pub(super) fn schedules(&self) -> Vec<ScheduleView> {
        match self {
            Self::Here(jobs) => jobs.schedules().into_iter().map(Into::into).collect(),
            Self::Kept(kept) => kept.schedules(),
        }
    }

    /// Starts no more jobs, and returns whether all running jobs have ended or were given back.
    pub(super) async fn drain(&self, app: &Shared, deadline: Duration) -> bool {
        match self {
            Self::Here(jobs) => {
                let report = jobs.drain(deadline).await;
                let left = report.counts;
                tracing::info!(
                    completed = left.completed,
                    failed = left.failed,
                    cancelled = left.cancelled,
                    timed_out = left.timed_out,
                    still_running = report.still_running.len(),
                    "drained"
                );
                // Since the start: an end for each accepted job, otherwise some were lost. A job that
                // ran again after its end has one more for each time.
                let all = app.jobs.now();
                tracing::info!(
                    submitted = all.submitted,
                    completed = all.ended.completed,
                    failed = all.ended.failed,
                    cancelled = all.ended.cancelled,
                    timed_out = all.ended.timed_out,
                    "ended"
                );
                report.is_clean()
            }
            Self::Kept(kept) => kept.drain(deadline).await,
        }
    }
}

//! The clients' view: plain data, with its schema.
//!
//! Separate from the manager's types, so that these can change without the interface.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::http::StatusCode;
use fourway_jobs::{
    Attempt, ClassStatus, Counts, Event, EventKind, JobError, JobId, JobManager, JobState,
    JobStatus, ResultError, ScheduleStatus,
};
use fourway_jobs_engine::{AttemptEnd, AttemptRecord, KindScheduleStatus, Record};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::{
    kinds,
    task::{Outcome, Submission},
};

/// Milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A job at one moment. Times are milliseconds since 1970.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobView {
    id: String,
    /// `scheduled`, `queued`, `running`, `retrying`, `completed`, `failed`, `cancelled` or
    /// `timed_out`.
    #[schema(example = "running")]
    state: &'static str,
    /// The job is running and was asked to end.
    cancelling: bool,
    name: Option<String>,
    queue: String,
    priority: i8,
    labels: BTreeMap<String, String>,
    unique: Option<String>,
    submitted_at: u64,
    due_at: Option<u64>,
    started_at: Option<u64>,
    ended_at: Option<u64>,
    attempt: u32,
    max_attempts: u32,
    /// The ended attempts, oldest first.
    attempts: Vec<AttemptView>,
    error: Option<String>,
    progress: Option<ProgressView>,
    /// The result. Lists do not contain it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
}

/// An attempt that has ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptView {
    number: u32,
    started_at: u64,
    ended_at: u64,
    /// A final state of a job; `lost` if the service that ran it died; or `released` if that service
    /// ended and gave the job back.
    state: &'static str,
    error: Option<String>,
}

/// The progress of a job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProgressView {
    /// The finished share of the work, from 0 to 1.
    fraction: Option<f64>,
    message: Option<String>,
    counters: BTreeMap<String, u64>,
}

impl From<JobStatus> for JobView {
    fn from(job: JobStatus) -> Self {
        let progress = job.progress.map(|progress| ProgressView {
            fraction: progress.fraction,
            message: progress.message,
            counters: progress.counters,
        });
        Self {
            id: job.id.to_string(),
            state: job.state.name(),
            cancelling: job.cancelling,
            name: job.name,
            queue: job.class,
            priority: job.priority,
            labels: job.labels,
            unique: job.unique,
            submitted_at: millis(job.submitted_at),
            due_at: job.due_at.map(millis),
            started_at: job.started_at.map(millis),
            ended_at: job.ended_at.map(millis),
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            attempts: job.attempts.into_iter().map(Into::into).collect(),
            error: job.error,
            progress,
            result: None,
        }
    }
}

impl From<Record> for JobView {
    fn from(job: Record) -> Self {
        let progress = job.progress.map(|progress| ProgressView {
            fraction: progress.fraction,
            message: progress.message,
            counters: progress.counters,
        });
        let labels = job.headers.iter().filter_map(|(name, value)| {
            let label = match name.strip_prefix(kinds::LABEL) {
                Some(label) => label,
                // As for jobs in memory.
                None => Some(name.as_str()).filter(|name| *name == kinds::SCHEDULE)?,
            };
            Some((label.to_owned(), value.clone()))
        });
        let waits = matches!(job.state, JobState::Scheduled | JobState::Retrying);
        let attempts = job.attempts.into_iter().filter_map(AttemptView::of);
        Self {
            id: job.id.to_string(),
            state: job.state.name(),
            cancelling: job.cancelling,
            name: job.headers.get(kinds::NAME).cloned(),
            queue: kinds::queue(&job.kind).to_owned(),
            priority: job.priority,
            labels: labels.collect(),
            unique: job.unique,
            submitted_at: job.submitted_at,
            due_at: waits.then_some(job.due_at),
            started_at: job.started_at,
            ended_at: job.ended_at,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            attempts: attempts.collect(),
            error: job.error,
            progress,
            result: None,
        }
    }
}

impl AttemptView {
    /// `None` while it runs.
    fn of(attempt: AttemptRecord) -> Option<Self> {
        Some(Self {
            number: attempt.number,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at.unwrap_or(attempt.started_at),
            state: match attempt.end? {
                AttemptEnd::Completed => "completed",
                AttemptEnd::Failed => "failed",
                AttemptEnd::TimedOut => "timed_out",
                AttemptEnd::Cancelled => "cancelled",
                AttemptEnd::Lost => "lost",
                // More kinds of ends may be added.
                _ => "released",
            },
            error: attempt.error,
        })
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: millis(attempt.started_at),
            ended_at: millis(attempt.ended_at),
            state: attempt.state.name(),
            error: attempt.error,
        }
    }
}

impl JobView {
    /// With the result, if there is one.
    pub(crate) fn whole(jobs: &JobManager, job: JobStatus) -> Result<Self, Problem> {
        let id = job.id;
        let has_ended_well = job.state == JobState::Completed;
        let mut view = Self::from(job);
        if has_ended_well {
            view.result = match jobs.result::<Outcome>(id) {
                Ok(outcome) => Some(serde_json::to_value(outcome).map_err(broken)?),
                // The job was forgotten in between.
                Err(ResultError::Unknown(_)) => None,
                Err(error) => return Err(broken(error)),
            };
        }
        Ok(view)
    }

    /// A job that has ended and been forgotten, as far as its submitter knows it.
    pub(crate) fn forgotten(
        id: JobId,
        of: &Submission,
        ended: Result<Outcome, JobError>,
    ) -> Result<Self, Problem> {
        let (state, error, result) = match ended {
            Ok(outcome) => {
                let result = serde_json::to_value(outcome).map_err(broken)?;
                (JobState::Completed, None, Some(result))
            }
            // Another client, which shares it by its unique key, took the result.
            Err(error) if error.state() == JobState::Completed => (error.state(), None, None),
            Err(error) => (error.state(), Some(error.message().to_owned()), None),
        };
        Ok(Self {
            id: id.to_string(),
            state: state.name(),
            cancelling: false,
            name: Some(of.display_name()),
            queue: of.work.queue().to_owned(),
            priority: of.priority,
            labels: of.all_labels().collect(),
            unique: of.unique_key(),
            submitted_at: millis(id.submitted_at()),
            due_at: None,
            started_at: None,
            // It is forgotten soon after its end, and asked about at once.
            ended_at: Some(millis(SystemTime::now())),
            attempt: 1,
            max_attempts: of.attempts.max(1),
            attempts: Vec::new(),
            error,
            progress: None,
            result,
        })
    }

    /// It has completed, and its result is not here.
    pub(crate) fn lacks_its_result(&self) -> bool {
        self.state == JobState::Completed.name() && self.result.is_none()
    }

    pub(crate) fn with_result(self, result: Option<Value>) -> Self {
        Self { result, ..self }
    }

    pub(crate) fn queue(&self) -> &str {
        &self.queue
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn label(&self, label: &str) -> Option<&str> {
        self.labels.get(label).map(String::as_str)
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn has_ended(&self) -> bool {
        JobState::from_name(self.state).is_some_and(JobState::is_finished)
    }
}

/// A job has completed, and its result is not of this service's types.
fn broken(error: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// Some of the jobs. If a store keeps very many jobs, a page may have fewer jobs than its limit, or
/// none, although there is a next page.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PageView {
    pub(crate) jobs: Vec<JobView>,
    /// The value of `after` for the next page.
    pub(crate) next: Option<String>,
}

/// The answer to a request to cancel a job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cancelled {
    /// `cancelled`: the job never runs. `requested`: the job runs, and was asked to end.
    pub(crate) outcome: &'static str,
}

/// The number of jobs in each state.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct CountsView {
    scheduled: u64,
    queued: u64,
    running: u64,
    retrying: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    timed_out: u64,
}

impl From<Counts> for CountsView {
    fn from(counts: Counts) -> Self {
        Self {
            scheduled: counts.scheduled,
            queued: counts.queued,
            running: counts.running,
            retrying: counts.retrying,
            completed: counts.completed,
            failed: counts.failed,
            cancelled: counts.cancelled,
            timed_out: counts.timed_out,
        }
    }
}

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueueView {
    name: String,
    paused: bool,
    /// The maximum number of its jobs that run at a time.
    limit: Option<usize>,
    counts: CountsView,
}

impl From<ClassStatus> for QueueView {
    fn from(class: ClassStatus) -> Self {
        Self {
            name: class.name,
            paused: class.paused,
            limit: class.limit,
            counts: class.counts.into(),
        }
    }
}

/// A worker for jobs that a store keeps.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerView {
    /// Its given name, its process, and a unique suffix.
    pub(crate) name: String,
    /// When the first of its visible jobs began.
    pub(crate) since: u64,
    /// The time of its last sign of life: it took a job, ended one, or sent a heartbeat for one.
    /// This service sees it up to half a second late.
    pub(crate) heard_at: u64,
    /// The jobs that it runs.
    pub(crate) holds: Vec<HeldView>,
}

/// A job that a worker holds.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct HeldView {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) since: u64,
    /// The end of the lease, unless a heartbeat moves it.
    pub(crate) until: u64,
}

/// Recurring work, as this service sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScheduleView {
    /// The cron expression and the work.
    #[schema(example = "30 3 * * MON-FRI pack docs")]
    name: String,
    /// The times, with the time zone.
    #[schema(example = "30 3 * * MON-FRI in Europe/Berlin")]
    times: String,
    next_at: Option<u64>,
    /// The time of the last run.
    last_at: Option<u64>,
    /// The job of the last run.
    last_job: Option<String>,
    /// The number of missed runs that were not made up for.
    missed: u64,
    /// The number of runs that were skipped because the previous run had not ended.
    overlapped: u64,
    /// The error of the last run, if it could not be submitted.
    error: Option<String>,
}

impl From<ScheduleStatus> for ScheduleView {
    fn from(schedule: ScheduleStatus) -> Self {
        Self {
            name: schedule.name,
            times: schedule.times,
            next_at: schedule.next_at.map(millis),
            last_at: schedule.last.as_ref().map(|last| millis(last.at)),
            last_job: schedule.last.map(|last| last.job.to_string()),
            missed: schedule.missed,
            overlapped: schedule.overlapped,
            error: schedule.error,
        }
    }
}

impl From<KindScheduleStatus> for ScheduleView {
    fn from(schedule: KindScheduleStatus) -> Self {
        Self {
            name: schedule.name,
            times: schedule.times,
            next_at: schedule.next_at.map(millis),
            last_at: schedule.last.map(|(at, _)| millis(at)),
            last_job: schedule.last.map(|(_, job)| job.to_string()),
            missed: schedule.missed,
            overlapped: schedule.overlapped,
            error: schedule.error,
        }
    }
}

/// The state of the service at one moment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Overview {
    /// The known jobs; finished jobs count as long as they are kept.
    pub(crate) counts: CountsView,
    /// The number of jobs that were submitted since the service was started; with a store, at least so
    /// many.
    pub(crate) submitted: u64,
    /// The number of jobs that have ended in each state since then, including forgotten jobs; with a
    /// store, at least so many.
    pub(crate) ended: CountsView,
    pub(crate) queues: Vec<QueueView>,
    /// The workers that have run a job of the store and gave a sign of life in the last hour.
    pub(crate) workers: Vec<WorkerView>,
    /// The recurring work, as given when this service was started.
    pub(crate) schedules: Vec<ScheduleView>,
    /// A store keeps the jobs. Then queues are not paused, jobs are not retried, and lists are newest
    /// first.
    pub(crate) kept: bool,
    /// The service starts no job of any queue.
    pub(crate) paused: bool,
    /// The service is about to end, and accepts no more jobs.
    pub(crate) draining: bool,
}

/// A change of a job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EventView {
    id: String,
    /// Milliseconds since 1970.
    at: u64,
    /// `state`, `cancelling` or `progress`.
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fraction: Option<f64>,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        let mut view = Self {
            id: event.id.to_string(),
            at: millis(event.at),
            event: "progress",
            from: None,
            to: None,
            fraction: None,
        };
        match event.kind {
            EventKind::State { from, to } => {
                view.event = "state";
                view.from = from.map(JobState::name);
                view.to = Some(to.name());
            }
            EventKind::Cancelling => view.event = "cancelling",
            EventKind::Progress { fraction } => view.fraction = fraction,
            // More kinds of events may be added; a client that reloads the job sees the change.
            _ => {}
        }
        view
    }
}

impl EventView {
    /// The changes from one look at a job to the next; states in between are not seen.
    pub(crate) fn between(was: Option<&Record>, is: &Record) -> Vec<Self> {
        let at = millis(SystemTime::now());
        let event = |event| Self {
            id: is.id.to_string(),
            at,
            event,
            from: None,
            to: None,
            fraction: None,
        };
        let mut events = Vec::new();
        if was.is_none_or(|was| was.state != is.state || was.attempt != is.attempt) {
            events.push(Self {
                from: was.map(|was| was.state.name()),
                to: Some(is.state.name()),
                ..event("state")
            });
        }
        if is.cancelling && !was.is_some_and(|was| was.cancelling) {
            events.push(event("cancelling"));
        }
        if is.progress.is_some() && was.is_none_or(|was| was.progress != is.progress) {
            let fraction = is.progress.as_ref().and_then(|progress| progress.fraction);
            events.push(Self {
                fraction,
                ..event("progress")
            });
        }
        events
    }
}

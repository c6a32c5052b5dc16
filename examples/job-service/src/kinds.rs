//! The same work as jobs of named kinds, which outlive the process where their engine does.

use std::{sync::Arc, time::Duration};

use fourway_core::{AnyRuntime, Runtime};
use fourway_jobs_engine::{
    BoxError, Engine, EngineError, Handlers, JobClient, JobKind, KindContext, KindJob,
    KindSchedule, KindSchedules, NewJob, Occurrence, Retry, Schedule, ScheduleError, Submitted,
    Worker,
};
use serde_json::Value;

use crate::{
    task::{Body, Outcome, QUEUES, Submission, Work, do_async, do_sync},
    work::{Error, Progress, Toolbox},
};

/// How many attempts may be lost with their service, beyond the requested ones.
const LOST: u32 = 2;

/// The header with the name that people see.
pub const NAME: &str = "name";
/// The prefix of the headers for its labels.
pub const LABEL: &str = "label.";
/// The header with the schedule that has submitted it, if one has.
pub const SCHEDULE: &str = "schedule";

macro_rules! kinds {
    ($($name:ident = $text:literal)*) => {
        $(
            struct $name;

            impl JobKind for $name {
                const NAME: &'static str = $text;
                type Args = Submission;
                type Output = Value;

                fn retry() -> Retry {
                    // Each job sets its number of attempts.
                    Retry::attempts(1).pause(Duration::from_millis(500))
                }
            }
        )*
    };
}

// The queue, and which body; a kind has one handler.
kinds! {
    IndexSync = "index"
    IndexAsync = "index/async"
    PackSync = "pack"
    PackAsync = "pack/async"
    SearchSync = "search"
    SearchAsync = "search/async"
}

/// The queue of jobs of that kind.
pub fn queue(kind: &str) -> &str {
    kind.split_once('/').map_or(kind, |(queue, _)| queue)
}

/// How jobs of an engine are run.
#[derive(Clone, Debug)]
pub struct Working {
    /// The name of the worker on the dashboard, before its unique suffix.
    pub name: String,
    /// A third of the jobs that run at a time: there are three queues.
    pub at_once: usize,
    /// How long a job is held without a sign of life from here.
    pub lease: Duration,
}

impl Working {
    /// Begins.
    pub fn start(&self, rt: &AnyRuntime, engine: Arc<dyn Engine>, toolbox: &Toolbox) -> Worker {
        Worker::builder(rt, engine)
            .name(&*self.name)
            .handlers(handlers(toolbox))
            .concurrency(self.at_once * QUEUES.len())
            .lease(self.lease)
            .on_error(|error| tracing::warn!(%error, "the store is in trouble"))
            .start()
    }
}

/// Ends the worker: gives back jobs that do not end in time. `false` if a job still runs.
pub async fn drain(worker: Worker, deadline: Duration) -> bool {
    let report = worker.drain(deadline).await;
    tracing::info!(
        ended = report.settled.len(),
        given_back = report.released.len(),
        lost = report.lost.len(),
        still_running = report.left.len(),
        "drained"
    );
    report.left.is_empty()
}

/// The handlers.
pub fn handlers<R: Runtime>(toolbox: &Toolbox<R>) -> Handlers {
    fn in_closure<R: Runtime, K: JobKind<Args = Submission, Output = Value>>(
        handlers: Handlers,
        kind: K,
        toolbox: &Toolbox<R>,
    ) -> Handlers {
        let toolbox = toolbox.clone();
        handlers.on_blocking(kind, move |job: KindContext, given: Submission| {
            ended(do_sync(&toolbox, given.work, job))
        })
    }
    fn in_future<R: Runtime, K: JobKind<Args = Submission, Output = Value>>(
        handlers: Handlers,
        kind: K,
        toolbox: &Toolbox<R>,
    ) -> Handlers {
        let toolbox = toolbox.clone();
        handlers.on(kind, move |job: KindContext, given: Submission| {
            let toolbox = toolbox.clone();
            async move { ended(do_async(&toolbox, given.work, job).await) }
        })
    }
    let handlers = in_closure(Handlers::new(), IndexSync, toolbox);
    let handlers = in_future(handlers, IndexAsync, toolbox);
    let handlers = in_closure(handlers, PackSync, toolbox);
    let handlers = in_future(handlers, PackAsync, toolbox);
    let handlers = in_closure(handlers, SearchSync, toolbox);
    in_future(handlers, SearchAsync, toolbox)
}

fn ended(done: Result<Outcome, Error>) -> Result<Value, BoxError> {
    Ok(serde_json::to_value(done?)?)
}

/// Submits it; if its unique key is taken, gives the existing job.
///
/// # Errors
///
/// If the engine could not take it.
pub async fn submit(jobs: &JobClient, submission: Submission) -> Result<Submitted, EngineError> {
    let job = match (submission.body, &submission.work) {
        (Body::Sync, Work::Index { .. }) => job(IndexSync, submission),
        (Body::Async, Work::Index { .. }) => job(IndexAsync, submission),
        (Body::Sync, Work::Pack { .. }) => job(PackSync, submission),
        (Body::Async, Work::Pack { .. }) => job(PackAsync, submission),
        (Body::Sync, Work::Search { .. }) => job(SearchSync, submission),
        (Body::Async, Work::Search { .. }) => job(SearchAsync, submission),
    };
    let submitted = jobs.engine().submit(vec![job?]).await?;
    let first = submitted.first().copied();
    first.ok_or_else(|| EngineError::internal("the engine gave no answer for the job"))
}

/// Submits it for each run of a schedule.
///
/// # Errors
///
/// If there is a schedule of that name.
pub fn schedule(
    name: &str,
    schedule: Schedule,
    schedules: &KindSchedules,
    given: Submission,
) -> Result<KindSchedule, ScheduleError> {
    fn of<K: JobKind<Args = Submission>>(
        kind: fn() -> K,
        given: Submission,
    ) -> impl FnMut(Occurrence) -> KindJob<K> + Send + 'static {
        move |_| kind_job(kind(), given.clone())
    }
    let all = schedules;
    match (given.body, &given.work) {
        (Body::Sync, Work::Index { .. }) => all.schedule(name, schedule, of(|| IndexSync, given)),
        (Body::Async, Work::Index { .. }) => all.schedule(name, schedule, of(|| IndexAsync, given)),
        (Body::Sync, Work::Pack { .. }) => all.schedule(name, schedule, of(|| PackSync, given)),
        (Body::Async, Work::Pack { .. }) => all.schedule(name, schedule, of(|| PackAsync, given)),
        (Body::Sync, Work::Search { .. }) => all.schedule(name, schedule, of(|| SearchSync, given)),
        (Body::Async, Work::Search { .. }) => {
            all.schedule(name, schedule, of(|| SearchAsync, given))
        }
    }
}

fn job<K>(kind: K, given: Submission) -> Result<NewJob, EngineError>
where
    K: JobKind<Args = Submission>,
{
    kind_job(kind, given).into_new_job()
}

fn kind_job<K>(kind: K, given: Submission) -> KindJob<K>
where
    K: JobKind<Args = Submission>,
{
    let mut job = KindJob::new(kind, given.clone())
        .priority(given.priority)
        .delay(Duration::from_millis(given.delay_ms))
        .max_attempts(given.attempts)
        .lost_attempts(LOST)
        .header(NAME, given.display_name());
    for (label, value) in given.all_labels() {
        job = job.header(format!("{LABEL}{label}"), value);
    }
    if let Some(timeout) = given.timeout_ms {
        job = job.timeout(Duration::from_millis(timeout));
    }
    if let Some(unique) = given.unique {
        job = job.unique(unique);
    }
    job
}

impl Progress for KindContext {
    fn fraction(&self, fraction: f64) {
        self.progress(fraction);
    }

    fn message(&self, message: &str) {
        KindContext::message(self, message);
    }

    fn count(&self, what: &str, by: u64) {
        KindContext::count(self, what, by);
    }
}

//! The cases' view of this crate's own manager: [`job_manager`].

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use fourway_core::{AnyRuntime, Call, Runtime};

use super::{
    Attempt, Body, Factory, Manager, Refusal, ScheduledBody, Settings, Snapshot, TestJob,
    Transition, Value,
};
use crate::{
    CancelOutcome, EventKind, Events, Job, JobContext, JobId, JobManager, JobState, JobStatus,
    Missed, Occurrence, Overlap, Retry, Schedule, SubmitError, Work,
};

/// Makes [`JobManager`]s on a runtime.
#[must_use]
pub fn job_manager(runtime: &impl Runtime) -> JobManagers {
    JobManagers {
        runtime: AnyRuntime::new(runtime.clone()),
    }
}

/// Makes [`JobManager`]s. Made by [`job_manager`].
#[derive(Clone, Debug)]
pub struct JobManagers {
    runtime: AnyRuntime,
}

struct OwnManager {
    jobs: JobManager,
    seen: Mutex<Seen>,
}

struct Seen {
    events: Events,
    transitions: Vec<Transition>,
}

impl Factory for JobManagers {
    fn manager(&self, settings: Settings) -> Box<dyn Manager> {
        let builder = JobManager::builder(&self.runtime)
            .concurrency(settings.concurrency)
            .queue_limit(settings.queue_limit)
            .ageing(settings.ageing)
            .keep(settings.keep, Duration::MAX);
        let jobs = match settings.clock {
            Some(clock) => builder.clock(clock).build(),
            None => builder.build(),
        };
        let seen = Mutex::new(Seen {
            events: jobs.subscribe(1_000_000),
            transitions: Vec::new(),
        });
        Box::new(OwnManager { jobs, seen })
    }
}

impl OwnManager {
    fn submit_job<W, M>(
        &self,
        mut job: Job<W>,
        options: (i8, Option<Duration>, Option<String>),
    ) -> Result<JobId, SubmitError>
    where
        W: Work<M>,
        M: 'static,
    {
        let (priority, timeout, unique) = options;
        job = job.priority(priority);
        if let Some(timeout) = timeout {
            job = job.timeout(timeout);
        }
        if let Some(unique) = unique {
            job = job.unique(unique);
        }
        Ok(self.jobs.submit(job)?.id())
    }
}

fn snapshot(status: JobStatus) -> Snapshot {
    let (state, cancelling) = (status.state, status.cancelling);
    Snapshot::new(state, cancelling, status.attempt, status.error)
}

impl Manager for OwnManager {
    fn submit(&self, job: TestJob) -> Result<JobId, Refusal> {
        let retry = Retry::attempts(job.attempts)
            .pause(Duration::from_millis(1))
            .factor(1.0);
        let options = (job.priority, job.timeout, job.unique);
        let attempt = |job: &JobContext| Attempt::new(job.attempt(), job.token().clone());
        let current = move || attempt(&JobContext::current().expect("a job runs"));
        let submitted = match job.body {
            Body::Async(mut body) if job.runs_once => {
                let job = Job::new(async move { body(current()).await });
                self.submit_job(job, options)
            }
            Body::Blocking(mut body) if job.runs_once => {
                let job = Job::new(move || body(current()));
                self.submit_job(job, options)
            }
            Body::Async(mut body) => {
                let job = Job::task(move |job: JobContext| body(attempt(&job)));
                self.submit_job(job.retry(retry), options)
            }
            Body::Blocking(mut body) => {
                let job = Job::blocking(move |job: JobContext| body(attempt(&job)));
                self.submit_job(job.retry(retry), options)
            }
        };
        submitted.map_err(|error| match error {
            error if error.is_full() => Refusal::Full,
            error if error.is_closed() => Refusal::Closed,
            _ => Refusal::Other,
        })
    }

    fn snapshot(&self, id: JobId) -> Option<Snapshot> {
        self.jobs.status(id).ok().map(snapshot)
    }

    fn value(&self, id: JobId) -> Option<Value> {
        self.jobs.result(id).ok()
    }

    fn wait(&self, id: JobId) -> Option<Snapshot> {
        self.jobs.wait(id).wait().ok().map(snapshot)
    }

    fn cancel(&self, id: JobId) -> Option<CancelOutcome> {
        self.jobs.cancel(id).ok()
    }

    fn transitions(&self) -> Vec<Transition> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(event) = seen.events.try_recv() {
            if let EventKind::State { from, to } = event.kind {
                seen.transitions.push(Transition::new(event.id, from, to));
            }
        }
        seen.transitions.clone()
    }

    fn pause(&self, pause: bool) {
        if pause {
            self.jobs.pause(None);
        } else {
            self.jobs.resume(None);
        }
    }

    fn drain(&self, timeout: Duration) -> Vec<(JobId, JobState)> {
        self.jobs.drain(timeout).wait().fates
    }

    fn schedule(&self, every: Duration, missed: Missed, body: ScheduledBody) {
        let schedule = Schedule::every(every)
            .missed(missed)
            .overlap(Overlap::Allow);
        let make = move |run: Occurrence| {
            let body = body.clone();
            let at = run.at.duration_since(UNIX_EPOCH).unwrap_or_default();
            move || body(at.as_secs())
        };
        let scheduled = self.jobs.schedule("case", schedule, make);
        scheduled.expect("a case has one schedule");
    }
}

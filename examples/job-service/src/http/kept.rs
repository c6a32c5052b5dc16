//! Jobs that an engine keeps: they outlive the service, and other processes may run them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use axum::http::StatusCode;
use fourway_core::Timer;
use fourway_jobs::{Counts, JobId, JobState};
use fourway_jobs_engine::{CancelAnswer, EngineError, Filter, JobClient, Record, Worker};
use tokio::sync::broadcast;

use super::{
    api::Which,
    app::Shared,
    jobs::{Accepted, Cancelling, Now},
    problem::Problem,
    view::{EventView, JobView, PageView, ScheduleView, WorkerView, millis},
    workers::Workers,
};
use crate::{kinds, task::Submission, timetable::KeptTimetable};

type Answer<T> = Result<T, Problem>;

/// How often it looks for changes: an engine sends no events.
const LOOK: Duration = Duration::from_millis(500);

/// For how long one request searches for jobs that fit. It ends with the page that is read then.
const SEARCH: Duration = Duration::from_secs(2);

/// How many jobs it looks at, the newest ones.
const LOOKED_AT: usize = 500;

/// How many events wait for a slow client before it loses the oldest.
const BUFFER: usize = 4096;

#[derive(Clone)]
pub(super) struct Kept {
    jobs: JobClient,
    queue_limit: u64,
    inner: Arc<Inner>,
}

struct Inner {
    /// The worker of this process, if it has one; until it drains.
    worker: Mutex<Option<Worker>>,
    timetable: KeptTimetable,
    seen: Mutex<Seen>,
    happened: broadcast::Sender<Happened>,
}

#[derive(Default)]
struct Seen {
    /// As of the last look, and with the jobs that were submitted here since.
    counts: Counts,
    totals: Totals,
    /// The newest jobs, each as it was.
    jobs: HashMap<JobId, Record>,
    events: u64,
    workers: Workers,
    /// It has looked at all jobs once.
    once: bool,
}

/// Counts that never go down, although a store forgets jobs. A job that ended and another one in the
/// same state that was forgotten between two looks cancel each other out: once a store forgets as many
/// jobs as end, these counts stand still.
#[derive(Default)]
struct Totals {
    /// The counts of the last look.
    last: Counts,
    submitted: u64,
    ended: Counts,
}

impl Totals {
    fn look(&mut self, counts: Counts) {
        self.submitted += counts.total().saturating_sub(self.last.total());
        let more = |state| counts.of(state).saturating_sub(self.last.of(state));
        self.ended.completed += more(JobState::Completed);
        self.ended.failed += more(JobState::Failed);
        self.ended.cancelled += more(JobState::Cancelled);
        self.ended.timed_out += more(JobState::TimedOut);
        self.last = counts;
    }
}

/// Something that has happened to a job.
#[derive(Clone, Debug)]
pub(super) struct Happened {
    pub(super) number: u64,
    pub(super) id: JobId,
    pub(super) event: EventView,
}

impl Kept {
    pub(super) fn new(
        jobs: JobClient,
        worker: Option<Worker>,
        timetable: KeptTimetable,
        queue_limit: usize,
    ) -> Self {
        Self {
            jobs,
            queue_limit: queue_limit as u64,
            inner: Arc::new(Inner {
                worker: Mutex::new(worker),
                timetable,
                seen: Mutex::default(),
                happened: broadcast::Sender::new(BUFFER),
            }),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        let seen = self.inner.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn submit(&self, given: Submission, retry_after: u64) -> Answer<Accepted> {
        let counts = self.seen().counts;
        let waiting = counts.scheduled + counts.queued + counts.retrying;
        if waiting >= self.queue_limit {
            return Err(Problem::full(retry_after));
        }
        let submitted = kinds::submit(&self.jobs, given).await;
        let submitted = submitted.map_err(Problem::not_taken)?;
        if submitted.is_new() {
            // Counted until the next look, so that a burst cannot exceed the limit by much.
            self.seen().counts.queued += 1;
        }
        Ok(Accepted {
            id: submitted.id(),
            is_new: submitted.is_new(),
        })
    }

    pub(super) async fn view(&self, id: JobId) -> Answer<JobView> {
        let record = self.jobs.status(id).await?;
        self.whole(record.ok_or_else(|| unknown(id))?).await
    }

    pub(super) async fn wait(&self, id: JobId) -> Answer<JobView> {
        let record = self.jobs.wait(id).await?;
        self.whole(record.ok_or_else(|| unknown(id))?).await
    }

    async fn whole(&self, record: Record) -> Answer<JobView> {
        let (id, state) = (record.id, record.state);
        let view = JobView::from(record);
        if state != JobState::Completed {
            return Ok(view);
        }
        let result = self.jobs.engine().result(id).await?;
        Ok(view.with_result(result.and_then(|bytes| serde_json::from_slice(&bytes).ok())))
    }

    pub(super) async fn cancel(&self, id: JobId) -> Answer<Cancelling> {
        match self.jobs.cancel(id).await? {
            CancelAnswer::Dequeued => Ok(Cancelling::Cancelled),
            CancelAnswer::Requested => Ok(Cancelling::Requested),
            CancelAnswer::TooLate => {
                let record = self.jobs.status(id).await?.ok_or_else(|| unknown(id))?;
                Err(Cancelling::too_late(id, record.state))
            }
            CancelAnswer::Unknown => Err(unknown(id)),
            other => {
                let detail = format!("the store cannot cancel it: {other:?}");
                Err(Problem::new(StatusCode::NOT_IMPLEMENTED, detail))
            }
        }
    }

    pub(super) async fn list(&self, which: &Which) -> Answer<PageView> {
        let mut filter = which.of_engine()?.limit(1000);
        let wanted = which.limit();
        let begun = Instant::now();
        let mut jobs = Vec::new();
        loop {
            let page = self.jobs.list(filter.clone()).await?;
            let last = page.jobs.len();
            for (at, record) in page.jobs.into_iter().enumerate() {
                let id = record.id;
                let view = JobView::from(record);
                if which.lets_through(&view) {
                    jobs.push(view);
                }
                if jobs.len() == wanted {
                    let more = at + 1 < last || page.next.is_some();
                    let next = more.then(|| id.to_string());
                    return Ok(PageView { jobs, next });
                }
            }
            match page.next {
                // The rest is another request's: among very many jobs that do not fit this one would
                // run out of its time, with nothing to show for it.
                Some(next) if begun.elapsed() < SEARCH => filter = filter.before(next),
                next => {
                    let next = next.map(|next| next.to_string());
                    return Ok(PageView { jobs, next });
                }
            }
        }
    }

    pub(super) fn now(&self) -> Now {
        let seen = self.seen();
        Now {
            counts: seen.counts,
            submitted: seen.totals.submitted,
            ended: seen.totals.ended,
            // An engine counts only by state.
            classes: Vec::new(),
            paused: false,
        }
    }

    pub(super) fn workers(&self) -> Vec<WorkerView> {
        self.seen().workers.view()
    }

    pub(super) fn schedules(&self) -> Vec<ScheduleView> {
        let all = self.inner.timetable.all.iter();
        all.map(|schedule| schedule.status().into()).collect()
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Happened> {
        self.inner.happened.subscribe()
    }

    pub(super) async fn drain(&self, deadline: Duration) -> bool {
        self.inner.timetable.close().await;
        let worker = self.inner.worker.lock();
        let worker = worker.unwrap_or_else(PoisonError::into_inner).take();
        match worker {
            Some(worker) => kinds::drain(worker, deadline).await,
            None => true,
        }
    }

    /// Looks for changes, and sends them as events.
    async fn look(&self, app: &Shared) -> Result<(), EngineError> {
        let counts = self.jobs.counts().await?;
        let newest = Filter::new().limit(LOOKED_AT);
        let running = newest.clone().state(JobState::Running);
        let newest = self.jobs.list(newest).await?.jobs;
        let running = self.jobs.list(running).await?.jobs;
        let mut seen = self.seen();
        seen.counts = counts;
        seen.totals.look(counts);
        if !seen.once {
            // Jobs from before did not end in this second.
            let Totals {
                submitted, ended, ..
            } = seen.totals;
            app.history.begin(submitted, ended);
        }
        seen.workers
            .look(&newest, &running, millis(SystemTime::now()));
        let before = std::mem::take(&mut seen.jobs);
        for record in newest {
            let was = before.get(&record.id);
            for event in EventView::between(was, &record) {
                if !seen.once {
                    break;
                }
                seen.events += 1;
                // There may be no receiver.
                let _ = self.inner.happened.send(Happened {
                    number: seen.events,
                    id: record.id,
                    event,
                });
            }
            if seen.once && was.is_none_or(|was| was.state != record.state) {
                let since = |at: Option<u64>| {
                    let at = at.unwrap_or(record.submitted_at);
                    Duration::from_millis(at.saturating_sub(record.submitted_at))
                };
                if record.state == JobState::Running {
                    app.metrics.started(since(record.started_at));
                } else if record.state.is_finished() {
                    app.metrics.ended(since(record.ended_at));
                    app.history.ended(since(record.ended_at));
                }
            }
            seen.jobs.insert(record.id, record);
        }
        seen.once = true;
        Ok(())
    }
}

/// Looks again and again, until the service ends.
pub(super) async fn follow(app: Shared, kept: Kept) {
    let closing = app.closing.clone();
    let looks = async {
        loop {
            if let Err(error) = kept.look(&app).await {
                tracing::warn!(%error, "the store cannot be read");
            }
            app.rt.sleep(LOOK).await;
        }
    };
    // It only ends by the cancellation.
    let _ = closing.run_until_cancelled::<_>(looks).await;
}

fn unknown(id: JobId) -> Problem {
    let detail = format!("no job {id} is known, or not any more");
    Problem::new(StatusCode::NOT_FOUND, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_never_go_down() {
        let mut totals = Totals::default();
        let counts = |queued, completed, failed| Counts {
            queued,
            completed,
            failed,
            ..Counts::default()
        };
        totals.look(counts(3, 10, 1));
        assert_eq!((totals.submitted, totals.ended.completed), (14, 10));
        // Two more have completed, and one has failed.
        totals.look(counts(0, 12, 2));
        assert_eq!(totals.submitted, 14);
        assert_eq!((totals.ended.completed, totals.ended.failed), (12, 2));
        // Nearly all of them are forgotten.
        totals.look(counts(0, 1, 0));
        assert_eq!(totals.submitted, 14);
        assert_eq!((totals.ended.completed, totals.ended.failed), (12, 2));
        totals.look(counts(1, 2, 0));
        assert_eq!((totals.submitted, totals.ended.completed), (16, 13));
    }
}

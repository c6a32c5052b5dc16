//! Jobs that an engine keeps: they outlive the service, and other processes may run them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use axum::http::StatusCode;
use fourway_core::{AnyRuntime, Timer};
use fourway_jobs::{Counts, JobId, JobState};
use fourway_jobs_engine::{
    CancelAnswer, EngineError, Filter, JobClient, Page, Record, RetryAnswer, Worker, life,
};
use tokio::sync::broadcast;

use super::{
    Options,
    api::Which,
    app::Shared,
    counted::{Counted, Done},
    jobs::{Accepted, Cancelling, Now},
    metrics::ended_states,
    problem::Problem,
    view::{EventView, JobView, PageView, ScheduleView, WorkerView, millis},
    workers::Workers,
};
use crate::{kinds, task::Submission, timetable::KeptTimetable};

type Answer<T> = Result<T, Problem>;

/// How often it looks for changes: an engine sends no events.
const LOOK: Duration = Duration::from_millis(500);

/// How many jobs it looks at, the newest ones.
const LOOKED_AT: usize = 500;

/// How many events wait for a slow client before it loses the oldest.
const BUFFER: usize = 4096;

#[derive(Clone)]
pub(super) struct Kept {
    rt: AnyRuntime,
    jobs: JobClient,
    /// The engine of `jobs`.
    counted: Counted,
    queue_limit: u64,
    /// For how long one request searches for jobs that fit.
    search_limit: Duration,
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

/// What all processes have done since the first look, as far as it shows in the counts of what the
/// store keeps. They never go down. A job that ended and another one in the same state that was
/// forgotten between two looks cancel each other out. So this is at most the true number, and so is
/// the [number of this process](Counted): the larger one is shown.
#[derive(Default)]
struct Totals {
    /// The counts of the last look.
    last: Option<Counts>,
    done: Done,
}

impl Totals {
    fn look(&mut self, counts: Counts) {
        // The first look's are from before.
        let last = self.last.replace(counts).unwrap_or(counts);
        self.done.submitted += counts.total().saturating_sub(last.total());
        let ended = &mut self.done.ended;
        for state in ended_states() {
            let more = counts.of(state).saturating_sub(last.of(state));
            life::count(ended, state, more);
        }
    }

    fn at_least(&self, here: Done) -> Done {
        let mut most = Done {
            submitted: self.done.submitted.max(here.submitted),
            ended: Counts::default(),
        };
        for state in ended_states() {
            let more = self.done.ended.of(state).max(here.ended.of(state));
            life::count(&mut most.ended, state, more);
        }
        most
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
        rt: AnyRuntime,
        jobs: JobClient,
        counted: Counted,
        worker: Option<Worker>,
        timetable: KeptTimetable,
        options: &Options,
    ) -> Self {
        Self {
            rt,
            jobs,
            counted,
            queue_limit: options.queue_limit as u64,
            // The rest of the request's time is for its answer.
            search_limit: options.request_timeout * 3 / 4,
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
            asked: None,
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

    pub(super) async fn retry(&self, id: JobId) -> Answer<()> {
        let refused = |why: String| {
            let detail = format!("the job {id} is not tried again: {why}");
            Problem::new(StatusCode::CONFLICT, detail)
        };
        match self.jobs.retry(id).await.map_err(Problem::not_taken)? {
            RetryAnswer::Queued => Ok(()),
            RetryAnswer::State(state) => Err(refused(format!(
                "it is {state}, and only a job that has ended without a value is"
            ))),
            RetryAnswer::KeyTaken(holder) => Err(refused(format!(
                "{holder} has its unique key: wait for that, or cancel it"
            ))),
            RetryAnswer::Unknown => Err(unknown(id)),
            other => Err(refused(format!("the store says {other:?}"))),
        }
    }

    pub(super) async fn list(&self, which: &Which) -> Answer<PageView> {
        search(&self.rt, self.search_limit, which, |filter| {
            self.jobs.list(filter)
        })
        .await
    }

    pub(super) fn now(&self) -> Now {
        let here = self.counted.done();
        let seen = self.seen();
        let done = seen.totals.at_least(here);
        Now {
            counts: seen.counts,
            submitted: done.submitted,
            ended: done.ended,
            here,
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
            let since = |at: Option<u64>| {
                let at = at.unwrap_or(record.submitted_at);
                Duration::from_millis(at.saturating_sub(record.submitted_at))
            };
            // By the time and not by the state: most attempts begin and end between two looks.
            let has_begun = record.started_at.is_some()
                && record.started_at != was.and_then(|was| was.started_at);
            // A job that was run again may have ended as before.
            let has_ended =
                record.ended_at.is_some() && record.ended_at != was.and_then(|was| was.ended_at);
            if seen.once && has_begun {
                app.metrics.started(since(record.started_at));
            }
            if seen.once && has_ended {
                app.metrics.ended(since(record.ended_at));
                app.history.ended(since(record.ended_at));
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

/// The newest jobs that fit, a page of the store after the other.
async fn search<F>(
    rt: &AnyRuntime,
    limit: Duration,
    which: &Which,
    list: impl Fn(Filter) -> F,
) -> Answer<PageView>
where
    F: IntoFuture<Output = Result<Page, EngineError>>,
{
    let mut filter = which.of_engine()?.limit(1000);
    let wanted = which.limit();
    let begun = Instant::now();
    let mut jobs = Vec::new();
    // The place where another request goes on.
    let mut reached = None;
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        let listed = list(filter.clone()).into_future();
        let page = match (rt.timeout(left, listed).await, reached) {
            (Ok(page), _) => page?,
            (Err(_elapsed), None) => return Err(Problem::search_timed_out(limit)),
            (Err(_elapsed), next) => return Ok(PageView { jobs, next }),
        };
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
        reached = page.next.map(|next| next.to_string());
        match page.next {
            // The rest is another request's: among very many jobs that do not fit this one would
            // run out of its time, with nothing to show for it.
            Some(next) if begun.elapsed() < limit => filter = filter.before(next),
            _ => {
                return Ok(PageView {
                    jobs,
                    next: reached,
                });
            }
        }
    }
}

fn unknown(id: JobId) -> Problem {
    let detail = format!("no job {id} is known, or not any more");
    Problem::new(StatusCode::NOT_FOUND, detail)
}

#[cfg(test)]
mod tests {
    use fourway_core::BlockOn;
    use fourway_jobs_engine::{NewJob, life::Life};

    use super::*;

    fn counts(queued: u64, completed: u64, failed: u64) -> Counts {
        Counts {
            queued,
            completed,
            failed,
            ..Counts::default()
        }
    }

    #[test]
    fn totals_never_go_down() {
        let mut totals = Totals::default();
        let ended = |totals: &Totals| (totals.done.ended.completed, totals.done.ended.failed);
        // These are from before the first look.
        totals.look(counts(3, 10, 1));
        assert_eq!((totals.done.submitted, ended(&totals)), (0, (0, 0)));
        // Two more have completed, and one has failed.
        totals.look(counts(0, 12, 2));
        assert_eq!((totals.done.submitted, ended(&totals)), (0, (2, 1)));
        // Nearly all of them are forgotten.
        totals.look(counts(0, 1, 0));
        assert_eq!((totals.done.submitted, ended(&totals)), (0, (2, 1)));
        totals.look(counts(1, 2, 0));
        assert_eq!((totals.done.submitted, ended(&totals)), (2, (3, 1)));
    }

    #[test]
    fn the_larger_of_two_counts_that_miss_some_is_shown() {
        let mut totals = Totals::default();
        totals.look(counts(0, 10, 0));
        totals.look(counts(0, 14, 0));
        let here = |completed, failed| Done {
            submitted: completed,
            ended: counts(0, completed, failed),
        };
        // Others have ended four.
        assert_eq!(totals.at_least(here(3, 0)), here(4, 0));
        // The store forgets as many as end.
        totals.look(counts(0, 14, 0));
        assert_eq!(totals.at_least(here(9, 1)), here(9, 1));
    }

    fn asked(limit: Duration, pages: Vec<Page>) -> Answer<PageView> {
        let rt = fourway_testing::any();
        let pages = Mutex::new(pages.into_iter());
        let which = Which::default();
        rt.block_on(search(&rt, limit, &which, |_| {
            let page = pages.lock().unwrap().next();
            async move {
                match page {
                    Some(page) => Ok(page),
                    None => std::future::pending().await,
                }
            }
        }))
    }

    #[test]
    fn a_store_that_does_not_list_in_time_is_a_problem_of_its_own() {
        let problem = asked(Duration::from_millis(1), Vec::new()).unwrap_err();
        assert_eq!(problem, Problem::search_timed_out(Duration::from_millis(1)));
    }

    #[test]
    fn a_search_that_runs_out_of_time_gives_what_it_has() {
        let job = || Life::begin(NewJob::new("kind", 1, ""), 0).0.record;
        let page = Page::of(vec![job(), job()], 1);
        let next = page.next.unwrap();
        // The store does not answer the second question; or the time is over after the first one.
        for limit in [Duration::from_millis(1), Duration::ZERO] {
            let found = asked(limit, vec![page.clone()]).unwrap();
            assert_eq!(found.jobs.len(), 1);
            assert_eq!(found.next, Some(next.to_string()));
        }
    }
}

//! A worker whose engine refuses its messages, or does not receive them.

use std::{
    collections::HashSet,
    fmt,
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use fourway_core::{AnyRuntime, Call, Spawner};
use fourway_jobs::ManualClock;
use fourway_jobs_engine::{
    Beat, BoxError, CancelAnswer, Capabilities, Counts, Engine, EngineError, EngineFuture, Fetch,
    Filter, Handlers, Held, JobClient, JobId, JobKind, JobState, KindJob, KindManager,
    KindSchedules, Lease, Leased, MemoryEngine, NewJob, Page, Record, RetryAnswer, Schedule,
    Settled, Submitted, Verdict, Worker,
};
use fourway_testing::{
    AGES, Counter, Gate, any, any_current_thread, eventually, panic_quietly, poll_once, run,
};

fourway_testing::on_every_runtime!(erased
    an_output_that_is_refused_ends_its_job_once
    a_verdict_is_kept_until_a_broken_store_is_mended
    a_verdict_is_kept_while_the_engine_panics
    a_drain_tells_of_ends_that_were_not_heard
    progress_that_was_not_heard_is_told_again
    progress_that_is_refused_costs_nobody_a_heartbeat
    heartbeats_are_never_rarer_than_the_lease_allows
    heartbeats_wait_for_no_maintenance
    a_job_whose_submission_got_no_answer_is_submitted_again
    a_worker_without_handlers_fetches_nothing
    an_engine_that_answers_at_once_is_not_asked_all_the_time
    a_callback_that_panics_ends_no_task_of_the_worker
    an_engine_that_panics_ends_no_task_of_the_worker
    a_drain_that_is_dropped_at_once_drops_the_worker
);

struct Work;

impl JobKind for Work {
    const NAME: &'static str = "work";
    type Args = String;
    type Output = String;
}

/// An engine in memory that takes no long outputs and no long messages, and more.
#[derive(Clone)]
struct Fussy {
    inner: MemoryEngine,
    /// The next heartbeat with news is lost.
    deaf: Arc<AtomicBool>,
    /// Maintenance takes for ever.
    slow: bool,
    /// The answer to the next submission is lost.
    mute: Arc<AtomicBool>,
    /// It answers to fetches at once that there is no job.
    impatient: bool,
    /// Fetches.
    fetches: Counter,
    /// Maintenances.
    maintained: Counter,
    /// Heartbeats that were heard.
    beats: Counter,
    /// Verdicts that were refused.
    refused: Counter,
    /// The error given for verdicts, if there is one.
    harm: Arc<Mutex<Option<EngineError>>>,
    /// How often this error was given.
    harmed: Counter,
    /// It panics once in each of these requests.
    panics: Arc<Mutex<HashSet<&'static str>>>,
    /// A submission blocks its thread there.
    gate: Option<Gate>,
    /// Submissions that have come, and that have ended.
    submissions: [Counter; 2],
    /// How many jobs each fetch asks for.
    asked: Arc<Mutex<Vec<usize>>>,
    /// The answer to one verdict lets the next one go on; the first waits for the last to come.
    turns: Option<Arc<[Gate]>>,
    /// Verdicts that have come.
    verdicts: Counter,
}

impl Fussy {
    fn new(rt: &AnyRuntime) -> Self {
        Self {
            inner: MemoryEngine::new(rt),
            deaf: Arc::default(),
            slow: false,
            mute: Arc::default(),
            impatient: false,
            fetches: Counter::default(),
            maintained: Counter::default(),
            beats: Counter::default(),
            refused: Counter::default(),
            harm: Arc::default(),
            harmed: Counter::default(),
            panics: Arc::default(),
            gate: None,
            submissions: Default::default(),
            asked: Arc::default(),
            turns: None,
            verdicts: Counter::default(),
        }
    }

    fn may_panic(&self, request: &'static str) {
        let panics = self.panics.lock().unwrap().remove(request);
        if panics {
            panic_quietly(request);
        }
    }

    fn client(&self, rt: &AnyRuntime) -> JobClient {
        JobClient::new(rt, Arc::new(self.clone()))
    }
}

fn is_long(text: &str) -> bool {
    text.len() > 100
}

impl fmt::Debug for Fussy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fussy")
    }
}

impl Engine for Fussy {
    fn name(&self) -> &str {
        "fussy"
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn submit(&self, jobs: Vec<NewJob>) -> EngineFuture<Vec<Submitted>> {
        let this = self.clone();
        Box::pin(async move {
            let [come, ended] = &this.submissions;
            let _ended = ended.on_drop();
            come.add();
            if let Some(gate) = &this.gate {
                gate.wait();
            }
            let submitted = this.inner.submit(jobs).await;
            if this.mute.swap(false, Ordering::SeqCst) {
                return Err(EngineError::unavailable("the answer was lost"));
            }
            submitted
        })
    }

    fn status(&self, id: JobId) -> EngineFuture<Option<Record>> {
        self.inner.status(id)
    }

    fn result(&self, id: JobId) -> EngineFuture<Option<Vec<u8>>> {
        self.inner.result(id)
    }

    fn wait(&self, id: JobId, patience: Duration) -> EngineFuture<Option<Record>> {
        self.inner.wait(id, patience)
    }

    fn cancel(&self, id: JobId) -> EngineFuture<CancelAnswer> {
        self.inner.cancel(id)
    }

    fn retry(&self, id: JobId) -> EngineFuture<RetryAnswer> {
        self.inner.retry(id)
    }

    fn list(&self, filter: Filter) -> EngineFuture<Page> {
        self.inner.list(filter)
    }

    fn counts(&self) -> EngineFuture<Counts> {
        self.inner.counts()
    }

    fn fetch(&self, fetch: Fetch) -> EngineFuture<Vec<Leased>> {
        self.asked.lock().unwrap().push(fetch.max);
        self.fetches.add();
        self.may_panic("fetch");
        if self.impatient {
            return Box::pin(ready(Ok(Vec::new())));
        }
        self.inner.fetch(fetch)
    }

    fn heartbeat(&self, beats: Vec<Beat>, lease: Duration) -> EngineFuture<Vec<Held>> {
        let this = self.clone();
        Box::pin(async move {
            this.may_panic("heartbeat");
            let mut news = beats.iter().filter_map(|beat| beat.progress.as_ref());
            // One heartbeat at a time: the lost heartbeat clears the flag.
            if this.deaf.load(Ordering::SeqCst) && news.clone().next().is_some() {
                this.deaf.store(false, Ordering::SeqCst);
                return Err(EngineError::unavailable("it was not heard"));
            }
            if news.any(|news| news.message.as_deref().is_some_and(is_long)) {
                return Err(EngineError::invalid("the message is too long"));
            }
            let held = this.inner.heartbeat(beats, lease).await;
            this.beats.add();
            held
        })
    }

    fn settle(&self, verdicts: Vec<(Lease, Verdict)>) -> EngineFuture<Vec<Settled>> {
        let this = self.clone();
        Box::pin(async move {
            this.may_panic("settle");
            let harm = this.harm.lock().unwrap().clone();
            if let Some(error) = harm {
                this.harmed.add();
                return Err(error);
            }
            let long = |verdict: &Verdict| match verdict {
                Verdict::Complete(output) => output.len() > 100,
                _ => false,
            };
            if verdicts.iter().any(|(_, verdict)| long(verdict)) {
                this.refused.add();
                return Err(EngineError::invalid("the output is too long"));
            }
            let settled = this.inner.settle(verdicts).await;
            if let Some(turns) = &this.turns {
                let come = this.verdicts.add();
                if come == turns.len() {
                    turns[0].open();
                }
                turns[come - 1].pass().await;
                if let Some(next) = turns.get(come) {
                    next.open();
                }
            }
            settled
        })
    }

    fn maintain(&self) -> EngineFuture<()> {
        self.maintained.add();
        self.may_panic("maintain");
        if self.slow {
            return Box::pin(pending());
        }
        self.inner.maintain()
    }
}

fn an_output_that_is_refused_ends_its_job_once(rt: AnyRuntime) {
    let engine = Fussy::new(&rt);
    let client = engine.client(&rt);
    let ran = Counter::default();
    let count = ran.clone();
    let handlers = Handlers::new().on(Work, move |_, text: String| {
        count.add();
        async move { Ok::<_, BoxError>(text.repeat(50)) }
    });
    let worker = Worker::builder(&rt, Arc::new(engine.clone())).handlers(handlers);
    let worker = worker.start();
    let long = client.submit(Work, "long".to_owned()).wait().unwrap();
    let job = run(&rt, client.wait(long.id())).unwrap().unwrap();
    assert_eq!(
        (job.state, job.dead, job.attempt),
        (JobState::Failed, true, 1)
    );
    let error = job.error.unwrap();
    assert!(error.contains("the output is too long"), "{error}");
    assert_eq!((ran.get(), engine.refused.get()), (1, 1));
    // The worker counts the job as ended, and other jobs go on.
    let short = client.submit(Work, "s".to_owned()).wait().unwrap();
    assert_eq!(run(&rt, short.output()).unwrap().len(), 50);
    eventually("both count", || worker.status().settled == 2);
}

fn a_verdict_is_kept_until_a_broken_store_is_mended(rt: AnyRuntime) {
    a_verdict_is_kept(
        rt,
        EngineError::broken("permission denied"),
        "permission denied",
    );
}

fn a_verdict_is_kept_while_the_engine_panics(rt: AnyRuntime) {
    a_verdict_is_kept(rt, EngineError::panicked(), "panicked");
}

fn a_verdict_is_kept(rt: AnyRuntime, harm: EngineError, said: &str) {
    let engine = Fussy::new(&rt);
    let client = engine.client(&rt);
    *engine.harm.lock().unwrap() = Some(harm);
    let ran = Counter::default();
    let count = ran.clone();
    let handlers = Handlers::new().on(Work, move |_, text: String| {
        count.add();
        async move { Ok::<_, BoxError>(text) }
    });
    let worker = Worker::builder(&rt, Arc::new(engine.clone()))
        .handlers(handlers)
        .start();
    let job = client.submit(Work, "kept".to_owned()).wait().unwrap();
    eventually("it is told more than once", || engine.harmed.get() >= 2);
    let trouble = worker.status().trouble.unwrap();
    assert!(trouble.contains(said), "{trouble}");
    *engine.harm.lock().unwrap() = None;
    assert_eq!(run(&rt, job.output()).unwrap(), "kept");
    assert_eq!(ran.get(), 1);
}

fn a_drain_tells_of_ends_that_were_not_heard(rt: AnyRuntime) {
    let engine = Fussy::new(&rt);
    let client = engine.client(&rt);
    let down = EngineError::unavailable("nobody answers");
    *engine.harm.lock().unwrap() = Some(down);
    let handlers = Handlers::new().on(Work, |_, text| async move { Ok::<_, BoxError>(text) });
    let worker = Worker::builder(&rt, Arc::new(engine.clone())).handlers(handlers);
    let worker = worker.grace(AGES).start();
    let job = client.submit(Work, "x".to_owned()).wait().unwrap();
    eventually("its end is told", || engine.harmed.get() >= 1);
    let report = run(&rt, worker.drain(Duration::ZERO));
    assert_eq!(report.left, [job.id()]);
    assert!(report.settled.is_empty() && report.lost.is_empty());
}

fn progress_that_was_not_heard_is_told_again(rt: AnyRuntime) {
    let engine = Fussy::new(&rt);
    engine.deaf.store(true, Ordering::SeqCst);
    let client = engine.client(&rt);
    let gate = Gate::default();
    let closed = gate.clone();
    let handlers = Handlers::new().on_blocking(Work, move |job, text: String| {
        job.message(&*text);
        closed.wait();
        Ok::<_, BoxError>(text)
    });
    let _worker = Worker::builder(&rt, Arc::new(engine.clone()))
        .handlers(handlers)
        .heartbeat(Duration::from_millis(5))
        .start();
    let job = client.submit(Work, "half".to_owned()).wait().unwrap();
    eventually("it is seen", || {
        let progress = job.status().wait().unwrap().unwrap().progress;
        progress.is_some_and(|told| told.message.as_deref() == Some("half"))
    });
    assert!(!engine.deaf.load(Ordering::SeqCst), "it was not heard once");
    gate.open();
    run(&rt, job.output()).unwrap();
}

fn progress_that_is_refused_costs_nobody_a_heartbeat(rt: AnyRuntime) {
    let engine = Fussy::new(&rt);
    let client = engine.client(&rt);
    let handlers = Handlers::new().on_blocking(Work, |job, text: String| {
        // Again and again, each time anew.
        loop {
            job.message(&*text);
            job.token().sleep(Duration::from_millis(1))?;
        }
        #[allow(unreachable_code, reason = "it says the type of the error")]
        Ok::<_, BoxError>(text)
    });
    let _worker = Worker::builder(&rt, Arc::new(engine.clone()))
        .handlers(handlers)
        .heartbeat(Duration::from_millis(5))
        .start();
    let long = client.submit(Work, "x".repeat(101)).wait().unwrap();
    let short = client.submit(Work, "short".to_owned()).wait().unwrap();
    let told = || short.status().wait().unwrap().unwrap().progress;
    eventually("the other one's is seen", || told().is_some());
    // Both learn that they must end, which only a heartbeat tells.
    for job in [&short, &long] {
        assert_eq!(job.cancel().wait().unwrap(), CancelAnswer::Requested);
        let ended = run(&rt, client.wait(job.id())).unwrap().unwrap();
        assert_eq!(ended.state, JobState::Cancelled);
    }
}

fn heartbeats_are_never_rarer_than_the_lease_allows(rt: AnyRuntime) {
    let engine = Fussy::new(&rt);
    let beats = engine.beats.clone();
    let handlers = Handlers::new().on_blocking(Work, move |_, text| {
        eventually("heartbeats are sent", || beats.get() >= 3);
        Ok::<_, BoxError>(text)
    });
    // Short, so that a third heartbeat comes soon. If a busy machine loses a job by this, the job
    // is tried again.
    let worker = Worker::builder(&rt, Arc::new(engine.clone())).handlers(handlers);
    let _worker = worker
        .lease(Duration::from_millis(600))
        .heartbeat(Duration::from_secs(3600))
        .start();
    let job = engine.client(&rt).submit(Work, "x".to_owned());
    let job = job.wait().unwrap();
    run(&rt, job.output()).unwrap();
}

fn heartbeats_wait_for_no_maintenance(rt: AnyRuntime) {
    let mut engine = Fussy::new(&rt);
    engine.slow = true;
    let beats = engine.beats.clone();
    let handlers = Handlers::new().on_blocking(Work, move |_, text| {
        // No maintenance ends in all that time: one takes a third of the lease.
        eventually("heartbeats are sent", || beats.get() >= 3);
        Ok::<_, BoxError>(text)
    });
    let _worker = Worker::builder(&rt, Arc::new(engine.clone()))
        .handlers(handlers)
        .lease(Duration::from_secs(3600))
        .heartbeat(Duration::from_millis(5))
        .start();
    let job = engine.client(&rt).submit(Work, "x".to_owned());
    let job = job.wait().unwrap();
    run(&rt, job.output()).unwrap();
}

fn a_job_whose_submission_got_no_answer_is_submitted_again(rt: AnyRuntime) {
    let engine = Fussy::new(&rt);
    let client = engine.client(&rt);
    engine.mute.store(true, Ordering::SeqCst);
    let job = KindJob::new(Work, "once".to_owned());
    let lost = run(&rt, client.submit_job(job.clone())).unwrap_err();
    assert!(lost.is_unavailable(), "{lost}");
    let again = run(&rt, client.submit_job(job.clone())).unwrap();
    assert_eq!((again.id(), again.is_new()), (job.id(), true));
    // So can a program that noted the id, for example before it was restarted.
    let noted = KindJob::new(Work, "once".to_owned()).with_id(job.id());
    let again = run(&rt, client.submit_job(noted)).unwrap();
    assert_eq!(again.id(), job.id());
    assert_eq!(run(&rt, client.counts()).unwrap().total(), 1);
}

fn a_worker_without_handlers_fetches_nothing(rt: AnyRuntime) {
    let engine = Fussy::new(&rt);
    let worker = Worker::builder(&rt, Arc::new(engine.clone()))
        .heartbeat(Duration::from_millis(1))
        .start();
    eventually("it works", || engine.maintained.get() >= 5);
    assert_eq!(engine.fetches.get(), 0);
    let report = run(&rt, worker.drain(AGES));
    assert_eq!(report, fourway_jobs_engine::WorkerReport::default());
}

fn an_engine_that_answers_at_once_is_not_asked_all_the_time(rt: AnyRuntime) {
    // The shortest time in which there may be so many fetches. With patience the pauses double.
    for (patience, fetches, least) in [(Duration::ZERO, 11, 100), (AGES, 5, 10 + 20 + 40 + 80)] {
        let mut engine = Fussy::new(&rt);
        engine.impatient = true;
        let handlers = Handlers::new().on(Work, |_, text| async move { Ok::<_, BoxError>(text) });
        let begun = Instant::now();
        let worker = Worker::builder(&rt, Arc::new(engine.clone()))
            .handlers(handlers)
            .patience(patience)
            .start();
        eventually("it asks again", || engine.fetches.get() >= fetches);
        assert!(begun.elapsed() >= Duration::from_millis(least));
        // No pause holds it up.
        let report = run(&rt, worker.drain(AGES));
        assert!(report.left.is_empty());
    }
}

/// On a single thread: the jobs that are about to end are ready to run.
#[test]
fn jobs_that_end_together_make_room_for_one_fetch() {
    const JOBS: usize = 6;
    let rt = any_current_thread();
    let mut engine = Fussy::new(&rt);
    engine.turns = Some((0..JOBS).map(|_| Gate::default()).collect());
    let client = engine.client(&rt);
    let jobs = (0..JOBS).map(|_| KindJob::new(Work, "x".to_owned()));
    client.submit_all(jobs).wait().unwrap();
    let handlers = Handlers::new().on(Work, |_, text| async move { Ok::<_, BoxError>(text) });
    let worker = Worker::builder(&rt, Arc::new(engine.clone())).handlers(handlers);
    let worker = worker.concurrency(JOBS).start();
    eventually("it asks again", || engine.fetches.get() >= 2);
    assert_eq!(engine.asked.lock().unwrap()[..2], [JOBS; 2]);
    drop(worker);
}

/// A job that waits at a gate, and how often it ran.
fn gated(gate: &Gate) -> (Handlers, Counter) {
    let (gate, ran) = (gate.clone(), Counter::default());
    let count = ran.clone();
    let handlers = Handlers::new().on(Work, move |job, text: String| {
        count.add();
        job.message("half");
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok::<_, BoxError>(text)
        }
    });
    (handlers, ran)
}

fn a_callback_that_panics_ends_no_task_of_the_worker(rt: AnyRuntime) {
    let engine = Fussy::new(&rt);
    let client = engine.client(&rt);
    engine.deaf.store(true, Ordering::SeqCst);
    let (gate, told) = (Gate::default(), Counter::default());
    let (handlers, ran) = gated(&gate);
    let tell = told.clone();
    let worker = Worker::builder(&rt, Arc::new(engine.clone()))
        .handlers(handlers)
        .heartbeat(Duration::from_millis(5))
        .on_error(move |_| {
            tell.add();
            panic_quietly("the callback panics");
        })
        .start();
    let job = client.submit(Work, "kept".to_owned()).wait().unwrap();
    // The heartbeats go on.
    eventually("the callback has panicked", || told.get() >= 1);
    let beats = engine.beats.get();
    eventually("heartbeats go on", || engine.beats.get() >= beats + 3);
    // The verdict is kept.
    *engine.harm.lock().unwrap() = Some(EngineError::unavailable("for a moment"));
    gate.open();
    eventually("it is told more than once", || engine.harmed.get() >= 2);
    *engine.harm.lock().unwrap() = None;
    assert_eq!(run(&rt, job.output()).unwrap(), "kept");
    assert_eq!(ran.get(), 1);
    run(&rt, worker.drain(AGES));
}

fn an_engine_that_panics_ends_no_task_of_the_worker(rt: AnyRuntime) {
    let engine = Fussy::new(&rt);
    let client = engine.client(&rt);
    let requests = ["fetch", "heartbeat", "settle", "maintain"];
    engine.panics.lock().unwrap().extend(requests);
    let (gate, told) = (Gate::default(), Counter::default());
    let (handlers, ran) = gated(&gate);
    let tell = told.clone();
    let worker = Worker::builder(&rt, Arc::new(engine.clone()))
        .handlers(handlers)
        .heartbeat(Duration::from_millis(5))
        .on_error(move |error| {
            assert!(error.is_internal(), "{error}");
            tell.add();
        })
        .start();
    let job = client.submit(Work, "kept".to_owned()).wait().unwrap();
    eventually("only the verdict is left to panic", || {
        engine.panics.lock().unwrap().len() == 1
    });
    let (beats, maintained) = (engine.beats.get(), engine.maintained.get());
    eventually("all goes on", || {
        engine.beats.get() >= beats + 2 && engine.maintained.get() >= maintained + 2
    });
    gate.open();
    assert_eq!(run(&rt, job.output()).unwrap(), "kept");
    assert_eq!((ran.get(), told.get()), (1, requests.len()));
    run(&rt, worker.drain(AGES));
}

fn a_drain_that_is_dropped_at_once_drops_the_worker(rt: AnyRuntime) {
    let engine = Fussy::new(&rt);
    let (handlers, _) = gated(&Gate::default());
    let jobs = KindManager::builder(&rt)
        .engine(Arc::new(engine.clone()))
        .handlers(handlers)
        .build();
    let job = jobs.client().submit(Work, "given back".to_owned());
    let job = job.wait().unwrap();
    let state = || job.status().wait().unwrap().unwrap().state;
    eventually("it runs", || state() == JobState::Running);
    drop(jobs.drain(AGES));
    assert!(jobs.worker_status().is_none());
    eventually("it is given back", || state() == JobState::Queued);
}

/// An engine whose submissions block their threads at the gate, and a schedule's clock.
fn gated_submissions(rt: &AnyRuntime) -> (Fussy, Gate, ManualClock) {
    let gate = Gate::default();
    let engine = Fussy {
        gate: Some(gate.clone()),
        ..Fussy::new(rt)
    };
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    (engine, gate, clock)
}

/// Makes a schedule, whose first run is being submitted when this returns.
fn run_is_being_submitted(schedules: &KindSchedules, engine: &Fussy, clock: &ManualClock) {
    let minute = Duration::from_secs(60);
    let make = |_| KindJob::new(Work, String::new());
    // It goes on without its handle.
    let schedule = schedules.schedule("work", Schedule::every(minute), make);
    schedule.unwrap();
    clock.advance(minute);
    let [come, _ended] = &engine.submissions;
    eventually("a run is being submitted", || come.get() == 1);
}

/// The end of the schedules takes for ever, as long as the gate is closed.
#[test]
fn a_drain_waits_for_no_blocked_schedule_before_the_worker_stops() {
    let rt = any();
    let (engine, gate, clock) = gated_submissions(&rt);
    let (handlers, _) = gated(&Gate::default());
    let jobs = KindManager::builder(&rt)
        .engine(Arc::new(engine.clone()))
        .handlers(handlers)
        .clock(clock.clone())
        .longest_poll(AGES * 1000)
        .build();
    // Not through the gate.
    let client = JobClient::new(&rt, Arc::new(engine.inner.clone()));
    let job = client.submit(Work, "given back".to_owned());
    let job = job.wait().unwrap();
    let state = || job.status().wait().unwrap().unwrap().state;
    eventually("it runs", || state() == JobState::Running);
    run_is_being_submitted(jobs.schedules(), &engine, &clock);
    let [come, ended] = &engine.submissions;
    let drain = rt.spawn(jobs.drain(Duration::ZERO));
    eventually("it is given back", || state() == JobState::Queued);
    assert_eq!(ended.get(), 0);
    gate.open();
    run(&rt, drain).unwrap();
    assert_eq!((come.get(), ended.get()), (1, 1));
}

/// The schedules are closed on one thread while another one is about to submit a run.
#[test]
fn no_run_is_submitted_once_its_schedules_are_closed() {
    let rt = any();
    let (engine, gate, clock) = gated_submissions(&rt);
    let schedules = KindSchedules::with_clock(&engine.client(&rt), clock.clone());
    run_is_being_submitted(&schedules, &engine, &clock);
    let [come, ended] = &engine.submissions;
    let mut close = Box::pin(schedules.close().into_future());
    for _ in 0..50 {
        assert!(run(&rt, poll_once(close.as_mut())).is_pending());
        std::thread::sleep(Duration::from_millis(1));
    }
    gate.open();
    run(&rt, close);
    assert_eq!((come.get(), ended.get()), (1, 1));
}

//! Jobs of named kinds from their submission to their end, on each runtime.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use fourway_core::{AnyRuntime, BlockOn, Call, Spawner, Timer};
use fourway_jobs::ManualClock;
use fourway_jobs_engine::{
    AttemptEnd, BoxError, CancelAnswer, Engine, Fetch, Filter, GiveUp, Handlers, JobClient,
    JobKind, JobState, KindContext, KindJob, KindManager, KindSchedule, KindSchedules,
    MemoryEngine, Missed, Occurrence, OutputError, Overlap, Record, Retry, Schedule, Settled,
    Verdict, Worker,
};
use fourway_testing::{Counter, Gate, eventually, panic_quietly, run};

fourway_testing::on_every_runtime!(erased
    both_kinds_of_handlers_give_their_output
    an_attempt_that_failed_is_followed_by_another
    a_panic_is_an_error_of_its_job_alone
    who_gives_up_is_dead_at_once
    what_waits_never_runs_once_it_is_cancelled
    what_runs_hears_that_it_is_cancelled
    a_future_that_panics_as_it_is_dropped_has_ended
    a_payload_that_panics_as_it_is_dropped_ends_its_attempt
    an_attempt_that_takes_too_long_is_ended
    who_gives_up_too_late_is_dead_at_once
    a_unique_key_is_taken_once
    a_newer_version_is_left_for_newer_workers
    a_drain_gives_back_what_does_not_end
    a_late_verdict_changes_nothing
    progress_is_seen_by_others
    a_worker_that_is_dropped_gives_its_jobs_back
    a_manager_of_kinds_is_client_and_worker
    services_that_share_an_engine_submit_each_run_once
    schedules_of_a_client_are_run_by_others
    a_schedule_that_looks_back_makes_up_for_what_was_not_submitted
    a_schedule_that_looks_back_and_skips_loses_no_run
    a_run_is_skipped_while_the_one_before_runs_elsewhere
    jobs_with_keys_of_their_own_are_skipped_where_they_come_from
    a_run_that_no_engine_can_take_is_not_tried_again
);

macro_rules! kind {
    ($name:ident($args:ty) -> $output:ty $(, $($more:tt)*)?) => {
        struct $name;

        impl JobKind for $name {
            const NAME: &'static str = stringify!($name);
            type Args = $args;
            type Output = $output;
            fn retry() -> Retry {
                Retry::attempts(3).pause(Duration::ZERO)
            }
            $($($more)*)?
        }
    };
}

kind!(Greet(String) -> String);
kind!(Sum(Vec<u64>) -> u64);
kind!(Work(()) -> ());

fn engine(rt: &AnyRuntime) -> (Arc<MemoryEngine>, JobClient) {
    let engine = Arc::new(MemoryEngine::new(rt));
    (engine.clone(), JobClient::new(rt, engine))
}

fn worker(rt: &AnyRuntime, engine: &Arc<MemoryEngine>, handlers: Handlers) -> Worker {
    Worker::builder(rt, engine.clone())
        .handlers(handlers)
        .heartbeat(Duration::from_millis(5))
        .start()
}

fn ended(rt: &AnyRuntime, client: &JobClient, id: fourway_jobs_engine::JobId) -> Record {
    run(rt, client.wait(id)).unwrap().unwrap()
}

fn both_kinds_of_handlers_give_their_output(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let handlers = Handlers::new()
        .on(Greet, |job: KindContext, name| async move {
            assert_eq!(KindContext::current().unwrap().id(), job.id());
            Ok::<_, BoxError>(format!("hello, {name}"))
        })
        .on_blocking(Sum, |job, numbers: Vec<u64>| {
            assert_eq!(KindContext::current().unwrap().id(), job.id());
            job.check()?;
            Ok::<_, BoxError>(numbers.iter().sum())
        });
    let worker = worker(&rt, &engine, handlers);

    // From sync code, and from async code.
    let greeting = client.submit(Greet, "you".to_owned()).wait().unwrap();
    assert_eq!(greeting.output().wait().unwrap(), "hello, you");
    let sum = run(&rt, async {
        let job = client.submit(Sum, vec![1, 2, 3]).await.unwrap();
        job.output().await.unwrap()
    });
    assert_eq!(sum, 6);

    let jobs = client.submit_all((0..100).map(|n| KindJob::new(Sum, vec![n, 1])));
    for (n, job) in jobs.wait().unwrap().into_iter().enumerate() {
        assert_eq!(run(&rt, job.output()).unwrap(), n as u64 + 1);
    }
    let counts = client.counts().wait().unwrap();
    assert_eq!((counts.completed, counts.total()), (102, 102));
    let report = worker.drain(fourway_testing::AGES).wait();
    assert!(report.left.is_empty() && report.released.is_empty());
}

fn an_attempt_that_failed_is_followed_by_another(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let handlers = Handlers::new().on(Greet, |job, name| async move {
        if job.attempt() < 3 {
            return Err(format!("not yet, {name}"));
        }
        Ok(format!(
            "attempt {} of {}",
            job.attempt(),
            job.max_attempts()
        ))
    });
    let _worker = worker(&rt, &engine, handlers);
    let job = client.submit(Greet, "you".to_owned()).wait().unwrap();
    assert_eq!(run(&rt, job.output()).unwrap(), "attempt 3 of 3");
    let record = ended(&rt, &client, job.id());
    let ends: Vec<_> = record.attempts.iter().map(|one| one.end.unwrap()).collect();
    use AttemptEnd::{Completed, Failed};
    assert_eq!(ends, [Failed, Failed, Completed]);
    assert_eq!(record.attempts[0].error.as_deref(), Some("not yet, you"));

    // And no more often than its kind says.
    let job = KindJob::new(Greet, "you".to_owned()).max_attempts(2);
    let job = client.submit_job(job).wait().unwrap();
    let error = run(&rt, job.output()).unwrap_err();
    let OutputError::Job(record) = &error else {
        panic!("{error}");
    };
    assert_eq!(
        (record.state, record.attempt, record.dead),
        (JobState::Failed, 2, false)
    );
    assert!(
        error.to_string().ends_with("is failed: not yet, you"),
        "{error}"
    );
}

fn a_panic_is_an_error_of_its_job_alone(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let handlers = Handlers::new()
        .on(Greet, |_, name: String| async move {
            if name.is_empty() {
                panic_quietly("nobody");
            }
            Ok::<_, BoxError>(name)
        })
        .on_blocking(Sum, |_, _| -> Result<u64, BoxError> {
            panic_quietly("no numbers")
        });
    let _worker = worker(&rt, &engine, handlers);
    let bad = client.submit(Greet, String::new()).wait().unwrap();
    let worse = client.submit(Sum, vec![]).wait().unwrap();
    let good = client.submit(Greet, "you".to_owned()).wait().unwrap();
    assert_eq!(run(&rt, good.output()).unwrap(), "you");
    let record = ended(&rt, &client, bad.id());
    assert_eq!(record.error.as_deref(), Some("panicked: nobody"));
    assert_eq!((record.state, record.attempt), (JobState::Failed, 3));
    let record = ended(&rt, &client, worse.id());
    assert_eq!(record.error.as_deref(), Some("panicked: no numbers"));
}

fn who_gives_up_is_dead_at_once(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let handlers = Handlers::new()
        .on_blocking(Sum, |_, _| {
            Err::<u64, BoxError>(GiveUp::new("never").into())
        })
        .on(Work, |_, ()| async { Ok::<_, BoxError>(()) });
    let _worker = worker(&rt, &engine, handlers);
    let job = client.submit(Sum, vec![]).wait().unwrap();
    let record = ended(&rt, &client, job.id());
    assert!(record.dead);
    assert_eq!(
        (record.attempt, record.error.as_deref()),
        (1, Some("never"))
    );

    // So is a job that cannot be read.
    let mut job = fourway_jobs_engine::NewJob::new(Work::NAME, 1, *b"nonsense");
    job.max_attempts = 3;
    let id = run(&rt, engine.submit(vec![job])).unwrap()[0].id();
    let record = ended(&rt, &client, id);
    assert!(record.dead && record.error.unwrap().contains("cannot be read"));
}

fn what_waits_never_runs_once_it_is_cancelled(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let queued = client.submit(Work, ()).wait().unwrap();
    let later = KindJob::new(Work, ()).delay(Duration::from_secs(3600));
    let later = client.submit_job(later).wait().unwrap();
    assert_eq!(
        later.status().wait().unwrap().unwrap().state,
        JobState::Scheduled
    );
    for job in [&queued, &later] {
        assert_eq!(job.cancel().wait().unwrap(), CancelAnswer::Dequeued);
        assert_eq!(job.cancel().wait().unwrap(), CancelAnswer::TooLate);
    }
    let ran = Arc::new(AtomicU32::new(0));
    let count = ran.clone();
    let handlers = Handlers::new().on_blocking(Work, move |_, ()| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok::<_, BoxError>(())
    });
    let _worker = worker(&rt, &engine, handlers);
    let last = client.submit(Work, ()).wait().unwrap();
    run(&rt, last.output()).unwrap();
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    let unknown = fourway_jobs_engine::next_id();
    assert_eq!(
        client.cancel(unknown).wait().unwrap(),
        CancelAnswer::Unknown
    );
}

fn what_runs_hears_that_it_is_cancelled(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let handlers = Handlers::new()
        .on(Work, |_, ()| std::future::pending::<Result<(), BoxError>>())
        .on_blocking(Sum, |job, _| {
            loop {
                job.token().sleep(Duration::from_millis(1))?;
            }
            #[allow(unreachable_code, reason = "it says the type of the error")]
            Ok::<_, BoxError>(1)
        });
    let _worker = worker(&rt, &engine, handlers);
    let future = client.submit(Work, ()).wait().unwrap();
    let closure = client.submit(Sum, vec![]).wait().unwrap();
    for (id, job) in [
        (future.id(), future.cancel()),
        (closure.id(), closure.cancel()),
    ] {
        eventually("it runs", || {
            client.status(id).wait().unwrap().unwrap().state == JobState::Running
        });
        assert_eq!(job.wait().unwrap(), CancelAnswer::Requested);
        let record = ended(&rt, &client, id);
        assert_eq!(record.state, JobState::Cancelled);
        assert_eq!(record.attempts[0].end, Some(AttemptEnd::Cancelled));
    }
}

/// Held by a future, which is dropped when its job is cancelled.
struct Panics;

impl Drop for Panics {
    fn drop(&mut self) {
        panic_quietly("a destructor panicked");
    }
}

fn a_future_that_panics_as_it_is_dropped_has_ended(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let handlers = Handlers::new().on(Work, |_, ()| async {
        let _panics = Panics;
        std::future::pending::<Result<(), BoxError>>().await
    });
    // The lease does not run out meanwhile.
    let _worker = Worker::builder(&rt, engine.clone())
        .handlers(handlers)
        .lease(Duration::from_secs(3600))
        .heartbeat(Duration::from_millis(5))
        .start();
    let job = client.submit(Work, ()).wait().unwrap();
    eventually("it runs", || {
        job.status().wait().unwrap().unwrap().state == JobState::Running
    });
    assert_eq!(job.cancel().wait().unwrap(), CancelAnswer::Requested);
    assert_eq!(ended(&rt, &client, job.id()).state, JobState::Cancelled);
    // With a timeout it has failed in time, and is tried again.
    let told = (0..12).any(|round| {
        let slow = KindJob::new(Work, ()).timeout(Duration::from_millis(1 << round));
        let slow = client.submit_job(slow.max_attempts(2)).wait().unwrap();
        let record = ended(&rt, &client, slow.id());
        assert_eq!((record.state, record.attempt), (JobState::TimedOut, 2));
        let error = record.error.unwrap();
        let told = error.contains("a destructor panicked");
        // On a slow machine the time has passed before the future begins.
        assert!(told || error == "it took too long", "{error}");
        told
    });
    assert!(told, "no time was long enough");
}

fn a_payload_that_panics_as_it_is_dropped_ends_its_attempt(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let handlers = Handlers::new()
        .on(Work, |_, ()| async {
            std::panic::resume_unwind(Box::new(Panics));
            #[allow(unreachable_code, reason = "it says the type of the error")]
            Ok::<_, BoxError>(())
        })
        .on_blocking(Sum, |_, _| -> Result<u64, BoxError> {
            std::panic::resume_unwind(Box::new(Panics))
        });
    // The lease does not run out meanwhile.
    let worker = Worker::builder(&rt, engine.clone())
        .handlers(handlers)
        .lease(Duration::from_secs(3600))
        .start();
    let future = client.submit(Work, ()).wait().unwrap();
    let closure = client.submit(Sum, vec![]).wait().unwrap();
    for id in [future.id(), closure.id()] {
        let record = ended(&rt, &client, id);
        assert_eq!((record.state, record.attempt), (JobState::Failed, 3));
        let error = record.error.unwrap();
        assert!(error.starts_with("panicked: "), "{error}");
    }
    eventually("no job keeps its place", || {
        worker.status().running.is_empty()
    });
}

fn an_attempt_that_takes_too_long_is_ended(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let handlers = Handlers::new().on(Work, |_, ()| std::future::pending::<Result<(), BoxError>>());
    let _worker = worker(&rt, &engine, handlers);
    let job = KindJob::new(Work, ())
        .timeout(Duration::from_millis(2))
        .max_attempts(2);
    let job = client.submit_job(job).wait().unwrap();
    let record = ended(&rt, &client, job.id());
    assert_eq!((record.state, record.attempt), (JobState::TimedOut, 2));
}

fn who_gives_up_too_late_is_dead_at_once(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let handlers = Handlers::new().on_blocking(Sum, |job, _| {
        let late = loop {
            if let Err(late) = job.token().sleep(Duration::from_millis(1)) {
                break late;
            }
        };
        Err::<u64, BoxError>(GiveUp::new(late).into())
    });
    let _worker = worker(&rt, &engine, handlers);
    let at_once = (0..12).any(|round| {
        let job = KindJob::new(Sum, vec![]).timeout(Duration::from_millis(2 << round));
        let job = client.submit_job(job.max_attempts(3)).wait().unwrap();
        let record = ended(&rt, &client, job.id());
        if record.attempts[0].end == Some(AttemptEnd::TimedOut) {
            // On a slow machine the time has passed before the closure begins.
            return false;
        }
        assert!(record.dead);
        assert_eq!((record.state, record.attempt), (JobState::Failed, 1));
        true
    });
    assert!(at_once, "no time was long enough");
}

fn a_unique_key_is_taken_once(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let submit = || {
        let job = KindJob::new(Work, ()).unique("nightly");
        client.submit_job(job).wait().unwrap()
    };
    let (first, second) = (submit(), submit());
    assert!(first.is_new() && !second.is_new());
    assert_eq!(first.id(), second.id());
    let handlers = Handlers::new().on(Work, |_, ()| async { Ok::<_, BoxError>(()) });
    let _worker = worker(&rt, &engine, handlers);
    run(&rt, second.output()).unwrap();
    assert!(submit().is_new());
}

fn a_newer_version_is_left_for_newer_workers(rt: AnyRuntime) {
    struct New;
    impl JobKind for New {
        const NAME: &'static str = "Greet";
        const VERSION: u32 = 2;
        type Args = (String, bool);
        type Output = String;
        fn upgrade(version: u32, args: serde_json::Value) -> Result<(String, bool), BoxError> {
            assert_eq!(version, 1);
            Ok((serde_json::from_value(args)?, true))
        }
    }
    let (engine, client) = engine(&rt);
    let handlers = Handlers::new().on(Greet, |_, name| async move {
        Ok::<_, BoxError>(format!("old {name}"))
    });
    let old = worker(&rt, &engine, handlers);
    let new = client.submit(New, ("a".to_owned(), false)).wait().unwrap();
    let known = client.submit(Greet, "b".to_owned()).wait().unwrap();
    assert_eq!(run(&rt, known.output()).unwrap(), "old b");
    assert_eq!(
        new.status().wait().unwrap().unwrap().state,
        JobState::Queued
    );
    old.drain(fourway_testing::AGES).wait();

    let before = client.submit(Greet, "c".to_owned()).wait().unwrap();
    let handlers = Handlers::new().on(New, |_, (name, upgraded)| async move {
        Ok::<_, BoxError>(format!("new {name} {upgraded}"))
    });
    let _new = worker(&rt, &engine, handlers);
    assert_eq!(run(&rt, new.output()).unwrap(), "new a false");
    assert_eq!(run(&rt, before.output()).unwrap(), "new c true");
}

fn a_drain_gives_back_what_does_not_end(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let gate = Gate::default();
    let closed = gate.clone();
    let handlers = Handlers::new()
        .on(Work, |_, ()| std::future::pending::<Result<(), BoxError>>())
        .on_blocking(Sum, move |_, _| {
            closed.wait();
            Ok::<_, BoxError>(1)
        });
    let builder = Worker::builder(&rt, engine.clone()).handlers(handlers);
    // The whole time passes, as the closure does not end; a busy machine drops the future within
    // it.
    let worker = builder.grace(Duration::from_secs(2)).start();
    let future = client.submit(Work, ()).wait().unwrap();
    let closure = client.submit(Sum, vec![]).wait().unwrap();
    eventually("both run", || worker.status().running.len() == 2);
    let report = worker.drain(Duration::from_millis(5)).wait();
    assert_eq!(report.released, [future.id()]);
    assert_eq!(report.left, [closure.id()]);
    let record = future.status().wait().unwrap().unwrap();
    assert_eq!((record.state, record.attempt), (JobState::Queued, 0));
    gate.open();
    assert_eq!(run(&rt, closure.output()).unwrap(), 1);
}

fn a_late_verdict_changes_nothing(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let job = client.submit(Work, ()).wait().unwrap();
    let kinds = vec![(Work::NAME.to_owned(), 1)];
    let fetch = |lease| {
        let fetch = Fetch::new("w", kinds.clone())
            .lease(lease)
            .patience(fourway_testing::AGES);
        run(&rt, engine.fetch(fetch)).unwrap().remove(0)
    };
    // The lease of the first worker runs out, and another one gets the job.
    let soon = Duration::from_millis(1);
    let (late, now) = (fetch(soon), fetch(soon));
    assert_eq!(late.lease.id, now.lease.id);
    let settle = |lease, output: &str| {
        let verdict = Verdict::Complete(output.into());
        run(&rt, engine.settle(vec![(lease, verdict)])).unwrap()[0]
    };
    assert_eq!(settle(late.lease, "late"), Settled::Lost);
    let third = fetch(fourway_testing::AGES);
    assert_eq!(settle(third.lease, "null"), Settled::Recorded);
    assert_eq!(settle(third.lease, "null"), Settled::Recorded);
    assert_eq!(settle(now.lease, "late"), Settled::Lost);
    run(&rt, job.output()).unwrap();
    let record = ended(&rt, &client, job.id());
    assert_eq!(record.attempts[0].end, Some(AttemptEnd::Lost));
    let page = client
        .list(Filter::new().state(JobState::Completed))
        .wait()
        .unwrap();
    assert_eq!((page.jobs, page.next), (vec![record], None));
}

fn progress_is_seen_by_others(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let gate = Gate::default();
    let closed = gate.clone();
    let handlers = Handlers::new().on_blocking(Work, move |job, ()| {
        job.progress(0.5);
        job.progress(f64::NAN);
        job.message("halfway");
        job.count("lines", 3);
        closed.wait();
        Ok::<_, BoxError>(())
    });
    let _worker = worker(&rt, &engine, handlers);
    let job = client.submit(Work, ()).wait().unwrap();
    eventually("it is seen", || {
        let progress = job.status().wait().unwrap().unwrap().progress;
        progress.is_some_and(|told| told.fraction == Some(0.5) && told.counters["lines"] == 3)
    });
    gate.open();
    run(&rt, job.output()).unwrap();
}

fn a_worker_that_is_dropped_gives_its_jobs_back(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let handlers = Handlers::new().on(Work, |_, ()| std::future::pending::<Result<(), BoxError>>());
    let first = worker(&rt, &engine, handlers);
    let job = client.submit(Work, ()).wait().unwrap();
    eventually("it runs", || first.status().running == [job.id()]);
    drop(first);
    let handlers = Handlers::new().on(Work, |_, ()| async { Ok::<_, BoxError>(()) });
    let _second = worker(&rt, &engine, handlers);
    run(&rt, job.output()).unwrap();
    // And no task of the runtime delays other tasks.
    let rest = rt.spawn({
        let rt = rt.clone();
        async move { rt.sleep(Duration::ZERO).await }
    });
    rt.block_on(rest).unwrap();
}

/// The same code with its own engine and with a shared engine.
fn a_manager_of_kinds_is_client_and_worker(rt: AnyRuntime) {
    let rt = &rt;
    let (engine, client) = engine(rt);
    for given in [None, Some(engine)] {
        let is_given = given.is_some();
        let mut jobs = KindManager::builder(rt)
            .on(Greet, |_, name| async move {
                Ok::<_, BoxError>(format!("hello, {name}"))
            })
            .on_blocking(Sum, |_, numbers| Ok::<_, BoxError>(numbers.iter().sum()))
            .concurrency(2);
        if let Some(engine) = given {
            jobs = jobs.engine(engine);
        }
        let jobs = jobs.build();
        let greeted = jobs.submit(Greet, "you".to_owned()).wait().unwrap();
        let sum = jobs
            .submit_job(KindJob::new(Sum, vec![1, 2, 3]).priority(1))
            .wait()
            .unwrap();
        assert_eq!(greeted.output().wait().unwrap(), "hello, you");
        let ended = jobs.wait(sum.id()).wait().unwrap().unwrap();
        assert_eq!(ended.state, JobState::Completed);
        assert_eq!(jobs.result(Sum, sum.id()).wait().unwrap(), 6);
        assert_eq!(jobs.counts().wait().unwrap().completed, 2);
        assert_eq!(jobs.list(Filter::new()).wait().unwrap().jobs.len(), 2);
        assert_eq!(jobs.cancel(sum.id()).wait().unwrap(), CancelAnswer::TooLate);

        jobs.drain(Duration::from_secs(60)).wait();
        assert!(jobs.worker_status().is_none());
        assert_eq!(jobs.drain(Duration::ZERO).wait(), Default::default());
        // Jobs submitted now are there for other managers.
        let waits = jobs.submit(Greet, "later".to_owned()).wait().unwrap();
        let status = jobs.status(waits.id()).wait().unwrap().unwrap();
        assert_eq!(status.state, JobState::Queued);
        assert_eq!(
            client.status(waits.id()).wait().unwrap().is_some(),
            is_given
        );
    }
}

// ---------------------------------------------------------------------------
// Schedules

kind!(Tick(u64) -> ());

/// A minute after which a schedule by the minute has its first run.
fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_040)
}

const MINUTE: Duration = Duration::from_secs(60);

/// A service with that engine and clock, which counts what it runs.
fn service(
    rt: &AnyRuntime,
    engine: &Arc<MemoryEngine>,
    clock: &ManualClock,
    ran: &Counter,
) -> KindManager {
    let ran = ran.clone();
    KindManager::builder(rt)
        .engine(engine.clone())
        .clock(clock.clone())
        .on(Tick, move |_, _| {
            ran.add();
            async { Ok::<_, BoxError>(()) }
        })
        .build()
}

fn by_the_minute() -> Schedule {
    Schedule::cron("* * * * *", "UTC").unwrap()
}

/// The time of a run, in its arguments.
fn tick(run: Occurrence) -> KindJob<Tick> {
    let at = run.at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    KindJob::new(Tick, at.as_secs())
}

fn services_that_share_an_engine_submit_each_run_once(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let (clock, ran) = (ManualClock::new(noon()), Counter::default());
    let services = [(); 3].map(|()| service(&rt, &engine, &clock, &ran));
    let schedules = services
        .each_ref()
        .map(|service| service.schedule("tick", by_the_minute(), tick).unwrap());
    let again = services[0].schedule("tick", by_the_minute(), tick);
    assert!(again.unwrap_err().is_name_taken());
    for minute in 1..=3 {
        clock.advance(MINUTE);
        let at = noon() + minute * MINUTE;
        for schedule in &schedules {
            eventually("each service has told the engine", || {
                let status = schedule.status();
                status.last == Some((at, schedule.run(at))) && status.pending == 0
            });
        }
        let job = ended(&rt, &client, schedules[0].run(at));
        assert_eq!(job.state, JobState::Completed);
        assert_eq!(job.headers["schedule"], "tick");
    }
    for (service, schedule) in services.iter().zip(&schedules) {
        let status = schedule.status();
        assert_eq!((status.started, status.error), (3, None));
        run(&rt, service.drain(fourway_testing::AGES));
        let late = service.schedule("late", by_the_minute(), tick);
        assert!(late.unwrap_err().is_closed());
    }
    assert_eq!(ran.get(), 3);
    assert_eq!(run(&rt, client.counts()).unwrap().total(), 3);
}

fn schedules_of_a_client_are_run_by_others(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let (clock, ran) = (ManualClock::new(noon()), Counter::default());
    let schedules = KindSchedules::with_clock(&client, clock.clone());
    let schedule = schedules.schedule("tick", by_the_minute(), tick).unwrap();
    clock.advance(MINUTE);
    let first = noon() + MINUTE;
    eventually("the run is submitted", || {
        let status = schedule.status();
        status.last == Some((first, schedule.run(first))) && status.pending == 0
    });
    let elsewhere = service(&rt, &engine, &clock, &ran);
    let job = ended(&rt, &client, schedule.run(first));
    assert_eq!(job.state, JobState::Completed);

    run(&rt, schedules.close());
    clock.advance(MINUTE);
    let late = schedules.schedule("late", by_the_minute(), tick);
    assert!(late.unwrap_err().is_closed());
    run(&rt, elsewhere.drain(fourway_testing::AGES));
    assert_eq!((ran.get(), schedule.status().started), (1, 1));
}

fn a_schedule_that_looks_back_makes_up_for_what_was_not_submitted(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let (clock, ran) = (ManualClock::new(noon()), Counter::default());
    let looks_back = || {
        by_the_minute()
            .since(noon())
            .missed(Missed::Each { at_most: 100 })
            .overlap(Overlap::Wait)
    };
    let settled = |schedule: &KindSchedule, at| {
        eventually("it has caught up", || {
            let status = schedule.status();
            status.last.is_some_and(|last| last.0 == at) && status.pending == 0
        });
    };
    // Two runs; for three more there is no service.
    let before = service(&rt, &engine, &clock, &ran);
    let schedule = before.schedule("tick", looks_back(), tick).unwrap();
    for minute in 1..=2 {
        clock.advance(MINUTE);
        settled(&schedule, noon() + minute * MINUTE);
    }
    drop((before, schedule));
    clock.advance(3 * MINUTE);

    let after = service(&rt, &engine, &clock, &ran);
    // All five came; the engine knew two of them.
    let runs = Arc::new(Mutex::new(Vec::new()));
    let seen = runs.clone();
    let make = move |run: Occurrence| {
        seen.lock().unwrap().push(run.at);
        tick(run)
    };
    let schedule = after
        .schedule("tick", looks_back().overlap(Overlap::Allow), make)
        .unwrap();
    settled(&schedule, noon() + 5 * MINUTE);
    for minute in 1..=5 {
        let at = noon() + minute * MINUTE;
        assert_eq!(runs.lock().unwrap()[minute as usize - 1], at);
        ended(&rt, &client, schedule.run(at));
    }
    assert_eq!(ran.get(), 5);
}

fn a_schedule_that_looks_back_and_skips_loses_no_run(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let (clock, ran) = (ManualClock::new(noon()), Counter::default());
    let looks_back = || by_the_minute().since(noon());
    let before = service(&rt, &engine, &clock, &ran);
    let schedule = before.schedule("tick", looks_back(), tick).unwrap();
    clock.advance(MINUTE);
    eventually("the first run has ended", || {
        let job = run(&rt, client.status(schedule.run(noon() + MINUTE))).unwrap();
        job.is_some_and(|job| job.state == JobState::Completed)
    });
    drop((before, schedule));
    // There is no service when the next run is due.
    clock.advance(MINUTE + Duration::from_secs(1));
    let after = service(&rt, &engine, &clock, &ran);
    let schedule = after.schedule("tick", looks_back(), tick).unwrap();
    let second = noon() + 2 * MINUTE;
    eventually("it has caught up", || {
        let status = schedule.status();
        status.last.is_some_and(|last| last.0 == second) && status.pending == 0
    });
    let job = ended(&rt, &client, schedule.run(second));
    assert_eq!(job.state, JobState::Completed);
    let status = schedule.status();
    assert_eq!((status.started, status.overlapped, ran.get()), (2, 0, 2));
}

fn jobs_with_keys_of_their_own_are_skipped_where_they_come_from(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let clock = ManualClock::new(noon());
    // Without a handler: no run ends.
    let here = KindManager::builder(&rt)
        .engine(engine)
        .clock(clock.clone())
        .build();
    let keyed = |run: Occurrence| tick(run).unique(format!("{:?}", run.at));
    let schedule = here.schedule("tick", by_the_minute(), keyed).unwrap();
    clock.advance(MINUTE);
    let first = schedule.run(noon() + MINUTE);
    eventually("it is submitted", || {
        run(&rt, client.status(first)).unwrap().is_some()
    });
    clock.advance(MINUTE);
    eventually("the second is skipped", || {
        schedule.status().overlapped == 1 && schedule.status().pending == 1
    });
    let second = schedule.run(noon() + 2 * MINUTE);
    assert!(run(&rt, client.status(second)).unwrap().is_none());
    run(&rt, client.cancel(first)).unwrap();
    eventually("the first has ended", || schedule.status().pending == 0);
    clock.advance(MINUTE);
    let third = schedule.run(noon() + 3 * MINUTE);
    eventually("the third is submitted", || {
        run(&rt, client.status(third)).unwrap().is_some()
    });
}

// JSON has no such keys.
kind!(Odd(BTreeMap<Vec<u8>, u8>) -> ());

fn a_run_that_no_engine_can_take_is_not_tried_again(rt: AnyRuntime) {
    let clock = ManualClock::new(noon());
    let here = KindManager::builder(&rt).clock(clock.clone()).build();
    let odd = |_| KindJob::new(Odd, BTreeMap::from([(vec![0], 0)]));
    let schedule = here.schedule("odd", by_the_minute(), odd).unwrap();
    clock.advance(MINUTE);
    eventually("it has ended", || {
        let status = schedule.status();
        status.last.is_some() && status.pending == 0
    });
    assert!(schedule.status().error.is_some());
}

fn a_run_is_skipped_while_the_one_before_runs_elsewhere(rt: AnyRuntime) {
    let (engine, client) = engine(&rt);
    let (clock, gate) = (ManualClock::new(noon()), Gate::default());
    let held = gate.clone();
    let elsewhere = KindManager::builder(&rt)
        .engine(engine.clone())
        .clock(clock.clone())
        .on_blocking(Tick, move |_, _| {
            held.wait();
            Ok::<_, BoxError>(())
        })
        .build();
    let theirs = elsewhere.schedule("tick", by_the_minute(), tick).unwrap();
    clock.advance(MINUTE);
    let first = theirs.run(noon() + MINUTE);
    // The run must have begun. If it were only submitted, the worker of the other service would
    // run it to its end.
    eventually("it runs", || {
        let job = run(&rt, client.status(first)).unwrap();
        job.is_some_and(|job| job.state == JobState::Running)
    });
    // This one has not heard of it.
    let here = service(&rt, &engine, &clock, &Counter::default());
    let mine = here.schedule("tick", by_the_minute(), tick).unwrap();
    clock.advance(MINUTE);
    eventually("both skip", || {
        mine.status().overlapped == 1 && theirs.status().overlapped == 1
    });
    gate.open();
    assert_eq!(ended(&rt, &client, first).state, JobState::Completed);
    let second = mine.run(noon() + 2 * MINUTE);
    assert!(run(&rt, client.status(second)).unwrap().is_none());
}

//! Servers that end, stand still and die, and workers that come late.

mod places;

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use fourway_core::{AnyRuntime, Call, Timer};
use fourway_jobs_acceptance::works_on;
use fourway_jobs_engine::{
    Beat, BoxError, Engine, EngineError, EngineFuture, Fetch, Handlers, Held, JobId, JobKind,
    JobState, KindJob, Leased, NewJob, Record, Settled, Submitted, UniqueKey, Verdict, Worker,
};
use fourway_jobs_nats::NatsEngine;
use fourway_servers::{Nats, NatsCluster, nats_url, or_not_run};
use fourway_testing::{any, eventually, run};
use places::Names;

struct Count;

impl JobKind for Count {
    const NAME: &'static str = "count";
    type Args = u32;
    type Output = u32;
}

/// The external effects of jobs, under their ids.
#[derive(Clone, Default)]
struct Effects(Arc<Mutex<HashMap<JobId, u32>>>);

impl Effects {
    fn handlers(&self) -> Handlers {
        let effects = self.clone();
        Handlers::new().on(Count, move |job, n| {
            let effects = effects.clone();
            async move {
                *effects.0.lock().unwrap().entry(job.id()).or_default() += 1;
                Ok::<_, BoxError>(n + 1)
            }
        })
    }
}

/// Repeats the request until it works: a client tries again, as workers do.
fn surely<T>(rt: &AnyRuntime, ask: impl Fn() -> EngineFuture<T>) -> T {
    let mut tries = 0;
    loop {
        match run(rt, ask()) {
            Ok(answer) => return answer,
            Err(error) => {
                assert!(error.is_unavailable() && tries < 50, "{error}");
                tries += 1;
            }
        }
    }
}

fn jobs(many: u32) -> Vec<NewJob> {
    let job = |n| KindJob::new(Count, n).into_new_job().unwrap();
    (0..many).map(job).collect()
}

/// Until the job has ended.
fn ended(rt: &AnyRuntime, engine: &Arc<dyn Engine>, id: JobId) -> Record {
    let mut tries = 0;
    loop {
        let job = surely(rt, || engine.wait(id, Duration::from_secs(5)));
        let job = job.expect("none is lost");
        if job.state.is_finished() {
            return job;
        }
        tries += 1;
        assert!(tries < 12, "it does not end: {job:?}");
    }
}

/// All have ended well, each is there once, and their results are their own.
fn all_ended(rt: &AnyRuntime, engine: &Arc<dyn Engine>, jobs: &[NewJob]) {
    for (n, job) in (0_u32..).zip(jobs) {
        let ended = ended(rt, engine, job.id);
        assert_eq!(ended.state, JobState::Completed, "{ended:?}");
        let output = surely(rt, || engine.result(job.id)).expect("it has completed");
        assert_eq!(output, (n + 1).to_string().into_bytes());
    }
    let counts = surely(rt, || engine.counts());
    let many = jobs.len() as u64;
    assert_eq!((counts.completed, counts.total()), (many, many));
}

fn one(rt: &AnyRuntime, engine: &Arc<dyn Engine>, lease: Duration) -> Leased {
    let fetch = Fetch::new("test", vec![("plain".to_owned(), 1)])
        .lease(lease)
        .patience(Duration::from_secs(50));
    let mut jobs = surely(rt, || engine.fetch(fetch.clone()));
    assert_eq!(jobs.len(), 1);
    jobs.remove(0)
}

#[test]
fn a_server_that_restarts_has_all() {
    let Some(mut server) = or_not_run(Nats::start()) else {
        return;
    };
    let rt = any();
    let engine = Names::on(server.url(), 1).keep().open_now(&rt);
    let mut waits = NewJob::new("plain", 1, *b"args");
    waits.delay = Duration::from_secs(3600);
    let (waits, held, done) = (
        waits,
        NewJob::new("plain", 1, *b"args"),
        NewJob::new("plain", 1, *b"args"),
    );
    run(
        &rt,
        engine.submit(vec![waits.clone(), held.clone(), done.clone()]),
    )
    .unwrap();
    let long = Duration::from_secs(600);
    let first = one(&rt, &engine, long);
    let second = one(&rt, &engine, long);
    assert_eq!((first.lease.id, second.lease.id), (held.id, done.id));
    let settled = run(
        &rt,
        engine.settle(vec![(second.lease, Verdict::Complete(b"out".to_vec()))]),
    );
    assert_eq!(settled.unwrap(), [Settled::Recorded]);

    server.stop().unwrap();
    let error = run(&rt, engine.status(held.id)).expect_err("nobody is there");
    assert!(error.is_unavailable(), "{error}");
    server.start_again().unwrap();

    // The same engine, which connects by itself.
    let of = |id| surely(&rt, || engine.status(id)).expect("it is known");
    assert_eq!(of(waits.id).state, JobState::Scheduled);
    assert_eq!(of(done.id).state, JobState::Completed);
    assert_eq!(
        surely(&rt, || engine.result(done.id)).as_deref(),
        Some(&b"out"[..])
    );
    assert_eq!(of(held.id).state, JobState::Running);
    let none = Fetch::new("test", vec![("plain".to_owned(), 1)]);
    assert!(
        surely(&rt, || engine.fetch(none.clone())).is_empty(),
        "it is held, and the other one waits"
    );
    let beat = || {
        let beat = Beat {
            lease: first.lease,
            progress: None,
        };
        engine.heartbeat(vec![beat], long)
    };
    assert_eq!(surely(&rt, beat), [Held::Yes], "the lease is still its own");
    let complete = || engine.settle(vec![(first.lease, Verdict::Complete(b"held".to_vec()))]);
    assert_eq!(surely(&rt, complete), [Settled::Recorded]);
}

#[test]
fn a_server_restarts_while_jobs_run() {
    let Some(mut server) = or_not_run(Nats::start()) else {
        return;
    };
    let rt = any();
    let effects = Effects::default();
    let engine = Names::on(server.url(), 1).keep().open_now(&rt);
    let jobs = jobs(300);
    run(&rt, engine.submit(jobs.clone())).unwrap();
    let worker = Worker::builder(&rt, engine.clone())
        .handlers(effects.handlers())
        .concurrency(2)
        .start();
    eventually("some have run", || worker.status().settled > 20);
    server.stop().unwrap();
    server.start_again().unwrap();
    all_ended(&rt, &engine, &jobs);
    assert_eq!(effects.0.lock().unwrap().len(), jobs.len());
}

#[test]
fn a_connection_that_stands_still_is_got_over() {
    let Some(mut server) = or_not_run(Nats::start()) else {
        return;
    };
    let rt = any();
    let engine = Names::on(server.url(), 1).keep().open_now(&rt);
    let before = NewJob::new("plain", 1, *b"before");
    run(&rt, engine.submit(vec![before.clone()])).unwrap();
    let job = one(&rt, &engine, Duration::from_secs(600));
    // Connections stay open without answers, for as long as requests wait.
    server.pause().unwrap();
    let meanwhile = NewJob::new("plain", 1, *b"meanwhile");
    let error = run(&rt, engine.submit(vec![meanwhile.clone()])).expect_err("nobody answers");
    assert!(error.is_unavailable(), "{error}");
    server.resume().unwrap();
    // It arrived after all, more than once, and is there once.
    surely(&rt, || engine.submit(vec![meanwhile.clone()]));
    let complete = || engine.settle(vec![(job.lease, Verdict::Complete(Vec::new()))]);
    assert_eq!(surely(&rt, complete), [Settled::Recorded]);
    let next = one(&rt, &engine, Duration::from_secs(600));
    assert_eq!(next.lease.id, meanwhile.id);
    let complete = || engine.settle(vec![(next.lease, Verdict::Complete(Vec::new()))]);
    assert_eq!(surely(&rt, complete), [Settled::Recorded]);
    let none = Fetch::new("test", vec![("plain".to_owned(), 1)]).patience(Duration::from_secs(1));
    assert!(surely(&rt, || engine.fetch(none.clone())).is_empty());
}

#[test]
fn one_of_three_servers_is_killed_while_jobs_run() {
    let Some(mut cluster) = or_not_run(NatsCluster::start()) else {
        return;
    };
    let rt = any();
    let effects = Effects::default();
    let names = Names::on(cluster.url(), 3).keep();
    let engine = names.open_now(&rt);
    assert!(
        engine
            .capabilities()
            .has(fourway_jobs_engine::Capability::Replicated)
    );
    let jobs = jobs(600);
    let workers: Vec<_> = (0..3)
        .map(|_| {
            Worker::builder(&rt, names.open_now(&rt))
                .handlers(effects.handlers())
                .concurrency(4)
                .lease(Duration::from_secs(10))
                .start()
        })
        .collect();
    let settled = || workers.iter().map(|one| one.status().settled).sum::<u64>();
    let (early, late) = jobs.split_at(300);
    surely(&rt, || engine.submit(early.to_vec()));
    eventually("some have run", || settled() > 50);
    // The server to which the client is connected first, and which leads some streams.
    cluster.servers[0].kill().unwrap();
    surely(&rt, || engine.submit(late.to_vec()));
    all_ended(&rt, &engine, &jobs);
    assert_eq!(effects.0.lock().unwrap().len(), jobs.len());

    // And it comes back while another server dies.
    cluster.servers[0].start_again().unwrap();
    let more = self::jobs(100);
    surely(&rt, || engine.submit(more.clone()));
    for job in &more {
        assert_eq!(ended(&rt, &engine, job.id).state, JobState::Completed);
    }
}

/// A server that leads a stream with replicas would take both of two concurrent writes.
#[test]
fn a_heartbeat_does_not_overwrite_a_verdict_on_three_servers() {
    let Some(cluster) = or_not_run(NatsCluster::start()) else {
        return;
    };
    let rt = any();
    let names = Names::on(cluster.url(), 3).keep();
    let engine = names.open_now(&rt);
    let jobs = jobs(200);
    surely(&rt, || engine.submit(jobs.clone()));
    let long = Duration::from_secs(600);
    let fetch = Fetch::new("test", vec![("count".to_owned(), 1)])
        .max(200)
        .lease(long);
    let held = surely(&rt, || engine.fetch(fetch.clone()));
    assert_eq!(held.len(), 200);
    let beat = |job: &Leased| Beat {
        lease: job.lease,
        progress: None,
    };
    let beats: Vec<_> = held.iter().map(beat).collect();
    let verdicts: Vec<_> = held
        .iter()
        .map(|job| (job.lease, Verdict::Complete(b"out".to_vec())))
        .collect();
    std::thread::scope(|threads| {
        threads.spawn(|| surely(&rt, || engine.heartbeat(beats.clone(), long)));
        threads.spawn(|| {
            let settled = surely(&rt, || engine.settle(verdicts.clone()));
            assert!(settled.iter().all(|one| *one == Settled::Recorded));
        });
    });
    for job in &jobs {
        let record = surely(&rt, || engine.status(job.id)).expect("it is known");
        assert_eq!(record.state, JobState::Completed, "{record:?}");
    }
}

#[test]
fn who_comes_late_changes_nothing_from_another_process_either() {
    let Some(url) = nats_url() else {
        return;
    };
    let rt = any();
    let names = Names::on(url, 1);
    let (engine, other) = (names.open_now(&rt), names.open_now(&rt));
    let job = NewJob::new("plain", 1, *b"");
    run(&rt, engine.submit(vec![job.clone()])).unwrap();
    let late = one(&rt, &engine, Duration::from_millis(50));
    let now = one(&rt, &other, Duration::from_secs(600));
    assert_eq!((now.lease.id, now.attempt), (job.id, 2));
    let settle = |engine: &Arc<dyn Engine>, lease, verdict| {
        run(&rt, engine.settle(vec![(lease, verdict)])).unwrap()[0]
    };
    // It believes that it holds the job, and has its record as it was.
    let complete = |text: &str| Verdict::Complete(text.into());
    assert_eq!(settle(&engine, late.lease, complete("late")), Settled::Lost);
    let beat = Beat {
        lease: late.lease,
        progress: None,
    };
    let held = run(&rt, engine.heartbeat(vec![beat], Duration::from_secs(600)));
    assert_eq!(held.unwrap(), [Held::Lost]);
    // Any process with the lease may send the verdict.
    assert_eq!(
        settle(&engine, now.lease, complete("in time")),
        Settled::Recorded
    );
    assert_eq!(settle(&other, late.lease, complete("late")), Settled::Lost);
    let output = run(&rt, other.result(job.id)).unwrap();
    assert_eq!(output.as_deref(), Some(&b"in time"[..]));
    assert_eq!(
        settle(&other, now.lease, complete("again")),
        Settled::Recorded
    );
    assert_eq!(run(&rt, engine.result(job.id)).unwrap(), output);
}

#[test]
fn of_many_submitters_one_has_the_key() {
    let Some(url) = nats_url() else {
        return;
    };
    let rt = any();
    let names = Names::on(url, 1);
    let engines: Vec<_> = (0..4).map(|_| names.open_now(&rt)).collect();
    for round in 0..10 {
        let submit = |engine: &Arc<dyn Engine>| {
            let mut job = NewJob::new("plain", 1, *b"");
            job.unique = Some(UniqueKey {
                key: format!("key {round}"),
                within: None,
            });
            run(&rt, engine.submit(vec![job])).unwrap()[0]
        };
        let submitted: Vec<Submitted> = std::thread::scope(|threads| {
            let all: Vec<_> = engines
                .iter()
                .map(|engine| threads.spawn(move || submit(engine)))
                .collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let new: Vec<_> = submitted.iter().filter(|one| one.is_new()).collect();
        assert_eq!(new.len(), 1, "{submitted:?}");
        assert!(submitted.iter().all(|one| one.id() == new[0].id()));
        // A process that learns of a job finds it.
        let found = run(&rt, engines[0].status(new[0].id())).unwrap();
        assert_eq!(found.expect("it is known").state, JobState::Queued);
    }
}

#[test]
fn many_wait_and_are_counted() {
    let Some(url) = nats_url() else {
        return;
    };
    let rt = any();
    let names = Names::on(url, 1);
    let engine = names.open_now(&rt);
    let jobs = jobs(10_000);
    run(&rt, engine.submit(jobs.clone())).unwrap();
    let counts = run(&rt, engine.counts()).unwrap();
    assert_eq!((counts.queued, counts.total()), (10_000, 10_000));
    let fetch = Fetch::new("test", vec![("count".to_owned(), 1)]).max(500);
    let fetched = run(&rt, engine.fetch(fetch)).unwrap();
    let fetched: Vec<_> = fetched.iter().map(|job| job.lease.id).collect();
    let first: Vec<_> = jobs[..500].iter().map(|job| job.id).collect();
    assert_eq!(fetched, first, "in their order");
    let counts = run(&rt, engine.counts()).unwrap();
    assert_eq!((counts.queued, counts.running), (9_500, 500));
}

#[test]
fn what_has_ended_leaves_no_trace() {
    let Some(url) = nats_url() else {
        return;
    };
    let rt = any();
    let names = Names::on(url, 1);
    let often = NatsEngine::builder(&rt, &*names.url)
        .prefix(&*names.prefix)
        .sweep_every(Duration::from_millis(100));
    let engine: Arc<dyn Engine> = Arc::new(often.open().wait().unwrap());
    let mut job = NewJob::new("plain", 1, *b"");
    job.keep = Duration::from_millis(1);
    job.unique = Some(UniqueKey {
        key: "key".to_owned(),
        // It is known for this period, even if `keep` is shorter.
        within: Some(Duration::from_millis(500)),
    });
    run(&rt, engine.submit(vec![job.clone()])).unwrap();
    let leased = one(&rt, &engine, Duration::from_secs(600));
    run(
        &rt,
        engine.settle(vec![(leased.lease, Verdict::Complete(Vec::new()))]),
    )
    .unwrap();
    // No client asks for it; a list does not show it, and the sweep frees its key.
    let mut next = job.clone();
    next.id = fourway_jobs_engine::next_id();
    eventually("its key is free", || {
        run(&rt, engine.maintain()).unwrap();
        run(&rt, engine.submit(vec![next.clone()])).unwrap()[0].is_new()
    });
    assert_eq!(run(&rt, engine.status(job.id)).unwrap(), None);
    assert_eq!(run(&rt, engine.counts()).unwrap().total(), 1);
    // The bucket has the mark and the other job's record, so no old value returns when the mark is
    // deleted.
    eventually("the job's records are deleted", || values(&names) == 2);
}

fn tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// How many values and marks the bucket of records has.
fn values(names: &Names) -> u64 {
    tokio().block_on(async {
        let client = async_nats::connect(&*names.url).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let records = format!("KV_{}-records", names.prefix);
        let stream = context.get_stream(records).await.unwrap();
        stream.cached_info().state.messages
    })
}

/// An engine that sweeps often, and jobs with unique keys that have ended and whose time is over.
fn with_ended_jobs(rt: &AnyRuntime, names: &Names, many: usize) -> (Arc<dyn Engine>, Vec<NewJob>) {
    // So that the names are removed.
    names.open_now(rt);
    let often = NatsEngine::builder(rt, &*names.url)
        .prefix(&*names.prefix)
        .sweep_every(Duration::from_millis(100));
    let engine: Arc<dyn Engine> = Arc::new(often.open().wait().unwrap());
    let job = |n| {
        let mut job = NewJob::new("plain", 1, *b"");
        job.keep = Duration::from_millis(1);
        job.unique = Some(UniqueKey {
            key: format!("key{n}"),
            within: None,
        });
        job
    };
    let jobs: Vec<_> = (0..many).map(job).collect();
    run(rt, engine.submit(jobs.clone())).unwrap();
    let fetch = Fetch::new("test", vec![("plain".to_owned(), 1)]).max(many);
    let leased = run(rt, engine.fetch(fetch)).unwrap();
    assert_eq!(leased.len(), many);
    let verdict = |job: &Leased| (job.lease, Verdict::Complete(Vec::new()));
    let verdicts = leased.iter().map(verdict).collect();
    run(rt, engine.settle(verdicts)).unwrap();
    (engine, jobs)
}

#[test]
fn a_sweep_that_is_not_waited_for_forgets_all() {
    let Some(url) = nats_url() else {
        return;
    };
    let rt = any();
    let names = Names::on(url, 1);
    let (engine, jobs) = with_ended_jobs(&rt, &names, 500);
    run(&rt, rt.sleep(Duration::from_millis(200)));
    // A worker stops waiting for its maintenance after a while.
    let _ = run(&rt, rt.timeout(Duration::from_millis(1), engine.maintain()));
    eventually("one mark is left of each", || {
        values(&names) == jobs.len() as u64
    });
}

/// Overwrites the key of that job with what this program cannot read.
fn spoil_key(names: &Names, id: JobId) {
    tokio().block_on(async {
        let client = async_nats::connect(&*names.url).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let keys = format!("KV_{}-keys", names.prefix);
        let stream = context.get_stream(keys).await.unwrap();
        let mut subject = None;
        for at in 1..=stream.cached_info().state.last_sequence {
            // Some were overwritten.
            let Ok(claim) = stream.get_raw_message(at).await else {
                continue;
            };
            if String::from_utf8_lossy(&claim.payload).contains(&id.to_string()) {
                subject = Some(claim.subject);
            }
        }
        let subject = subject.expect("the job has a key");
        let sent = context.publish(subject, "of a newer program".into()).await;
        sent.unwrap().await.unwrap();
    });
}

#[test]
fn a_key_that_cannot_be_read_keeps_only_its_own_job() {
    let Some(url) = nats_url() else {
        return;
    };
    let rt = any();
    let names = Names::on(url, 1);
    let (engine, jobs) = with_ended_jobs(&rt, &names, 250);
    let first = jobs.iter().map(|job| job.id).min().unwrap();
    spoil_key(&names, first);
    let refused = RefCell::new(None);
    // One mark is left of each other job; the first job's last two values stay.
    eventually("the others are forgotten", || {
        if let Err(error) = run(&rt, engine.maintain()) {
            assert!(error.is_refusal(), "{error}");
            refused.replace(Some(error));
        }
        values(&names) == jobs.len() as u64 + 1 && refused.borrow().is_some()
    });
}

#[test]
fn what_cannot_be_is_refused() {
    let rt = any();
    let open = |url: &str, prefix: &str| {
        let builder = NatsEngine::builder(&rt, url).prefix(prefix);
        builder.timeout(Duration::from_secs(1)).open().wait()
    };
    let error: EngineError = open("nats://127.0.0.1:1", "test").expect_err("nobody is there");
    assert!(error.is_unavailable(), "{error}");
    for prefix in ["", "a.b", "a b", "*"] {
        let error = open("nats://127.0.0.1:1", prefix).expect_err("not a name");
        assert!(!error.is_unavailable(), "{error}");
    }
    let Some(url) = nats_url() else {
        return;
    };
    let names = Names::on(url, 1);
    let engine = names.open_now(&rt);
    let large = NewJob::new("plain", 1, vec![0; 1 << 20]);
    let error = run(&rt, engine.submit(vec![large])).expect_err("it is too large");
    assert!(!error.is_unavailable(), "{error}");
    // Among other jobs, each is refused before the first of them is sent.
    let plain = NewJob::new("plain", 1, *b"");
    let mut keyed = NewJob::new("plain", 1, *b"");
    keyed.unique = Some(UniqueKey {
        key: "x".repeat(5000),
        within: None,
    });
    for refused in [keyed, NewJob::new("k".repeat(300), 1, *b"")] {
        let jobs = vec![plain.clone(), refused];
        let error = run(&rt, engine.submit(jobs)).expect_err("it has no such names");
        assert!(!error.is_unavailable(), "{error}");
    }
    let none = Fetch::new("test", vec![("plain".to_owned(), 1)]);
    assert!(run(&rt, engine.fetch(none)).unwrap().is_empty());
    assert!(
        run(&rt, engine.list(Default::default()))
            .unwrap()
            .jobs
            .is_empty()
    );
}

#[test]
fn nothing_is_taken_if_a_key_cannot_be_read() {
    let Some(url) = nats_url() else {
        return;
    };
    let rt = any();
    let names = Names::on(url, 1);
    let engine = names.open_now(&rt);
    let keyed = |key: &str| {
        let mut job = NewJob::new("plain", 1, *b"");
        let key = key.to_owned();
        job.unique = Some(UniqueKey { key, within: None });
        job
    };
    let holder = keyed("spoilt");
    run(&rt, engine.submit(vec![holder.clone()])).unwrap();
    let fetch = || {
        let fetch = Fetch::new("test", vec![("plain".to_owned(), 1)]);
        run(&rt, engine.fetch(fetch.max(10))).unwrap()
    };
    assert_eq!(fetch().len(), 1);
    spoil_key(&names, holder.id);
    let jobs = vec![
        NewJob::new("plain", 1, *b""),
        keyed("free"),
        keyed("free"),
        keyed("spoilt"),
    ];
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    let error = run(&rt, engine.submit(jobs)).expect_err("a key is spoilt");
    assert!(error.is_refusal(), "{error}");
    assert!(fetch().is_empty());
    for id in ids {
        assert!(run(&rt, engine.status(id)).unwrap().is_none());
    }
    // The key that was claimed is free again.
    let next = keyed("free");
    let submitted = run(&rt, engine.submit(vec![next.clone(), keyed("free")]));
    assert_eq!(
        submitted.unwrap(),
        [Submitted::New(next.id), Submitted::Existing(next.id)]
    );
    let fetched = fetch();
    assert_eq!((fetched.len(), fetched[0].lease.id), (1, next.id));
}

#[test]
fn what_is_no_job_holds_up_nobody() {
    let Some(url) = nats_url() else {
        return;
    };
    let rt = any();
    let names = Names::on(url, 1);
    let engine = names.open_now(&rt);
    let subject = format!("{}.queue.plain.1.128", names.prefix);
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio.block_on(async {
        let client = async_nats::connect(&*names.url).await.unwrap();
        let stream = async_nats::jetstream::new(client);
        let sent = stream.publish(subject, "no job".into()).await.unwrap();
        sent.await.unwrap();
    });
    let fetch = Fetch::new("test", vec![("plain".to_owned(), 1)]);
    let error = run(&rt, engine.fetch(fetch.clone())).expect_err("it cannot be read");
    assert!(!error.is_unavailable(), "{error}");
    let job = NewJob::new("plain", 1, *b"");
    run(&rt, engine.submit(vec![job.clone()])).unwrap();
    let fetched = run(&rt, engine.fetch(fetch.max(10))).unwrap();
    assert_eq!((fetched.len(), fetched[0].lease.id), (1, job.id));

    // The same for a record that a newer program may have written: it is counted, and listed beside
    // the others.
    let newer = NewJob::new("plain", 1, *b"");
    run(&rt, engine.submit(vec![newer.clone()])).unwrap();
    let subject = format!("$KV.{}-records.{}", names.prefix, newer.id);
    tokio.block_on(async {
        let client = async_nats::connect(&*names.url).await.unwrap();
        let stream = async_nats::jetstream::new(client);
        let record = "{\"life\":{\"record\":{\"kind\":\"plain\",\"state\":\"failed\"}}}\n";
        let sent = stream.publish(subject, record.into()).await.unwrap();
        sent.await.unwrap();
    });
    let counts = run(&rt, engine.counts()).unwrap();
    assert_eq!((counts.running, counts.failed), (1, 1));
    let page = run(&rt, engine.list(Default::default())).unwrap();
    let ids: Vec<_> = page.jobs.iter().map(|job| job.id).collect();
    assert_eq!(ids, [newer.id, job.id]);
    let error = page.jobs[0].error.as_deref().unwrap();
    assert!(error.contains("cannot be read"), "{error}");
    assert_eq!(page.jobs[1].error, None);
}

/// A manager on any runtime uses it; the client's own runtime stays hidden.
#[test]
fn on_every_runtime() {
    let Some(url) = nats_url() else {
        return;
    };
    for (_, rt) in fourway_testing::runtimes() {
        let names = Names::on(url.clone(), 1);
        works_on(&rt, names.open_now(&rt));
    }
}

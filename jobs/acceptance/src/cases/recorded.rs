//! EN-2: run at least once, recorded once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use fourway_core::Call;
use fourway_jobs_engine::{
    AttemptEnd, BoxError, Fetch, Handlers, Held, JobClient, JobKind, JobState, KindJob, NewJob,
    Settled, Verdict, Worker,
};

use crate::{
    case::{Case, table},
    child::{Act, Children},
    clock::Wrong,
    scene::{BRIEF, KIND, Scene, ends, failed},
};

pub(super) fn cases() -> Vec<Case> {
    table![
        "EN-2.1", "every job runs, and what it gave is recorded under its id",
            "four workers have one queue", every_job_runs;
        "EN-2.2", "a lease that ran out is worth nothing",
            "the late worker may not overwrite the result", late_verdict;
        "EN-2.3", "a verdict that is told again counts once",
            "an answer may be lost, and workers try again", verdict_twice;
        "EN-2.4", "a heartbeat keeps the lease",
            "a job may take longer than its lease", heartbeat_keeps;
        "EN-2.5", "a heartbeat with a lost lease says so",
            "the late worker is to stop", heartbeat_of_late;
        "EN-2.6", "a job that fails is tried again until its attempts are spent",
            "each attempt has its error", tried_again;
        "EN-2.7", "what is given back is no attempt",
            "a worker that is replaced must not use up a job's attempts", given_back;
        "EN-2.8", "a worker that is killed in mid-run loses its job to another one",
            "SIGKILL leaves no time to say anything", killed_worker, needs [Processes], unix true;
        "EN-2.9", "a worker that is stopped beyond its lease does not overwrite the result",
            "a process that was suspended goes on as if nothing had been", stopped_worker,
            needs [Processes], unix true;
        "EN-2.10", "a drain that is longer than the lease runs the job once",
            "heartbeats go on while a worker drains", long_drain;
        "EN-2.11", "a worker that was restarted under its name has no old leases",
            "the name says where to look, the token who holds the job", same_name;
        "EN-2.12", "a job is handed to one worker at a time",
            "many fetch at once", one_worker_at_a_time;
        "EN-2.13", "a pause between attempts is kept",
            "what failed now will fail in a moment", pause_is_kept, needs [Delay];
        "EN-2.14", "a worker whose clock is wrong holds its jobs, and loses them, as any other",
            "clocks are set by hand, or by nobody", wrong_clock,
            needs [Processes], unix true, clock true, clock_elsewhere true;
        "EN-2.15", "an output is recorded, or that it was too large, after one attempt",
            "each further attempt would have its effects, and the same output", large_output;
        "EN-2.16", "what was submitted while the clock was wrong runs once it is right",
            "a machine's clock is set while jobs wait", submitted_by_wrong_clock,
            needs [Processes], unix true, clock true;
        "EN-2.17", "a fetch that names a kind twice is given each job once",
            "a list of kinds that is put together may have one twice", kind_named_twice;
    ]
}

/// More than some servers take in one message.
const LARGE: u32 = 4 << 20;

struct Count;

impl JobKind for Count {
    const NAME: &'static str = "count";
    type Args = u32;
    type Output = u32;
}

/// A text of so many bytes.
struct Text;

impl JobKind for Text {
    const NAME: &'static str = "text";
    type Args = u32;
    type Output = String;
}

fn every_job_runs(scene: &Scene<'_>) {
    let ran = Arc::new(Mutex::new(BTreeMap::<_, u32>::new()));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let ran = ran.clone();
            let handlers = Handlers::new().on(Count, move |job, n| {
                *ran.lock().unwrap().entry(job.id()).or_default() += 1;
                async move { Ok::<_, BoxError>(n + 1) }
            });
            let engine = scene.place().open(&scene.rt);
            Worker::builder(&scene.rt, engine)
                .handlers(handlers)
                .start()
        })
        .collect();
    let client = JobClient::new(&scene.rt, scene.engine.clone());
    let jobs = client.submit_all((0..200).map(|n| KindJob::new(Count, n)));
    let jobs = jobs.wait().expect("they are taken");
    for (n, job) in (0..).zip(&jobs) {
        assert_eq!(scene.ended(job.id()).state, JobState::Completed);
        assert_eq!(job.try_output().wait().expect("an output"), n + 1);
    }
    drop(workers);
    let ran = ran.lock().unwrap();
    assert_eq!(ran.len(), jobs.len(), "each has run");
}

fn late_verdict(scene: &Scene<'_>) {
    let id = scene.job();
    let late = scene.fetch(BRIEF);
    let now = scene.fetch(scene.ages);
    assert_eq!((late.lease.id, now.lease.id), (id, id));
    assert!(now.lease.token > late.lease.token, "the token grows");
    assert_eq!((late.attempt, now.attempt), (1, 2));

    let verdict = Verdict::Complete(b"late".to_vec());
    assert_eq!(scene.settle(late.lease, verdict.clone()), Settled::Lost);
    assert_eq!(scene.state(id), JobState::Running);
    scene.complete(now.lease, "in time");
    assert_eq!(scene.settle(late.lease, verdict), Settled::Lost);
    assert_eq!(scene.settle(late.lease, failed("late")), Settled::Lost);
    assert_eq!(scene.output(id).as_deref(), Some("in time"));
    let job = scene.status(id);
    assert_eq!(
        ends(&job),
        [Some(AttemptEnd::Lost), Some(AttemptEnd::Completed)]
    );
}

fn verdict_twice(scene: &Scene<'_>) {
    let id = scene.job();
    let job = scene.fetch(scene.ages);
    scene.complete(job.lease, "out");
    scene.complete(job.lease, "out");
    assert_eq!(scene.output(id).as_deref(), Some("out"));
    assert_eq!(scene.status(id).attempts.len(), 1);

    let id = scene.submit(NewJob::new(KIND, 1, *b""));
    let first = scene.fetch(scene.ages);
    assert_eq!(scene.settle(first.lease, failed("once")), Settled::Recorded);
    let second = scene.fetch(scene.ages);
    // Another worker has the job by now, and must keep it.
    let again = scene.settle(first.lease, failed("once"));
    assert_eq!(again, Settled::Lost, "the job was handed out again");
    scene.complete(second.lease, "out");
    assert_eq!(scene.status(id).attempt, 2);
}

fn heartbeat_keeps(scene: &Scene<'_>) {
    let id = scene.job();
    let job = scene.fetch(scene.ages);
    // First a shorter lease, which is about to run out; then a long one again, in time.
    assert_eq!(scene.beat(job.lease, scene.ages), Held::Yes);
    assert!(scene.fetch_now(1).is_empty(), "it is held");
    let until = scene.status(id).lease_until.expect("it is held");
    assert_eq!(scene.beat(job.lease, scene.ages * 2), Held::Yes);
    let longer = scene.status(id).lease_until.expect("it is held");
    assert!(
        longer > until,
        "the lease begins anew: {until}, then {longer}"
    );
    // It is the heartbeat's lease that counts.
    assert_eq!(scene.beat(job.lease, BRIEF), Held::Yes);
    let other = scene.fetch(scene.ages);
    assert_eq!((other.lease.id, other.attempt), (id, 2));
}

fn heartbeat_of_late(scene: &Scene<'_>) {
    scene.job();
    let late = scene.fetch(BRIEF);
    let now = scene.fetch(scene.ages);
    assert_eq!(scene.beat(late.lease, scene.ages), Held::Lost);
    assert_eq!(scene.beat(now.lease, scene.ages), Held::Yes);
    scene.complete(now.lease, "out");
    assert_eq!(
        scene.beat(now.lease, scene.ages),
        Held::Lost,
        "it has ended"
    );
    assert_eq!(scene.output(now.lease.id).as_deref(), Some("out"));
}

fn tried_again(scene: &Scene<'_>) {
    let mut job = NewJob::new(KIND, 1, *b"");
    job.max_attempts = 2;
    let id = scene.submit(job);
    for n in 1..=2 {
        let job = scene.fetch(scene.ages);
        assert_eq!((job.attempt, job.max_attempts), (n, 2));
        let error = format!("error {n}");
        assert_eq!(scene.settle(job.lease, failed(&error)), Settled::Recorded);
    }
    assert!(scene.fetch_now(1).is_empty());
    let job = scene.status(id);
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.error.as_deref(), Some("error 2"));
    let errors: Vec<_> = job
        .attempts
        .iter()
        .map(|one| one.error.as_deref())
        .collect();
    assert_eq!(errors, [Some("error 1"), Some("error 2")]);
    assert_eq!(scene.output(id), None);
}

fn given_back(scene: &Scene<'_>) {
    let mut job = NewJob::new(KIND, 1, *b"");
    job.max_attempts = 1;
    let id = scene.submit(job);
    for _ in 0..3 {
        let job = scene.fetch(scene.ages);
        assert_eq!(job.attempt, 1);
        assert_eq!(scene.settle(job.lease, Verdict::Release), Settled::Recorded);
        assert_eq!(scene.state(id), JobState::Queued);
    }
    scene.complete(scene.fetch(scene.ages).lease, "out");
    assert_eq!(scene.state(id), JobState::Completed);
}

fn killed_worker(scene: &Scene<'_>) {
    let children = Children::new(scene);
    let mut first = children.worker();
    let id = children.submit(scene, Act::Hold);
    children.until_begun_by(id, &first);
    first.kill();
    let second = children.worker();
    children.until_begun_by(id, &second);
    children.release();
    let job = scene.ended(id);
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(
        ends(&job),
        [Some(AttemptEnd::Lost), Some(AttemptEnd::Completed)]
    );
    assert_eq!(scene.output(id), Some(second.id().to_string()));
}

fn stopped_worker(scene: &Scene<'_>) {
    let children = Children::new(scene);
    let first = children.worker();
    let id = children.submit(scene, Act::Hold);
    children.until_begun_by(id, &first);
    first.stop();
    let second = children.worker();
    children.until_begun_by(id, &second);
    children.release();
    let job = scene.ended(id);
    assert_eq!(job.state, JobState::Completed);
    let output = scene.output(id);
    assert_eq!(output, Some(second.id().to_string()));
    first.go_on();
    children.until_lost_by(&first);
    assert_eq!(scene.status(id), job, "the late worker changes nothing");
    assert_eq!(scene.output(id), output);
}

fn long_drain(scene: &Scene<'_>) {
    let runs = Arc::new(AtomicU32::new(0));
    let count = runs.clone();
    let lease = Duration::from_secs(1);
    let handlers = Handlers::new().on_blocking(Count, move |_, n| {
        count.fetch_add(1, Ordering::Relaxed);
        thread::sleep(lease * 2);
        Ok::<_, BoxError>(n)
    });
    let worker = |handlers: &Handlers| {
        let engine = scene.place().open(&scene.rt);
        let worker = Worker::builder(&scene.rt, engine).handlers(handlers.clone());
        worker.lease(lease).start()
    };
    let first = worker(&handlers);
    let client = JobClient::new(&scene.rt, scene.engine.clone());
    let job = client.submit(Count, 7).wait().expect("it is taken");
    scene.eventually("it runs", || scene.state(job.id()) == JobState::Running);
    let _second = worker(&handlers);
    let report = first.drain(scene.ages).wait();
    assert_eq!(report.settled, [job.id()], "{report:?}");
    assert_eq!(runs.load(Ordering::Relaxed), 1, "how often it ran");
    assert_eq!(scene.status(job.id()).attempt, 1);
}

fn same_name(scene: &Scene<'_>) {
    let id = scene.job();
    // Both are called `case`.
    let before = scene.fetch(BRIEF);
    let after = scene.fetch(scene.ages);
    assert_eq!(scene.status(id).worker.as_deref(), Some("case"));
    assert_eq!(scene.beat(before.lease, scene.ages), Held::Lost);
    let late = scene.settle(before.lease, Verdict::Complete(b"before".to_vec()));
    assert_eq!(late, Settled::Lost);
    scene.complete(after.lease, "after");
    assert_eq!(scene.output(id).as_deref(), Some("after"));
}

fn one_worker_at_a_time(scene: &Scene<'_>) {
    let jobs: Vec<_> = (0..200).map(|_| NewJob::new(KIND, 1, *b"")).collect();
    scene.run(scene.engine.submit(jobs));
    let mut fetched: Vec<_> = thread::scope(|threads| {
        let fetchers: Vec<_> = (0..4)
            .map(|_| {
                threads.spawn(|| {
                    let mut mine = Vec::new();
                    loop {
                        let jobs = scene.fetch_now(7);
                        if jobs.is_empty() {
                            return mine;
                        }
                        assert!(jobs.len() <= 7, "no more than was asked for");
                        mine.extend(jobs.iter().map(|job| job.lease.id));
                    }
                })
            })
            .collect();
        fetchers
            .into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect()
    });
    assert_eq!(fetched.len(), 200, "each is handed out once");
    fetched.sort_unstable();
    fetched.dedup();
    assert_eq!(fetched.len(), 200, "none is handed out twice");
}

fn pause_is_kept(scene: &Scene<'_>) {
    let id = scene.job();
    let job = scene.fetch(scene.ages);
    let verdict = Verdict::RetryLater {
        delay: scene.ages,
        error: "not now".to_owned(),
        timed_out: false,
    };
    assert_eq!(scene.settle(job.lease, verdict), Settled::Recorded);
    assert_eq!(scene.state(id), JobState::Retrying);
    assert!(scene.fetch_now(1).is_empty(), "it waits");
}

fn wrong_clock(scene: &Scene<'_>) {
    const HALF_AN_HOUR: u64 = 30 * 60 * 1000;
    scene.job();
    let mine = scene.fetch(scene.ages * 10).lease;
    for wrong in Wrong::BOTH {
        let children = Children::new(scene);
        let mut first = children.worker_whose_clock_is(wrong);
        let id = children.submit(scene, Act::Hold);
        children.until_begun_by(id, &first);
        let held_until = || {
            let job = scene.status(id);
            assert_eq!(
                (job.state, job.attempt),
                (JobState::Running, 1),
                "{wrong:?}"
            );
            let until = job.lease_until.expect("it is held");
            let off = until.abs_diff(job.submitted_at);
            assert!(off < HALF_AN_HOUR, "{wrong:?}: by whose clock is {until}?");
            until
        };
        let begun = held_until();
        scene.eventually("its heartbeat is heard", || held_until() > begun);
        first.kill();
        let second = children.worker();
        children.until_begun_by(id, &second);
        children.release();
        let job = scene.ended(id);
        assert_eq!(
            ends(&job),
            [Some(AttemptEnd::Lost), Some(AttemptEnd::Completed)]
        );
        assert_eq!(scene.output(id), Some(second.id().to_string()));
    }
    // And no other worker has lost its job.
    assert_eq!(scene.beat(mine, scene.ages), Held::Yes);
}

fn large_output(scene: &Scene<'_>) {
    let runs = Arc::new(AtomicU32::new(0));
    let count = runs.clone();
    let handlers = Handlers::new().on(Text, move |_, bytes| {
        count.fetch_add(1, Ordering::Relaxed);
        async move { Ok::<_, BoxError>("x".repeat(bytes as usize)) }
    });
    let engine = scene.place().open(&scene.rt);
    let _worker = Worker::builder(&scene.rt, engine)
        .handlers(handlers)
        .start();
    let client = JobClient::new(&scene.rt, scene.engine.clone());
    let large = client.submit(Text, LARGE).wait().expect("it is taken");
    let job = scene.ended(large.id());
    if job.state == JobState::Completed {
        let output = large.try_output().wait().expect("an output");
        assert_eq!(output.len(), LARGE as usize, "as long as it was");
    } else {
        assert_eq!((job.state, job.dead), (JobState::Failed, true));
        let error = job.error.expect("it says why");
        let size = (LARGE as usize + "\"\"".len()).to_string();
        assert!(error.contains(&size), "it tells of the output: {error}");
    }
    assert_eq!(job.attempt, 1, "no other attempt would end otherwise");
    let small = client.submit(Text, 10).wait().expect("it is taken");
    assert_eq!(scene.ended(small.id()).state, JobState::Completed);
    assert_eq!(runs.load(Ordering::Relaxed), 2, "how often both ran");
}

fn submitted_by_wrong_clock(scene: &Scene<'_>) {
    for wrong in Wrong::BOTH {
        let children = Children::new(scene);
        let mut submitter = children.submitter_whose_clock_is(wrong, Act::Note);
        let id = submitter.submitted();
        submitter.kill();
        let worker = children.worker();
        let job = scene.ended(id);
        assert_eq!(
            (job.state, job.attempt),
            (JobState::Completed, 1),
            "{wrong:?}"
        );
        assert_eq!(scene.output(id), Some(worker.id().to_string()));
    }
}

fn kind_named_twice(scene: &Scene<'_>) {
    let mut jobs = [1, 2, 1].map(|version| NewJob::new(KIND, version, ""));
    jobs.sort_by_key(|job| job.id);
    let ids = jobs.each_ref().map(|job| job.id);
    scene.run(scene.engine.submit(jobs.to_vec()));
    let kinds = [2, 1, 2].map(|version| (KIND.to_owned(), version));
    let fetch = Fetch::new("w", kinds.to_vec()).max(10);
    let mut found: Vec<_> = scene
        .run(scene.engine.fetch(fetch))
        .iter()
        .map(|job| (job.lease.id, job.attempt))
        .collect();
    found.sort_unstable();
    // The newest version that it names counts.
    assert_eq!(found, ids.map(|id| (id, 1)));
}

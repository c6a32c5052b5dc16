//! Jobs of all kinds from eight submitters, on every runtime: the counts add up, no job is lost or
//! runs twice, all captured values are dropped in the end, and memory use returns to its start.
//!
//! A quarter of a second for each runtime, or `FOURWAY_SOAK_SECONDS`.

use std::{
    future::pending,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use fourway_core::{AnyRuntime, cancel, yield_now};
use fourway_jobs::{Job, JobContext, JobHandle, JobManager, JobState, Retry};
use fourway_testing::{Counter, Counting, each, eventually};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SUBMITTERS: u64 = 8;
/// Keys of which there is one job at a time, for each submitter.
const KEYS: u64 = 4;

/// The memory that comes and goes with the runtimes' threads. A quarter of a second is some
/// thousands of jobs, of a few hundred bytes each.
const SLACK: usize = 256 * 1024;

#[test]
fn soak_counts_add_up() {
    let seconds = std::env::var("FOURWAY_SOAK_SECONDS")
        .ok()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(0.25);
    each(|rt| {
        // Threads start, and tables grow.
        soak(&rt, Duration::ZERO);
        let begin = Counting::in_use();
        soak(&rt, Duration::from_secs_f64(seconds));
        eventually("the memory is given back", || {
            Counting::in_use() <= begin + SLACK
        });
    });
}

/// The total results that the submitters expect.
#[derive(Default)]
struct Expected {
    submitted: AtomicU64,
    /// Jobs that end in a state that is known from the start.
    completed: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    /// Jobs that were cancelled, which may have come too late.
    either: AtomicU64,
    /// How often bodies must run, for jobs that are not cancelled.
    runs: AtomicU64,
}

#[derive(Clone, Default)]
struct Bodies {
    ran: Counter,
    /// The captured values of bodies, made and dropped.
    made: Counter,
    dropped: Counter,
}

impl Bodies {
    /// Goes with a body.
    fn held(&self) -> impl Send + Sync + use<> {
        self.made.add();
        self.dropped.on_drop()
    }
}

fn soak(rt: &AnyRuntime, duration: Duration) {
    let jobs = JobManager::builder(rt)
        .concurrency(16)
        .keep(1000, Duration::MAX)
        .limit("two", 2)
        .build();
    let (expected, bodies) = (Expected::default(), Bodies::default());
    let end = Instant::now() + duration;
    thread::scope(|scope| {
        for submitter in 0..SUBMITTERS {
            let (jobs, expected, bodies) = (&jobs, &expected, &bodies);
            scope.spawn(move || {
                let mut round = 0;
                while round < 20 || Instant::now() < end {
                    submit(jobs, expected, bodies, submitter, round);
                    round += 1;
                    // Submits only as fast as jobs end.
                    while jobs.overview().counts.unfinished() > 2_000 {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            });
        }
    });
    eventually("all jobs end", || jobs.overview().counts.unfinished() == 0);

    let ended = jobs.overview().ended;
    let get = |count: &AtomicU64| count.load(SeqCst);
    assert_eq!(jobs.overview().submitted, get(&expected.submitted));
    assert_eq!(ended.total(), get(&expected.submitted), "{ended:?}");
    assert_eq!(ended.failed, get(&expected.failed));
    assert_eq!(ended.timed_out, get(&expected.timed_out));
    let either = ended.completed - get(&expected.completed) + ended.cancelled;
    assert_eq!(either, get(&expected.either), "{ended:?}");
    assert_eq!(bodies.ran.get() as u64, get(&expected.runs));
    assert_eq!(jobs.overview().counts.total(), 1000, "as many are kept");
    drop(jobs);
    eventually("what bodies captured is gone", || {
        bodies.made.get() == bodies.dropped.get()
    });
}

/// One job of each kind.
fn submit(jobs: &JobManager, expected: &Expected, bodies: &Bodies, submitter: u64, round: u64) {
    let add = |count: &AtomicU64| count.fetch_add(1, SeqCst);
    let plain = |expected_end: &AtomicU64| {
        add(&expected.submitted);
        add(expected_end);
    };
    let retry = Retry::attempts(2).pause(Duration::from_millis(1));

    // A future, which waits in between, and a closure.
    let (ran, held) = (bodies.ran.clone(), bodies.held());
    let future = async move {
        let _held = held;
        yield_now().await;
        ran.add();
        round
    };
    let future = jobs.submit(future).unwrap();
    let (ran, held) = (bodies.ran.clone(), bodies.held());
    let closure = move || {
        let _held = held;
        ran.add();
        round
    };
    let closure = jobs.submit(Job::new(closure).class("two")).unwrap();
    for _ in 0..2 {
        plain(&expected.completed);
        add(&expected.runs);
    }

    // A job that fails, a job that panics, and a job that fails at first.
    let (ran, held) = (bodies.ran.clone(), bodies.held());
    let fails = Job::blocking(move |_: JobContext| {
        let _held = &held;
        ran.add();
        Err::<(), _>("it fails")
    });
    drop(jobs.submit(fails.retry(retry.clone())).unwrap());
    plain(&expected.failed);
    expected.runs.fetch_add(2, SeqCst);
    let (ran, held) = (bodies.ran.clone(), bodies.held());
    let panics = async move {
        let _held = held;
        ran.add();
        std::panic::resume_unwind(Box::new("it panics"));
        #[allow(unreachable_code, reason = "it has to have a type")]
        ()
    };
    drop(jobs.submit(panics).unwrap());
    plain(&expected.failed);
    add(&expected.runs);
    let (ran, held) = (bodies.ran.clone(), bodies.held());
    let again = Job::task(move |job: JobContext| {
        let _held = &held;
        ran.add();
        async move {
            match job.attempt() {
                1 => Err("not yet"),
                attempt => Ok(attempt),
            }
        }
    });
    let again = jobs.submit(again.retry(retry)).unwrap();
    plain(&expected.completed);
    expected.runs.fetch_add(2, SeqCst);

    // Two jobs that take too long: a future that is dropped, and a closure that is asked.
    let limit = Duration::from_millis(1);
    let held = bodies.held();
    let slow = async move {
        let _held = held;
        pending::<()>().await;
    };
    drop(jobs.submit(Job::new(slow).timeout(limit)).unwrap());
    let held = bodies.held();
    let busy = move || {
        let _held = held;
        while !cancel::is_cancelled() {
            thread::sleep(Duration::from_micros(100));
        }
    };
    drop(jobs.submit(Job::new(busy).timeout(limit)).unwrap());
    for _ in 0..2 {
        plain(&expected.timed_out);
    }

    // A job that is cancelled at any moment.
    let held = bodies.held();
    let cancelled = async move {
        let _held = held;
        yield_now().await;
    };
    let cancelled = jobs.submit(cancelled).unwrap();
    cancelled.cancel();
    plain(&expected.either);

    // A job that depends on another, and a job under a key.
    let (ran, held) = (bodies.ran.clone(), bodies.held());
    let after = Job::new(move || {
        let _held = held;
        ran.add();
    });
    // The other may have been forgotten already: then it has ended, and was not waited for.
    match jobs.submit(after.after([future.id()])) {
        Ok(_) => {
            plain(&expected.completed);
            add(&expected.runs);
        }
        Err(error) => assert!(error.is_dependency(), "{error}"),
    }
    let (ran, held) = (bodies.ran.clone(), bodies.held());
    let keyed = Job::new(move || {
        let _held = held;
        ran.add();
    });
    let key = format!("{submitter}/{}", round % KEYS);
    if !jobs.submit(keyed.unique(key)).unwrap().was_there() {
        plain(&expected.completed);
        add(&expected.runs);
    }

    // Handles give what the bodies gave.
    if round % 8 == 0 {
        assert_eq!(value(future), round);
        assert_eq!(value(closure), round);
        assert_eq!(value(again), 2);
        let state = match cancelled.wait() {
            Ok(()) => JobState::Completed,
            Err(error) => error.state(),
        };
        assert!(matches!(state, JobState::Completed | JobState::Cancelled));
    }
}

fn value<T: Send + 'static>(handle: JobHandle<T>) -> T {
    handle.wait().unwrap()
}

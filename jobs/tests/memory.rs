//! The memory of jobs: a million of them stay within what is promised for each, and jobs that allocate
//! much leave nothing behind.
//!
//! Apart from the other tests, as their allocations would count. One after the other, for the same
//! reason.

use std::{
    future::pending,
    panic::{self, resume_unwind},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use fourway_core::yield_now;
use fourway_jobs::{Job, JobContext, JobManager, JobState, Retry};
use fourway_testing::{AGES, Counting, any, each, eventually, run};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is promised for a job that waits, and for one that has ended and is known with its result.
const QUEUED: usize = 400;
const FINISHED: usize = 200;

/// The memory that comes and goes with the runtimes' threads.
const SLACK: usize = 256 * 1024;

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_million_jobs_stay_within_the_memory_that_is_promised_for_each() {
    const JOBS: usize = 1_000_000;
    let _alone = alone();
    // The manager's memory is the same on each runtime.
    let rt = any();
    let begin = Counting::in_use();
    let each_has = || (Counting::in_use() - begin) / JOBS;
    let jobs = JobManager::builder(&rt)
        .concurrency(64)
        .queue_limit(JOBS)
        .keep(JOBS, Duration::MAX)
        .build();
    jobs.pause(None);
    for _ in 0..JOBS {
        drop(jobs.submit(async {}).unwrap());
    }
    assert_eq!(jobs.overview().counts.queued, JOBS as u64);
    assert!(jobs.submit(async {}).unwrap_err().is_full());
    let queued = each_has();
    assert!(queued <= QUEUED, "a queued job has {queued} bytes");

    jobs.resume(None);
    let end = Instant::now() + 5 * AGES;
    while jobs.overview().counts.completed < JOBS as u64 {
        assert!(Instant::now() < end, "takes for ever");
        thread::sleep(Duration::from_millis(10));
    }
    let finished = each_has();
    assert!(finished <= FINISHED, "a finished job has {finished} bytes");
    eprintln!("a queued job has {queued} bytes, and a finished one {finished}");

    drop(jobs);
    eventually("the memory is given back", || {
        Counting::in_use() <= begin + SLACK
    });
}

const MUCH: usize = 4 << 20;

fn much() -> Vec<u8> {
    vec![1; MUCH]
}

#[test]
fn jobs_that_allocate_much_harm_no_other_and_leave_nothing() {
    let _alone = alone();
    each(|rt| {
        // Threads start, and tables grow.
        let begin = {
            let jobs = JobManager::builder(&rt).concurrency(4).build();
            run(&rt, jobs.submit(|| ()).unwrap()).unwrap();
            run(&rt, jobs.submit(async {}).unwrap()).unwrap();
            drop(jobs);
            Counting::in_use()
        };
        let jobs = JobManager::builder(&rt).concurrency(4).build();
        let is_given_back = |what: &str| {
            eventually(what, || Counting::in_use() <= begin + SLACK);
        };

        // While they have it the others end, in the slots that are left.
        let holds = || async move {
            let _much = much();
            pending::<()>().await;
        };
        let hold = [(); 2].map(|()| jobs.submit(holds()).unwrap());
        eventually("they have it", || {
            Counting::in_use() >= begin + MUCH * 3 / 2
        });
        for n in 0..20_u64 {
            assert_eq!(run(&rt, jobs.submit(move || n).unwrap()).unwrap(), n);
        }
        let limit = Duration::from_millis(1);
        let times_out = jobs.submit(Job::new(holds()).timeout(limit)).unwrap();
        assert!(run(&rt, times_out).unwrap_err().is_timed_out());
        for job in hold {
            job.cancel();
            assert!(run(&rt, job).unwrap_err().is_cancelled());
        }
        is_given_back("what futures held is given back with them");

        // As a value that is taken, and as one that is forgotten.
        let taken = jobs.submit(much).unwrap();
        assert_eq!(run(&rt, taken).unwrap().len(), MUCH);
        let forgotten = jobs.submit(async move { much() }).unwrap().id();
        run(&rt, jobs.wait(forgotten)).unwrap();
        assert!(
            Counting::in_use() >= begin + MUCH / 2,
            "it is kept until then"
        );
        assert_eq!(jobs.forget(forgotten), Ok(true));
        is_given_back("values are given back");

        // In a body that can run again, and in the causes of failures.
        let held = much();
        let fails = Job::blocking(move |job: JobContext| match job.attempt() {
            1 => resume_unwind(Box::new(held.clone())),
            2 => Err(String::from_utf8(held.clone()).unwrap()),
            _ => Ok(held[0]),
        });
        let retry = Retry::attempts(3).pause(Duration::from_millis(1));
        let fails = jobs.submit(fails.retry(retry)).unwrap();
        let id = fails.id();
        assert_eq!(run(&rt, fails).unwrap(), 1);
        assert_eq!(jobs.status(id).unwrap().attempts.len(), 3);
        is_given_back("what a body held is given back");
        let text = || String::from_utf8(much()).unwrap();
        let fails = jobs.submit(move || Err::<(), _>(text())).unwrap().id();
        let panics = jobs.submit(move || -> () { resume_unwind(Box::new(text())) });
        for id in [fails, panics.unwrap().id()] {
            let end = run(&rt, jobs.wait(id)).unwrap();
            assert_eq!(end.state, JobState::Failed);
            assert_eq!(jobs.forget(id), Ok(true));
        }
        is_given_back("causes are given back");

        // More than there can be is a panic, as any other.
        let too_much = || async move {
            yield_now().await;
            Vec::<u64>::with_capacity(usize::MAX)
        };
        // The hook would print a backtrace, and for that keeps tables of the program in memory.
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| ()));
        let too_much = run(&rt, jobs.submit(too_much()).unwrap());
        panic::set_hook(hook);
        let too_much = too_much.unwrap_err();
        assert!(too_much.is_panic());
        assert!(run(&rt, jobs.drain(AGES)).is_clean());
        drop(jobs);
        drop(too_much);
        is_given_back("all is given back");
    });
}

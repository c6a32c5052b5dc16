//! Models: small concurrent programs on a manager, run under many schedules. See
//! `fourway_core::sync` for how, and `FOURWAY_MODEL_ITERATIONS`.
//!
//! A model fails if a thread panics, if an assertion does not hold, or if all threads wait: so it
//! finds a job without a worker and a lost place.

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::{
        Arc,
        // Not modelled.
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, SystemTime},
};

use fourway_adapt::{Adapter, BoxFuture, Execute};
use fourway_core::{
    Call, Runtime,
    sync::{check, thread},
};

use crate::{
    CancelOutcome, Job, JobContext, JobManager, JobManagerBuilder, JobState, ManualClock,
    ResultError, Retry,
};

/// A thread for each task.
#[derive(Clone)]
struct ThreadEach;

impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        thread::spawn(move || fourway_adapt::run(future));
    }
}

/// A manager whose clock stands still and which keeps ended jobs: no deadline is ever due, so no
/// thread is left waiting for one.
fn builder(concurrency: usize) -> JobManagerBuilder {
    JobManager::builder(&Adapter::new(ThreadEach))
        .concurrency(concurrency)
        .keep(100, Duration::MAX)
        .clock(ManualClock::new(SystemTime::UNIX_EPOCH))
}

#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// How often a body runs, and how many of them at a time at most.
#[derive(Clone, Default)]
struct Load {
    runs: Count,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Load {
    fn run(&self) {
        self.runs.add();
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        thread::yield_now();
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

fn poll_once(future: impl Future) {
    let mut future = pin!(future);
    fourway_adapt::run(poll_fn(|cx| {
        Poll::Ready(future.as_mut().poll(cx).is_ready())
    }));
}

/// Two threads submit while the workers come and go: a worker takes each job, one at a time.
#[test]
fn shuttle_somebody_comes_for_each_job() {
    check(|| {
        let jobs = builder(1).build();
        let load = Load::default();
        let submitters: Vec<_> = (0..2)
            .map(|n| {
                let (jobs, load) = (jobs.clone(), load.clone());
                thread::spawn(move || {
                    for _ in 0..2 {
                        let load = load.clone();
                        let job = jobs.submit(async move { load.run() }).unwrap();
                        // One thread waits for its jobs, and the other does not.
                        if n == 0 {
                            fourway_adapt::run(job).unwrap();
                        }
                    }
                })
            })
            .collect();
        for submitter in submitters {
            submitter.join().unwrap();
        }
        let last = jobs.submit(async {}).unwrap();
        fourway_adapt::run(last).unwrap();
        fourway_adapt::run(jobs.drain(Duration::MAX).into_future());
        assert_eq!(load.runs.get(), 4);
        assert_eq!(load.most.load(Ordering::SeqCst), 1);
        assert_eq!(jobs.overview().counts.completed, 5);
    });
}

/// The same for closures, and for closures and futures that share one slot.
#[test]
fn shuttle_closures_and_futures_share_a_slot() {
    check(|| {
        let jobs = builder(1).build();
        let load = Load::default();
        let (a, b) = (load.clone(), load.clone());
        let other = {
            let jobs = jobs.clone();
            thread::spawn(move || {
                let closure = jobs.submit(move || a.run()).unwrap();
                fourway_adapt::run(closure).unwrap();
            })
        };
        let future = jobs.submit(async move { b.run() }).unwrap();
        fourway_adapt::run(future).unwrap();
        other.join().unwrap();
        assert_eq!(load.runs.get(), 2);
        assert_eq!(load.most.load(Ordering::SeqCst), 1);
    });
}

/// A job is cancelled at any moment of its life. It has run or not, its handle tells which, and its
/// slot is freed exactly once: two later jobs run one after the other.
#[test]
fn shuttle_cancel_while_it_is_started() {
    check(|| {
        let jobs = builder(1).build();
        let ran = Count::default();
        let count = ran.clone();
        let job = jobs.submit(async move { count.add() }).unwrap();
        let id = job.id();
        let other = {
            let jobs = jobs.clone();
            thread::spawn(move || jobs.cancel(id).unwrap())
        };
        let load = Load::default();
        let after = [load.clone(), load.clone()]
            .map(|load| jobs.submit(async move { load.run() }).unwrap());
        let outcome = other.join().unwrap();
        let ended = fourway_adapt::run(job);
        match outcome {
            CancelOutcome::Cancelled => assert_eq!(ran.get(), 0),
            CancelOutcome::TooLate(state) => assert_eq!(state, JobState::Completed),
            // The cancellation may have come too late for its future; the job is cancelled anyway.
            CancelOutcome::Requested => {}
        }
        let is_cancelled = !matches!(outcome, CancelOutcome::TooLate(_));
        assert_eq!(ended.is_err(), is_cancelled);
        for job in after {
            fourway_adapt::run(job).unwrap();
        }
        assert_eq!(load.most.load(Ordering::SeqCst), 1);
        let counts = jobs.overview().counts;
        assert_eq!(counts.cancelled, u64::from(is_cancelled));
        assert_eq!(counts.completed, 3 - u64::from(is_cancelled));
        assert_eq!(counts.unfinished(), 0);
    });
}

/// A future that waits for ever is cancelled while it moves to its own task: the wake is
/// not lost, and the slot comes back.
#[test]
fn shuttle_cancel_while_it_moves_to_its_task() {
    check(|| {
        let jobs = builder(1).build();
        let job = jobs.submit(pending::<()>()).unwrap();
        let id = job.id();
        let other = {
            let jobs = jobs.clone();
            thread::spawn(move || jobs.cancel(id).unwrap())
        };
        let after = jobs.submit(async {}).unwrap();
        fourway_adapt::run(after).unwrap();
        assert!(fourway_adapt::run(job).is_err());
        other.join().unwrap();
    });
}

/// A call with two blocking bodies is cancelled while they begin and end: the job's end is not
/// lost, and comes when none of them runs any more.
#[test]
fn shuttle_cancel_while_bodies_of_its_call_end() {
    check(|| {
        let rt = Adapter::new(ThreadEach);
        let jobs = builder(1).build();
        let (began, ended) = (Count::default(), Count::default());
        let bodies = [(); 2].map(|()| {
            let (began, ended) = (began.clone(), ended.clone());
            rt.call_blocking(move || {
                began.add();
                thread::yield_now();
                ended.add();
            })
        });
        let job = jobs.submit(rt.call_all(bodies).map(drop)).unwrap();
        let id = job.id();
        let other = {
            let jobs = jobs.clone();
            thread::spawn(move || jobs.cancel(id).unwrap())
        };
        let after = jobs.submit(async move { (ended.get(), began.get()) });
        let (ended, began) = fourway_adapt::run(after.unwrap()).unwrap();
        assert_eq!(ended, began);
        let is_cancelled = !matches!(other.join().unwrap(), CancelOutcome::TooLate(_));
        assert_eq!(fourway_adapt::run(job).is_err(), is_cancelled);
    });
}

/// A drain beside a submitter and a cancellation: each accepted job has one reported fate, and a
/// refused job has none.
#[test]
fn shuttle_drain_beside_a_submitter() {
    check(|| {
        let jobs = builder(1).build();
        let ran = Count::default();
        let count = ran.clone();
        let before = jobs.submit(async move { count.add() }).unwrap();
        let submitter = {
            let (jobs, count) = (jobs.clone(), ran.clone());
            thread::spawn(move || match jobs.submit(async move { count.add() }) {
                Ok(job) => Some(job),
                Err(refused) => {
                    assert!(refused.is_closed());
                    None
                }
            })
        };
        let report = fourway_adapt::run(jobs.drain(Duration::MAX).into_future());
        let accepted = submitter.join().unwrap();
        // In a model even the longest deadline may pass; then the remaining jobs are cancelled.
        let mut completed = 0;
        for job in accepted.iter().chain([&before]) {
            let ended = fourway_adapt::run(jobs.wait(job.id()).into_future()).unwrap();
            completed += usize::from(ended.state == JobState::Completed);
            // Jobs that had ended before the drain began are not in its report.
            let fates = report.fates.iter().filter(|(id, _)| *id == job.id());
            let fates: Vec<_> = fates.map(|(_, state)| *state).collect();
            match &*fates {
                [] if report.still_running.contains(&job.id()) => {}
                [] => assert_eq!(ended.state, JobState::Completed),
                [one] => assert_eq!(*one, ended.state),
                more => panic!("{more:?}"),
            }
        }
        assert!(completed <= ran.get());
    });
}

/// Two waiters want the one place in the queue. One gives up at any moment, and the other gets the
/// place.
#[test]
fn shuttle_a_submitter_that_gives_up_passes_its_room_on() {
    check(|| {
        let jobs = builder(1).queue_limit(1).build();
        jobs.pause(None);
        let first = jobs.submit(async {}).unwrap();
        let gives_up = {
            let jobs = jobs.clone();
            thread::spawn(move || poll_once(jobs.submit_when_free(async {}).into_future()))
        };
        let waits = {
            let jobs = jobs.clone();
            thread::spawn(move || {
                let call = jobs.submit_when_free(async {}).into_future();
                let job = fourway_adapt::run(call).unwrap();
                fourway_adapt::run(job).unwrap();
            })
        };
        jobs.resume(None);
        fourway_adapt::run(first).unwrap();
        gives_up.join().unwrap();
        waits.join().unwrap();
    });
}

/// Two places become free, and three wait. Two of these have one key, so one of them needs no place:
/// the third gets one, whoever comes first. (If the other two come first, the one that needs no place
/// may be called only when there is room again.)
#[test]
fn shuttle_a_submitter_that_needs_no_room_passes_it_on() {
    check(|| {
        let jobs = builder(1).queue_limit(2).build();
        jobs.pause(None);
        let full = [(); 2].map(|()| jobs.submit(async {}).unwrap());
        let [plain, one, other] = [false, true, true].map(|is_keyed| {
            let jobs = jobs.clone();
            thread::spawn(move || {
                let mut job = Job::new(async {});
                if is_keyed {
                    job = job.unique("key");
                }
                let call = jobs.submit_when_free(job).into_future();
                drop(fourway_adapt::run(call).unwrap());
            })
        });
        for job in full {
            job.cancel();
        }
        // While the pause holds: no place becomes free by a job that starts.
        plain.join().unwrap();
        jobs.resume(None);
        one.join().unwrap();
        other.join().unwrap();
        fourway_adapt::run(jobs.drain(Duration::MAX).into_future());
    });
}

/// Under one key there is one job, whichever thread is first.
#[test]
fn shuttle_one_job_under_a_unique_key() {
    check(|| {
        let jobs = builder(2).build();
        let ran = Count::default();
        let submit = {
            let (jobs, ran) = (jobs.clone(), ran.clone());
            move || {
                let count = ran.clone();
                let job = Job::new(async move { count.add() });
                let unique = crate::Unique::key("one").also(JobState::Completed);
                let job = jobs.submit(job.unique(unique)).unwrap();
                (job.id(), job.was_there())
            }
        };
        let other = thread::spawn(submit.clone());
        let (mine, mine_was_there) = submit();
        let (theirs, theirs_was_there) = other.join().unwrap();
        assert_eq!(mine, theirs);
        assert!(mine_was_there != theirs_was_there);
        let ended = fourway_adapt::run(jobs.wait(mine).into_future()).unwrap();
        assert_eq!((ended.state, ran.get()), (JobState::Completed, 1));
    });
}

/// Three handles wait for the one job under a key. One gives up at any moment; the others are told
/// of the job's end, and one handle gets its value.
#[test]
fn shuttle_all_who_wait_for_a_unique_job_are_told() {
    check(|| {
        let jobs = builder(1).build();
        jobs.pause(None);
        let handle = || jobs.submit(Job::new(async {}).unique("one")).unwrap();
        let [first, second, third] = [(); 3].map(|()| handle());
        let gives_up = thread::spawn(move || poll_once(second));
        let waits = thread::spawn(move || fourway_adapt::run(third).is_ok());
        jobs.resume(None);
        let mine = fourway_adapt::run(first).is_ok();
        let theirs = waits.join().unwrap();
        gives_up.join().unwrap();
        assert!(!(mine && theirs));
    });
}

/// A thread that sees that a job has completed gets its value, also while another thread copies it.
/// A third thread that takes the value meanwhile gets it too.
#[test]
fn shuttle_what_has_completed_has_its_value() {
    check(|| {
        let jobs = builder(1).build();
        let job = Job::task(|_: JobContext| async { Arc::new(7) });
        let id = jobs.submit(job).unwrap().id();
        let reader = || {
            let jobs = jobs.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    if jobs.status(id).unwrap().state == JobState::Completed {
                        match jobs.result::<Arc<i32>>(id) {
                            Ok(value) => assert_eq!(*value, 7),
                            Err(ResultError::Job(error)) if error.is_taken() => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            })
        };
        let readers = [reader(), reader()];
        fourway_adapt::run(jobs.wait(id).into_future()).unwrap();
        assert_eq!(*jobs.take_result::<Arc<i32>>(id).unwrap(), 7);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// Two threads retry a failed job at the same time: one succeeds, and the job runs once
/// more.
#[test]
fn shuttle_two_try_a_job_again() {
    check(|| {
        let jobs = builder(1).build();
        let ran = Count::default();
        let count = ran.clone();
        let job = Job::task(move |job: JobContext| {
            count.add();
            async move {
                match job.attempt() {
                    1 => Err("the first attempt fails"),
                    _ => Ok(()),
                }
            }
        });
        let job = jobs.submit(job.retry(Retry::attempts(1))).unwrap();
        let id = job.id();
        fourway_adapt::run(jobs.wait(id).into_future()).unwrap();
        let other = {
            let jobs = jobs.clone();
            thread::spawn(move || jobs.retry(id).is_ok())
        };
        let mine = jobs.retry(id).is_ok();
        let theirs = other.join().unwrap();
        assert!(mine != theirs);
        let ended = fourway_adapt::run(jobs.wait(id).into_future()).unwrap();
        assert_eq!((ended.state, ended.attempt), (JobState::Completed, 2));
        assert_eq!(ran.get(), 2);
        // The handle has not taken the error of the first.
        fourway_adapt::run(job).unwrap();
    });
}

/// The last handle of the manager is dropped while one job runs and one waits: both end, and their
/// waiters are told.
#[test]
fn shuttle_dropped_with_jobs_in_it() {
    check(|| {
        let jobs = builder(1).build();
        let runs = jobs.submit(pending::<()>()).unwrap();
        let waits = jobs.submit(pending::<()>()).unwrap();
        let other = thread::spawn(move || drop(jobs));
        assert!(fourway_adapt::run(runs).is_err());
        assert!(fourway_adapt::run(waits).is_err());
        other.join().unwrap();
    });
}

/// A job reuses the seat that the job before has left in its worker, unless that is still held: a
/// kept token of one job is not cancelled with another job.
#[test]
fn shuttle_a_token_that_is_kept_is_of_one_job() {
    check(|| {
        let jobs = builder(1).build();
        let kept = fourway_adapt::run(
            jobs.submit(async { Arc::new(JobContext::current().unwrap()) })
                .unwrap(),
        )
        .unwrap();
        let first = kept.id();
        let job = jobs.submit(pending::<()>()).unwrap();
        let id = job.id();
        let other = thread::spawn(move || {
            // Given back at any moment.
            assert!(!kept.is_cancelled());
            assert_eq!(kept.id(), first);
        });
        jobs.cancel(id).unwrap();
        assert!(fourway_adapt::run(job).is_err());
        other.join().unwrap();
        let fresh = jobs
            .submit(async { JobContext::current().unwrap().is_cancelled() })
            .unwrap();
        assert!(!fourway_adapt::run(fresh).unwrap());
    });
}

/// Two threads submit by the inbox while the one dispatcher comes and goes, and a third looks. Each
/// job is known once it is submitted, the queue limit holds, and each accepted job runs.
#[test]
fn shuttle_jobs_that_come_by_the_inbox_are_there() {
    check(|| {
        let jobs = builder(1).queue_limit(2).build();
        let ran = Count::default();
        let submitters: Vec<_> = (0..2)
            .map(|_| {
                let (jobs, ran) = (jobs.clone(), ran.clone());
                thread::spawn(move || {
                    let mut accepted = Vec::new();
                    for _ in 0..2 {
                        let count = ran.clone();
                        match jobs.submit(async move { count.add() }) {
                            Ok(job) => {
                                assert!(jobs.status(job.id()).is_ok());
                                accepted.push(job);
                            }
                            Err(refused) => assert!(refused.is_full()),
                        }
                    }
                    accepted
                })
            })
            .collect();
        let seen = jobs.overview();
        assert!(seen.counts.queued <= 2, "{seen:?}");
        // At one moment: none is forgotten here.
        assert_eq!(seen.counts.total(), seen.submitted);
        let mut accepted = 0;
        for submitter in submitters {
            for job in submitter.join().unwrap() {
                fourway_adapt::run(job).unwrap();
                accepted += 1;
            }
        }
        assert_eq!(ran.get(), accepted);
        assert_eq!(jobs.overview().submitted, accepted as u64);
    });
}

/// One thread submits by the inbox while others pause the manager, subscribe and resume it. A
/// subscriber that came before a job hears of it at once, and a job that came during a pause runs
/// after it.
#[test]
fn shuttle_the_inbox_closes_for_who_has_to_be_told() {
    check(|| {
        let jobs = builder(1).build();
        let opened = jobs.submit(async {}).unwrap();
        let submitter = {
            let jobs = jobs.clone();
            thread::spawn(move || {
                let first = jobs.submit(async {}).unwrap();
                let second = jobs.submit(async {}).unwrap();
                fourway_adapt::run(first).unwrap();
                fourway_adapt::run(second).unwrap();
            })
        };
        jobs.pause(None);
        let mut events = jobs.subscribe(16);
        let mine = jobs.submit(async {}).unwrap();
        let told = std::iter::from_fn(|| events.try_recv()).any(|event| event.id == mine.id());
        assert!(told);
        jobs.resume(None);
        fourway_adapt::run(mine).unwrap();
        fourway_adapt::run(opened).unwrap();
        submitter.join().unwrap();
    });
}

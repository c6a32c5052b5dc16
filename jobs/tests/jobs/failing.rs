//! Failures, panics, retries and timeouts.

use std::{future::pending, time::Duration};

use fourway_core::{BoxCall, Call, Runtime, cancel};
use fourway_jobs::{BoxError, Job, JobContext, JobError, JobManager, JobState, Retry};
use fourway_testing::{Counter, each, panic_quietly};

use super::{manager, soon};

#[test]
fn failures_and_panics_keep_what_they_say() {
    each(|rt| {
        let jobs = manager(&rt);
        let failed = jobs
            .submit(|| Err::<(), _>(std::io::Error::other("broken")))
            .unwrap();
        let id = failed.id();
        let error = failed.wait().unwrap_err();
        assert_eq!(error.message(), "broken");
        assert!(error.downcast_ref::<std::io::Error>().is_some());
        assert_eq!(jobs.status(id).unwrap().error.as_deref(), Some("broken"));

        let panics = |job: Result<(), JobError>| {
            let error = job.unwrap_err();
            assert!(error.is_panic() && error.state() == JobState::Failed);
            assert_eq!(error.message(), "dropped a cup");
            let payload = error.into_panic().unwrap();
            assert_eq!(payload.downcast_ref::<&str>(), Some(&"dropped a cup"));
        };
        panics(
            jobs.submit(|| -> () { panic_quietly("dropped a cup") })
                .unwrap()
                .wait(),
        );
        panics(
            jobs.submit(async {
                if true {
                    panic_quietly("dropped a cup")
                }
            })
            .unwrap()
            .wait(),
        );
        assert_eq!(jobs.submit(|| 1).unwrap().wait().unwrap(), 1);
    });
}

#[test]
fn a_job_is_tried_again_as_its_retry_says() {
    each(|rt| {
        let jobs = manager(&rt);
        let second = |job: JobContext| match job.attempt() {
            1 => Err("not yet"),
            n => Ok(n),
        };
        let closure = jobs.submit(Job::blocking(second).retry(soon(3))).unwrap();
        let future = jobs
            .submit(Job::task(move |job| async move { second(job) }).retry(soon(3)))
            .unwrap();
        for job in [closure, future] {
            let id = job.id();
            assert_eq!(job.wait().unwrap(), 2);
            let status = jobs.status(id).unwrap();
            let states: Vec<_> = status.attempts.iter().map(|a| a.state).collect();
            assert_eq!(states, [JobState::Failed, JobState::Completed]);
            assert_eq!(status.attempts[0].error.as_deref(), Some("not yet"));
        }

        let tried = Counter::default();
        let count = tried.clone();
        let hopeless =
            Job::blocking(move |_| -> Result<(), String> { Err(format!("{} times", count.add())) });
        let job = jobs.submit(hopeless.retry(soon(3))).unwrap();
        let id = job.id();
        assert_eq!(job.wait().unwrap_err().message(), "3 times");
        jobs.retry(id).unwrap();
        let status = jobs.wait(id).wait().unwrap();
        assert_eq!((status.state, status.attempt), (JobState::Failed, 4));
        let once = jobs.submit(|| Err::<(), _>("once")).unwrap().id();
        jobs.wait(once).wait().unwrap();
        assert!(jobs.retry(once).unwrap_err().is_once());
    });
}

#[test]
fn a_job_that_says_nothing_is_tried_again_as_its_manager_says() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).retry(soon(3)).build();
        let attempts = |id| {
            let end = jobs.wait(id).wait().unwrap();
            (end.state, end.attempt, end.max_attempts)
        };
        let fails = || Job::blocking(|_: JobContext| Err::<(), _>("broken"));
        let says_nothing = jobs.submit(fails()).unwrap().id();
        let future = Job::task(|job: JobContext| async move {
            match job.attempt() {
                3 => Ok(()),
                _ => Err("not yet"),
            }
        });
        let future = jobs.submit(future.name("it")).unwrap().id();
        let fewer = jobs.submit(fails().retry(soon(2))).unwrap().id();
        let never = jobs.submit(fails().retry(Retry::never())).unwrap().id();
        let once = jobs.submit(|| Err::<(), _>("broken")).unwrap().id();
        assert_eq!(attempts(says_nothing), (JobState::Failed, 3, 3));
        assert_eq!(attempts(future), (JobState::Completed, 3, 3));
        assert_eq!(attempts(fewer), (JobState::Failed, 2, 2));
        assert_eq!(attempts(never), (JobState::Failed, 1, 1));
        assert_eq!(attempts(once), (JobState::Failed, 1, 1));
    });
}

#[test]
fn a_call_is_made_for_each_attempt() {
    each(|rt| {
        let jobs = manager(&rt);
        let calls = rt.clone();
        let job = Job::call_with(move |job: JobContext| {
            let attempt = job.attempt();
            calls.call_blocking(move || match attempt {
                3 => Ok(attempt),
                _ => Err(BoxError::from("not yet")),
            })
        });
        let job = jobs.submit(job.retry(soon(3))).unwrap();
        assert_eq!(job.wait().unwrap(), 3);

        // A panic of the closure is the job's failure.
        let job = Job::call_with(|_: JobContext| -> BoxCall<()> { panic_quietly("no call") });
        assert!(jobs.submit(job).unwrap().wait().unwrap_err().is_panic());
    });
}

#[test]
fn a_job_that_takes_too_long_has_timed_out() {
    each(|rt| {
        let jobs = manager(&rt);
        let limit = Duration::from_millis(5);
        let future = jobs
            .submit(Job::new(pending::<()>()).timeout(limit))
            .unwrap();
        let closure = Job::new(|| {
            while !cancel::is_cancelled() {
                std::thread::yield_now();
            }
        });
        let closure = jobs.submit(closure.timeout(limit)).unwrap();
        assert!(future.wait().unwrap_err().is_timed_out());
        assert!(closure.wait().unwrap_err().is_timed_out());
        let again = Job::task(|job: JobContext| async move {
            if job.attempt() == 1 {
                pending::<()>().await;
            }
            job.attempt()
        });
        // Long enough for the second attempt, also on a busy machine.
        let again = again.timeout(100 * limit).retry(soon(2));
        let again = jobs.submit(again).unwrap();
        assert_eq!(again.wait().unwrap(), 2);
    });
}

#[test]
fn a_failure_is_none_for_no_handle_whoever_takes_its_error_first() {
    each(|rt| {
        // Forgotten at once, or when it is said.
        for keep in [0, 10] {
            let jobs = JobManager::builder(&rt).keep(keep, Duration::MAX).build();
            jobs.pause(None);
            let fails = || Err::<(), _>(std::io::Error::other("disk on fire"));
            let submit = || jobs.submit(Job::new(fails).unique("it")).unwrap();
            let [first, second, third] = [(); 3].map(|()| submit());
            let id = first.id();
            jobs.resume(None);
            let error = first.wait().unwrap_err();
            assert!(error.downcast_ref::<std::io::Error>().is_some());
            let _ = jobs.forget(id);
            for other in [second, third] {
                let error = other.wait().unwrap_err();
                assert_eq!((error.id(), error.state()), (id, JobState::Failed));
                assert_eq!(error.message(), "disk on fire");
                assert!(!error.is_taken());
            }
        }
    });
}

#[test]
fn a_manager_that_is_closed_says_so_of_a_retry() {
    each(|rt| {
        let jobs = manager(&rt);
        let fails = Job::blocking(|_: JobContext| Err::<(), _>("broken"));
        let id = jobs.submit(fails).unwrap().id();
        jobs.wait(id).wait().unwrap();
        jobs.drain(Duration::ZERO).wait();
        let refused = jobs.retry(id).unwrap_err();
        assert!(refused.is_closed() && refused.state().is_none());
    });
}

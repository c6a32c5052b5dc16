//! Jobs are cancelled.

use std::future::pending;

use fourway_core::{Runtime, cancel};
use fourway_jobs::{CancelOutcome, Job, JobContext, JobManager, JobState};
use fourway_testing::{Counter, Gate, each, eventually};

use super::manager;

#[test]
fn what_waits_and_is_cancelled_never_runs() {
    each(|rt| {
        let jobs = manager(&rt);
        jobs.pause(None);
        let (ran, dropped) = (Counter::default(), Counter::default());
        let (count, held) = (ran.clone(), dropped.on_drop());
        let job = jobs
            .submit(move || {
                let _held = held;
                count.add()
            })
            .unwrap();
        assert_eq!(job.state(), Some(JobState::Queued));
        assert_eq!(job.cancel(), Some(CancelOutcome::Cancelled));
        assert_eq!(dropped.get(), 1, "what it captured goes at once");
        assert_eq!(
            job.cancel(),
            Some(CancelOutcome::TooLate(JobState::Cancelled))
        );
        jobs.resume(None);
        assert!(job.wait().unwrap_err().is_cancelled());
        jobs.submit(|| ()).unwrap().wait().unwrap();
        assert_eq!(ran.get(), 0);
    });
}

#[test]
fn a_running_future_is_dropped_and_a_closure_is_asked() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(1).build();
        let dropped = Counter::default();
        let held = dropped.on_drop();
        let job = jobs
            .submit(async move {
                let _held = held;
                pending::<()>().await;
            })
            .unwrap();
        eventually("it runs", || job.state() == Some(JobState::Running));
        assert_eq!(job.cancel(), Some(CancelOutcome::Requested));
        assert!(job.wait().unwrap_err().is_cancelled());
        assert_eq!(dropped.get(), 1);

        let (started, gate) = (Gate::default(), Gate::default());
        let (starts, wait) = (started.clone(), gate.clone());
        let job = jobs
            .submit(move || {
                starts.open();
                wait.wait();
                assert!(cancel::is_cancelled());
            })
            .unwrap();
        let next = jobs.submit(|| ()).unwrap();
        started.wait();
        assert_eq!(job.cancel(), Some(CancelOutcome::Requested));
        let status = job.status().unwrap();
        assert!(status.cancelling && status.state == JobState::Running);
        assert_eq!(next.state(), Some(JobState::Queued), "the slot is held");
        gate.open();
        assert!(job.wait().unwrap_err().is_cancelled());
        next.wait().unwrap();
    });
}

#[test]
fn the_blocking_body_of_a_cancelled_call_holds_its_slot() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(1).build();
        let (started, gate) = (Gate::default(), Gate::default());
        let (starts, wait) = (started.clone(), gate.clone());
        let call = rt.call_blocking(move || {
            starts.open();
            wait.wait();
            cancel::is_cancelled()
        });
        let job = jobs.submit(call).unwrap();
        let next = jobs.submit(|| ()).unwrap();
        started.wait();
        assert_eq!(job.cancel(), Some(CancelOutcome::Requested));
        assert!(job.status().unwrap().cancelling);
        assert_eq!(next.state(), Some(JobState::Queued));
        gate.open();
        assert!(job.wait().unwrap_err().is_cancelled());
        next.wait().unwrap();
    });
}

#[test]
fn a_cancelled_call_that_was_made_for_its_attempt_holds_its_slot() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(1).build();
        let (started, gate) = (Gate::default(), Gate::default());
        let (starts, wait, calls) = (started.clone(), gate.clone(), rt.clone());
        let job = Job::call_with(move |_: JobContext| {
            let (starts, wait) = (starts.clone(), wait.clone());
            calls.call_blocking(move || {
                starts.open();
                wait.wait();
            })
        });
        let job = jobs.submit(job).unwrap();
        let next = jobs.submit(|| ()).unwrap();
        started.wait();
        assert_eq!(job.cancel(), Some(CancelOutcome::Requested));
        assert_eq!(next.state(), Some(JobState::Queued));
        gate.open();
        assert!(job.wait().unwrap_err().is_cancelled());
        next.wait().unwrap();
    });
}

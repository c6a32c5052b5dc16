//! Jobs are cancelled.

use std::future::pending;

use fourway_core::{AnyRuntime, BoxCall, Call, Runtime, Spawner, Task, cancel};
use fourway_jobs::{CancelOutcome, Job, JobContext, JobManager, JobState};
use fourway_testing::{AGES, Counter, Gate, OnDrop, each, eventually};

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

/// What a blocking body does.
type Does = Box<dyn FnOnce() + Send>;

/// Calls with a blocking body in each place where it can be. `held` goes with the future of the call.
fn with_a_body_inside(
    rt: &AnyRuntime,
    body: impl Fn() -> Does,
    held: impl Fn() -> OnDrop,
) -> Vec<(&'static str, BoxCall<()>)> {
    let blocking = || rt.call_blocking(body());
    let kept = || {
        let held = held();
        move || drop(held)
    };
    let mut all: Vec<(&'static str, BoxCall<()>)> = Vec::new();
    let keep = kept();
    let call = blocking().then({
        let rt = rt.clone();
        move |()| rt.call(async move { keep() })
    });
    all.push(("the first of two", call.boxed()));
    let (keep, second) = (kept(), blocking());
    let call = rt.call_blocking(|| ()).then(move |()| second);
    let call = rt.call_all([call.boxed()]).map(move |_| keep());
    all.push(("the second of two", call.boxed()));
    let keep = kept();
    let call = rt.call_all([blocking(), blocking()]).map(move |_| keep());
    all.push(("some of many", call.boxed()));
    let keep = kept();
    let call = rt.call_race([blocking(), blocking()]).map(move |_| keep());
    all.push(("one of a race", call.boxed()));
    let keep = kept();
    let call = blocking().timeout(AGES).map(move |_| keep());
    all.push(("with a time limit", call.boxed()));
    let (keep, inside) = (kept(), blocking());
    let call = rt.call(async move {
        let _keep = keep;
        inside.await;
    });
    all.push(("awaited by an async body", call.boxed()));
    all
}

#[test]
fn the_blocking_bodies_in_a_cancelled_call_hold_its_slot() {
    each(|rt| {
        let count = with_a_body_inside(&rt, || Box::new(|| ()), || Counter::default().on_drop());
        for at in 0..count.len() {
            let jobs = JobManager::builder(&rt).concurrency(1).build();
            let (started, ended, dropped) =
                (Counter::default(), Counter::default(), Counter::default());
            let gate = Gate::default();
            let body = || -> Does {
                let (started, ended, gate) = (started.clone(), ended.clone(), gate.clone());
                Box::new(move || {
                    started.add();
                    gate.wait();
                    ended.add();
                })
            };
            let mut calls = with_a_body_inside(&rt, body, || dropped.on_drop());
            let (name, call) = calls.swap_remove(at);
            drop(calls);
            let dropped_before = dropped.get();
            let job = jobs.submit(call).unwrap();
            let (starts, ends) = (started.clone(), ended.clone());
            let next = jobs.submit(move || (ends.get(), starts.get())).unwrap();
            eventually("a body runs", || started.get() > 0);
            assert_eq!(job.cancel(), Some(CancelOutcome::Requested));
            eventually("its future is dropped", || dropped.get() > dropped_before);
            // Other work has its turn, as the next job would have.
            for _ in 0..20 {
                rt.spawn(async {}).wait().unwrap();
            }
            assert_eq!(job.state(), Some(JobState::Running), "{name}");
            assert_eq!(next.state(), Some(JobState::Queued), "{name}");
            gate.open();
            assert!(job.wait().unwrap_err().is_cancelled(), "{name}");
            let (ended, started) = next.wait().unwrap();
            assert_eq!(
                ended, started,
                "{name}: nothing of it runs beside the next one"
            );
        }
    });
}

#[test]
fn a_body_that_panics_after_its_call_was_cancelled_fails_the_job() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(1).build();
        let (started, gate, dropped) = (Gate::default(), Gate::default(), Counter::default());
        let (starts, wait, held) = (started.clone(), gate.clone(), dropped.on_drop());
        let call = rt.call_blocking(move || {
            starts.open();
            wait.wait();
            panic!("in the body");
        });
        let job = jobs.submit(call.timeout(AGES).map(move |_| drop(held)));
        let job = job.unwrap();
        started.wait();
        assert_eq!(job.cancel(), Some(CancelOutcome::Requested));
        eventually("its future is dropped", || dropped.get() > 0);
        gate.open();
        let error = job.wait().unwrap_err();
        assert!(error.is_panic());
        assert_eq!(error.message(), "in the body");
    });
}

//! Jobs that run after others, and batches.

use std::{
    future::{Future, pending},
    pin::pin,
};

use fourway_core::{AnyRuntime, BlockOn, Call, Shutdown};
use fourway_jobs::{CancelOutcome, Job, JobContext, JobHandle, JobManager, JobState};
use fourway_testing::{AGES, Counter, Gate, any, each, eventually, poll_once, run};

use super::{manager, soon};

#[test]
fn jobs_run_after_those_that_they_depend_on() {
    each(|rt| {
        let jobs = manager(&rt);
        let gate = Gate::default();
        let wait = gate.clone();
        let first = jobs.submit(async move { wait.pass().await }).unwrap();
        let second = jobs.submit(Job::new(|| 2).after([first.id()])).unwrap();
        assert_eq!(second.state(), Some(JobState::Scheduled));
        assert_eq!(second.status().unwrap().waits_for, [first.id()]);
        gate.open();
        assert_eq!(second.wait().unwrap(), 2);

        jobs.pause(None);
        let fails = jobs.submit(|| Err::<(), _>("broken")).unwrap();
        let waits = jobs.submit(Job::new(|| ()).after([fails.id()])).unwrap();
        let last = jobs.submit(Job::new(|| ()).after([waits.id()])).unwrap();
        jobs.resume(None);
        let error = last.wait().unwrap_err();
        assert!(error.is_cancelled(), "{error}");
        assert!(waits.wait().unwrap_err().message().contains("failed"));
        let late = jobs.submit(Job::new(|| ()).after([fails.id()]));
        assert!(late.unwrap_err().is_dependency());
    });
}

#[test]
fn a_job_that_is_tried_again_still_waits_for_others() {
    each(|rt| {
        let jobs = manager(&rt);
        let gate = Gate::default();
        let pass = |gate: &Gate| {
            let gate = gate.clone();
            jobs.submit(async move { gate.pass().await }).unwrap()
        };
        let first = pass(&gate);
        let fails = || {
            let job = Job::blocking(|job: JobContext| match job.attempt() {
                1 => Err("it fails first"),
                attempt => Ok(attempt),
            });
            job.retry(soon(2))
        };
        let second = jobs.submit(fails().after([first.id()])).unwrap();
        second.cancel();
        jobs.retry(second.id()).unwrap();
        let status = second.status().unwrap();
        assert_eq!(status.state, JobState::Scheduled);
        assert_eq!(status.waits_for, [first.id()]);
        gate.open();
        // Both attempts come after the first job.
        assert_eq!(second.wait().unwrap(), 2);

        // Whoever has failed does not hold it; whoever has not ended does.
        let gate = Gate::default();
        let (first, broken) = (pass(&gate), Gate::default());
        let wait = broken.clone();
        let broken_job = async move {
            wait.pass().await;
            Err::<(), _>("broken")
        };
        let other = jobs.submit(broken_job).unwrap();
        let after = [first.id(), other.id()];
        let second = jobs.submit(fails().after(after)).unwrap();
        broken.open();
        jobs.wait(second.id()).wait().unwrap();
        assert_eq!(second.state(), Some(JobState::Cancelled));
        jobs.retry(second.id()).unwrap();
        assert_eq!(second.status().unwrap().waits_for, [first.id()]);
        gate.open();
        jobs.wait(second.id()).wait().unwrap();
        assert_eq!(jobs.result::<u32>(second.id()).unwrap(), 2);
    });
}

/// Each job ends because the job before it has ended, at the same moment.
#[test]
fn a_chain_of_dependencies_may_be_as_long_as_the_queue() {
    const LENGTH: u64 = 100_000;
    type Output = Result<(), &'static str>;
    fn chain(
        rt: &AnyRuntime,
        first: impl Future<Output = Output> + Send + 'static,
    ) -> (JobManager, JobHandle<()>, JobHandle<()>) {
        let jobs = JobManager::builder(rt).keep(usize::MAX, AGES).build();
        jobs.pause(None);
        let first = jobs.submit(first).unwrap();
        let next = |before| jobs.submit(Job::new(async {}).after([before])).unwrap();
        let mut last = next(first.id());
        for _ in 1..LENGTH {
            last = next(last.id());
        }
        (jobs, first, last)
    }
    let rt = any();
    let (jobs, _, last) = chain(&rt, async { Err("broken") });
    jobs.resume(None);
    assert!(last.wait().unwrap_err().is_cancelled(), "the first fails");
    let counts = jobs.overview().counts;
    assert_eq!((counts.failed, counts.cancelled), (1, LENGTH));

    let (jobs, first, last) = chain(&rt, pending());
    assert_eq!(first.cancel(), Some(CancelOutcome::Cancelled));
    assert!(last.wait().unwrap_err().is_cancelled());
    assert_eq!(jobs.overview().counts.cancelled, LENGTH + 1);

    let (jobs, _, last) = chain(&rt, pending());
    drop(jobs);
    assert!(last.wait().unwrap_err().is_cancelled(), "it is dropped");

    let (jobs, first, last) = chain(&rt, pending());
    jobs.resume(None);
    eventually("the first runs", || {
        first.state() == Some(JobState::Running)
    });
    rt.shutdown(AGES).unwrap();
    assert!(last.wait().unwrap_err().is_cancelled());
    assert_eq!(jobs.overview().counts.cancelled, LENGTH + 1);
}

#[test]
fn a_batch_tells_when_all_have_ended() {
    each(|rt| {
        let jobs = manager(&rt);
        let called = Counter::default();
        let calls = called.clone();
        let mut batch = jobs.batch();
        for n in 0..10 {
            let job = Job::new(move || if n == 3 { Err("three") } else { Ok(n) });
            drop(batch.add(job).unwrap());
        }
        batch.on_end(move |report| {
            assert_eq!(report.counts.failed, 1);
            calls.add();
        });
        let report = run(&rt, batch.end());
        assert_eq!((report.counts.completed, report.others.len()), (9, 1));
        assert_eq!(called.get(), 1);
        assert_eq!(run(&rt, jobs.batch().end()).counts.total(), 0);
    });
}

#[test]
fn a_batch_waits_for_a_job_that_is_tried_again() {
    each(|rt| {
        let jobs = manager(&rt);
        let (other, again) = (Gate::default(), Gate::default());
        let called = Counter::default();
        let calls = called.clone();
        let mut batch = jobs.batch();
        let (pass, pass_again) = (other.clone(), again.clone());
        let waits = Job::new(async move { pass.pass().await });
        let fails = Job::task(move |job: JobContext| {
            let again = pass_again.clone();
            async move {
                if job.attempt() == 1 {
                    return Err("the first attempt fails");
                }
                again.pass().await;
                Ok(())
            }
        });
        let waits = batch.add(waits).unwrap().id();
        let fails = batch.add(fails).unwrap().id();
        batch.on_end(move |_| {
            calls.add();
        });
        let mut end = pin!(batch.end());
        assert_eq!(jobs.wait(fails).wait().unwrap().state, JobState::Failed);
        jobs.retry(fails).unwrap();
        other.open();
        jobs.wait(waits).wait().unwrap();
        assert!(rt.block_on(poll_once(end.as_mut())).is_pending());
        assert_eq!(called.get(), 0, "one of two is tried again");
        again.open();
        let report = run(&rt, end);
        assert_eq!((report.counts.completed, report.counts.total()), (2, 2));
        assert_eq!((report.others, called.get()), (vec![], 1));

        // All have ended: later changes have no effect.
        let mut batch = jobs.batch();
        let fails = Job::blocking(|_: JobContext| Err::<(), _>("broken"));
        let fails = batch.add(fails).unwrap().id();
        jobs.wait(fails).wait().unwrap();
        let end = batch.end();
        jobs.pause(None);
        jobs.retry(fails).unwrap();
        let report = run(&rt, end);
        assert_eq!(report.others, [(fails, JobState::Failed)]);
        jobs.resume(None);
        assert_eq!(jobs.wait(fails).wait().unwrap().attempt, 2);
    });
}

#[test]
fn a_batch_that_is_waited_for_in_async_code_stays_usable() {
    each(|rt| {
        let jobs = manager(&rt);
        let mut batch = jobs.batch();
        drop(batch.add(Job::new(|| ())).unwrap());
        let mut end = batch.end();
        rt.block_on(async {
            assert!(end.try_wait().unwrap_err().is_nested());
        });
        assert_eq!(end.wait().counts.completed, 1);
    });
}

//! Unique keys.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::{Duration, SystemTime},
};

use fourway_core::Call;
use fourway_jobs::{Job, JobContext, JobHandle, JobManager, JobState, ManualClock, Unique};
use fourway_testing::{Counter, Gate, each, eventually};

use super::manager;

#[test]
fn a_unique_key_is_there_once() {
    each(|rt| {
        let jobs = manager(&rt);
        jobs.pause(None);
        let first = jobs.submit(Job::new(|| 1).unique("it")).unwrap();
        let again = jobs.submit(Job::new(|| 2).unique("it")).unwrap();
        assert_eq!(first.id(), again.id());
        assert!(again.was_there() && !first.was_there());
        let other = jobs.submit(Job::new(|| "text").unique("it"));
        assert!(other.unwrap_err().is_other_type());
        jobs.resume(None);
        assert_eq!(first.wait().unwrap(), 1);
        assert!(again.wait().unwrap_err().is_taken());
        let next = jobs.submit(Job::new(|| 3).unique("it")).unwrap();
        assert_eq!(next.wait().unwrap(), 3);

        let daily = || Unique::key("daily").within(Duration::from_secs(3600));
        let first = jobs.submit(Job::new(|| 1).unique(daily())).unwrap();
        jobs.wait(first.id()).wait().unwrap();
        let again = jobs.submit(Job::new(|| 2).unique(daily())).unwrap();
        assert_eq!(first.id(), again.id(), "also when it has ended");
    });
}

#[test]
fn all_handles_of_a_unique_job_are_told_of_its_end() {
    each(|rt| {
        let jobs = manager(&rt);
        jobs.pause(None);
        let submit = || jobs.submit(Job::new(|| 1).unique("it")).unwrap();
        let mut handles = [(); 4].map(|()| Some(submit()));
        let woken = [(); 4].map(|()| Counter::default());
        let look = |handle: &mut JobHandle<i32>, woken: &Counter| {
            let waker = Waker::from(Arc::new(Counts(woken.clone())));
            Pin::new(handle).poll(&mut Context::from_waker(&waker))
        };
        for (handle, woken) in handles.iter_mut().zip(&woken) {
            let handle = handle.as_mut().unwrap();
            assert!(look(handle, woken).is_pending());
            // Once more: it keeps the place that it has already.
            assert!(look(handle, woken).is_pending());
        }
        // The submitter and one of the others give up.
        handles[0] = None;
        handles[2] = None;
        jobs.resume(None);
        for n in [1, 3] {
            eventually("each that waits is woken", || woken[n].get() > 0);
        }
        assert_eq!((woken[0].get(), woken[2].get()), (0, 0));
        let ended = [1, 3].map(|n| match look(handles[n].as_mut().unwrap(), &woken[n]) {
            Poll::Ready(ended) => ended,
            Poll::Pending => panic!("it was woken before its end"),
        });
        assert_eq!(ended.iter().filter(|ended| ended.is_ok()).count(), 1);
    });
}

/// Counts how often it is woken.
struct Counts(Counter);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.add();
    }
}

/// By the watch: it does not matter what the clock on the wall showed meanwhile.
#[test]
fn a_key_is_taken_for_its_period_whatever_the_wall_clock_does() {
    each(|rt| {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let year = Duration::from_secs(365 * 86_400);
        let clock = ManualClock::new(start);
        let jobs = JobManager::builder(&rt).clock(clock.clone()).build();
        // So that somebody looks at the clock.
        let _later = jobs.submit(Job::new(|| ()).delay(year * 100)).unwrap();
        let is_set = |to: SystemTime| {
            clock.set(to);
            eventually("the manager has seen the clock", || {
                let probe = jobs.submit(|| ()).unwrap();
                let status = jobs.wait(probe.id()).wait().unwrap();
                let started = status.started_at.unwrap();
                let apart = started
                    .duration_since(to)
                    .or_else(|_| to.duration_since(started));
                apart.unwrap() < Duration::from_secs(60)
            });
        };
        let second = Duration::from_secs(1);
        let submit = || {
            let unique = Unique::key("key").within(second);
            let job = jobs.submit(Job::new(|| ()).unique(unique)).unwrap();
            jobs.wait(job.id()).wait().unwrap();
            job.was_there()
        };
        is_set(start + year);
        assert!(!submit());
        is_set(start);
        assert!(submit());
        for _ in 0..2 {
            clock.advance(second);
            assert!(!submit());
            assert!(submit());
        }
        // Forward, as well.
        is_set(start + year);
        assert!(submit());
    });
}

#[test]
fn a_job_that_is_tried_again_takes_no_key_from_another() {
    each(|rt| {
        let jobs = manager(&rt);
        let keyed = || Job::blocking(|_: JobContext| Err::<(), _>("broken")).unique("it");
        let first = jobs.submit(keyed()).unwrap().id();
        jobs.wait(first).wait().unwrap();
        jobs.pause(None);
        let second = jobs.submit(keyed()).unwrap().id();
        let refused = jobs.retry(first).unwrap_err();
        assert_eq!(refused.unique(), Some(second), "{refused}");
        assert!(jobs.submit(keyed()).unwrap().id() == second);
        jobs.cancel(second).unwrap();
        jobs.retry(first).unwrap();
        jobs.resume(None);
        assert_eq!(jobs.wait(first).wait().unwrap().attempt, 2);
    });
}

#[test]
fn a_key_is_there_once_although_a_job_with_other_terms_came_and_went() {
    each(|rt| {
        let jobs = manager(&rt);
        let gate = Gate::default();
        let wait = gate.clone();
        let plain = Job::new(async move { wait.pass().await }).unique("it");
        let plain = jobs.submit(plain).unwrap();
        eventually("it runs", || plain.state() == Some(JobState::Running));
        for _ in 0..3 {
            let beside = Unique::key("it").except(JobState::Running);
            let beside = jobs.submit(Job::new(async {}).unique(beside)).unwrap();
            assert!(!beside.was_there());
            let id = beside.id();
            beside.wait().unwrap();
            let again = || jobs.submit(Job::new(async {}).unique("it")).unwrap();
            assert_eq!(again().id(), plain.id());
            assert!(jobs.forget(id).unwrap());
            assert_eq!(again().id(), plain.id());
        }
        gate.open();
        let id = plain.id();
        plain.wait().unwrap();
        let next = jobs.submit(Job::new(async {}).unique("it")).unwrap();
        assert!(!next.was_there() && next.id() != id);
    });
}

#[test]
fn a_key_is_taken_by_a_job_that_has_ended_although_another_came_and_went() {
    each(|rt| {
        let jobs = manager(&rt);
        let hour = Duration::from_secs(3600);
        let terms = || {
            Unique::key("it")
                .within(hour)
                .except(JobState::Running)
                .except(JobState::Failed)
        };
        let submit = |unique| jobs.submit(Job::new(async {}).unique(unique)).unwrap();
        let first = submit(terms());
        let id = first.id();
        jobs.wait(id).wait().unwrap();
        for _ in 0..20 {
            let fails = Job::blocking(|_: JobContext| Err::<(), _>("broken")).unique("it");
            let fails = jobs.submit(fails).unwrap();
            jobs.wait(fails.id()).wait().unwrap();
        }
        assert_eq!(submit(terms()).id(), id);
        // Forgotten, it takes the key no more.
        assert!(jobs.forget(id).unwrap());
        assert!(!submit(terms()).was_there());
    });
}

#[test]
fn a_job_that_is_tried_again_does_not_find_itself_under_its_key() {
    each(|rt| {
        let jobs = manager(&rt);
        let gate = Gate::default();
        let wait = gate.clone();
        let first = Job::new(async move { wait.pass().await }).unique("it");
        let first = jobs.submit(first).unwrap().id();
        eventually("it runs", || {
            jobs.status(first)
                .is_ok_and(|job| job.state == JobState::Running)
        });
        let beside = Unique::key("it")
            .except(JobState::Running)
            .also(JobState::Failed)
            .also(JobState::Completed);
        let fails = Job::blocking(|_: JobContext| Err::<(), _>("broken")).unique(beside);
        let fails = jobs.submit(fails).unwrap().id();
        jobs.wait(fails).wait().unwrap();
        gate.open();
        jobs.wait(first).wait().unwrap();
        assert_eq!(jobs.retry(fails).unwrap_err().unique(), Some(first));
        assert!(jobs.forget(first).unwrap());
        jobs.retry(fails).unwrap();
        assert_eq!(jobs.wait(fails).wait().unwrap().attempt, 2);
    });
}

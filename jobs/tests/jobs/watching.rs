//! Events, progress, lists and retention.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use fourway_core::{BlockOn, Call, yield_now};
use fourway_jobs::{BoxError, EventKind, Filter, Job, JobContext, JobManager, JobState};
use fourway_testing::{AGES, Counter, Gate, each, eventually, panic_quietly, poll_once, run};

use super::manager;

#[test]
fn a_job_that_was_forgotten_is_none_of_those_that_are_kept() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).keep(2, Duration::MAX).build();
        let ended = || {
            let id = jobs.submit(|| ()).unwrap().id();
            jobs.wait(id).wait().unwrap();
            id
        };
        let (first, second) = (ended(), ended());
        jobs.forget(second).unwrap();
        let third = ended();
        assert!(jobs.status(first).is_ok() && jobs.status(third).is_ok());
        let _fourth = ended();
        assert!(jobs.status(first).is_err() && jobs.status(third).is_ok());
    });
}

#[test]
fn the_attempt_of_a_job_that_succeeds_at_once_is_shown_as_any_other() {
    each(|rt| {
        let jobs = manager(&rt);
        let closure = jobs.submit(|| ()).unwrap().id();
        let future = jobs.submit(async { yield_now().await }).unwrap().id();
        for id in [closure, future] {
            let status = jobs.wait(id).wait().unwrap();
            let [attempt] = &*status.attempts else {
                panic!("{status:?}");
            };
            assert_eq!((attempt.number, attempt.state), (1, JobState::Completed));
            assert_eq!(Some(attempt.started_at), status.started_at);
            assert_eq!(Some(attempt.ended_at), status.ended_at);
            assert_eq!(attempt.error, None);
        }
        // One that has not ended has none, and neither has one that never ran.
        let gate = Gate::default();
        let wait = gate.clone();
        let runs = jobs.submit(async move { wait.pass().await }).unwrap();
        eventually("it runs", || runs.state() == Some(JobState::Running));
        assert_eq!(jobs.status(runs.id()).unwrap().attempts, []);
        gate.open();
        let never = jobs.submit(Job::new(|| ()).delay(AGES)).unwrap();
        never.cancel();
        assert_eq!(jobs.status(never.id()).unwrap().attempts, []);
    });
}

#[test]
fn events_tell_each_change_in_order() {
    each(|rt| {
        let jobs = manager(&rt);
        let mut events = jobs.subscribe(100);
        let id = jobs.submit(async { yield_now().await }).unwrap().id();
        jobs.wait(id).wait().unwrap();
        let mut states = Vec::new();
        while let Some(event) = events.try_recv() {
            assert_eq!(event.id, id);
            if let EventKind::State { to, .. } = event.kind {
                states.push(to);
            }
        }
        assert_eq!(
            states,
            [JobState::Queued, JobState::Running, JobState::Completed]
        );
        let mut few = jobs.subscribe(2);
        let id = jobs.submit(|| ()).unwrap().id();
        jobs.wait(id).wait().unwrap();
        assert_eq!(few.lost(), 1);
        assert_eq!(few.lost(), 0);
        drop(jobs);
        assert!(few.try_recv().is_some() && few.wait().unwrap().is_some());
        assert!(run(&rt, few.recv()).is_none());
    });
}

#[test]
fn progress_is_seen_while_it_runs_and_afterwards() {
    each(|rt| {
        let jobs = manager(&rt);
        let (told, gate) = (Gate::default(), Gate::default());
        let (tells, wait) = (told.clone(), gate.clone());
        let job = Job::blocking(move |job: JobContext| {
            job.progress(0.5);
            job.progress(f64::NAN);
            job.message("half way");
            job.count("files", 3);
            tells.open();
            wait.wait();
        });
        let id = jobs.submit(job.name("walk")).unwrap().id();
        told.wait();
        let seen = |status: fourway_jobs::JobStatus| {
            let progress = status.progress.unwrap();
            assert_eq!(progress.fraction, Some(0.5));
            assert_eq!(progress.message.as_deref(), Some("half way"));
            assert_eq!(progress.counters["files"], 3);
        };
        seen(jobs.status(id).unwrap());
        gate.open();
        seen(jobs.wait(id).wait().unwrap());
    });
}

#[test]
fn nothing_happens_to_a_job_after_its_end() {
    each(|rt| {
        let jobs = manager(&rt);
        let mut events = jobs.subscribe(100);
        // The test keeps the context and goes on reporting.
        let kept = jobs.submit(async { Ok::<_, BoxError>(JobContext::current().unwrap()) });
        let kept = kept.unwrap().wait().unwrap();
        kept.progress(0.5);
        kept.message("too late");
        drop(jobs);
        let mut last = None;
        while let Some(event) = events.wait().unwrap() {
            assert_eq!(event.id, kept.id());
            last = Some(event.kind);
        }
        let completed = EventKind::State {
            from: Some(JobState::Running),
            to: JobState::Completed,
        };
        assert_eq!(last, Some(completed));
    });
}

#[test]
fn lists_have_filters_and_pages() {
    each(|rt| {
        let jobs = manager(&rt);
        let ids: Vec<_> = (0..25)
            .map(|n| {
                let job = Job::new(move || n).class(if n % 2 == 0 { "even" } else { "odd" });
                jobs.submit(job.label("n", n.to_string())).unwrap().id()
            })
            .collect();
        for id in &ids {
            jobs.wait(*id).wait().unwrap();
        }
        let mut filter = Filter::new().limit(10);
        let mut seen = Vec::new();
        loop {
            let page = jobs.list(&filter);
            seen.extend(page.jobs.iter().map(|job| job.id));
            let Some(next) = page.next else { break };
            filter = filter.after(next);
        }
        assert!(seen.iter().rev().eq(&ids));
        let odd = Filter::new()
            .class("odd")
            .state(JobState::Completed)
            .oldest_first();
        assert_eq!(jobs.list(&odd).jobs.len(), 12);
        let seven = jobs.list(&Filter::new().label("n", "7")).jobs;
        assert_eq!((seven.len(), seven[0].id), (1, ids[7]));
        assert!(
            jobs.list(&Filter::new().state(JobState::Failed))
                .jobs
                .is_empty()
        );
    });
}

#[test]
fn who_waits_for_a_job_that_is_forgotten_at_once_is_told_of_its_end() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).keep(0, Duration::MAX).build();
        for fails in [false, true] {
            jobs.pause(None);
            let work = move || if fails { Err("broken") } else { Ok(1) };
            let id = jobs.submit(work).unwrap().id();
            let mut waits = [(); 2].map(|()| Box::pin(jobs.wait(id).into_future()));
            for wait in &mut waits {
                assert!(rt.block_on(poll_once(wait.as_mut())).is_pending());
            }
            jobs.resume(None);
            for wait in waits {
                let status = rt.block_on(wait).unwrap();
                assert_eq!(status.id, id);
                let expected = match fails {
                    false => (JobState::Completed, None),
                    true => (JobState::Failed, Some("broken")),
                };
                assert_eq!((status.state, status.error.as_deref()), expected);
            }
            assert!(jobs.status(id).is_err());
            assert!(jobs.wait(id).wait().is_err(), "nothing of it is kept");
        }
    });
}

#[test]
fn finished_jobs_are_forgotten_and_handles_keep_their_value() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).keep(10, Duration::MAX).build();
        let mut handles: Vec<_> = (0..50_usize)
            .map(|n| jobs.submit(move || n).unwrap())
            .collect();
        let last = handles.pop().unwrap();
        assert_eq!(last.wait().unwrap(), 49);
        eventually("all end", || jobs.overview().counts.unfinished() == 0);
        assert_eq!(jobs.overview().counts.total(), 10);
        assert_eq!(jobs.overview().ended.completed, 50);
        for (n, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.wait().unwrap(), n);
        }
    });
}

#[test]
fn a_value_whose_destructor_panics_unwinds_none_of_its_last_holders() {
    struct Bad(Counter);
    impl Drop for Bad {
        fn drop(&mut self) {
            self.0.add();
            panic_quietly("of the destructor")
        }
    }
    each(|rt| {
        let jobs = JobManager::builder(&rt).keep(0, Duration::MAX).build();
        let dropped = Counter::default();
        let gives = || {
            let bad = Bad(dropped.clone());
            let job = jobs.submit(move || Ok::<_, Infallible>(bad));
            job.unwrap()
        };
        let is_forgotten = |id| eventually("it is forgotten", || jobs.status(id).is_err());

        let job = gives();
        is_forgotten(job.id());
        assert!(catch_unwind(AssertUnwindSafe(|| drop(job))).is_ok());
        eventually("the value is gone", || dropped.get() == 1);

        jobs.pause(None);
        let id = gives().id();
        let mut waits = Box::pin(jobs.wait(id).into_future());
        assert!(rt.block_on(poll_once(waits.as_mut())).is_pending());
        jobs.resume(None);
        is_forgotten(id);
        assert_eq!(rt.block_on(waits).unwrap().state, JobState::Completed);
        eventually("the value is gone", || dropped.get() == 2);
        assert_eq!(jobs.submit(|| 1).unwrap().wait().unwrap(), 1);
    });
}

//! Drains, dropped managers and shutdowns.

use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use fourway_core::{
    BlockOn, Call, Shutdown,
    cancel::{self, Reason},
    yield_now,
};
use fourway_jobs::{Job, JobContext, JobError, JobManager, JobState, ManualClock, Schedule};
use fourway_testing::{AGES, Counter, Gate, each, eventually, panic_quietly, poll_once, run};

use super::manager;

#[test]
fn a_drain_finishes_or_cancels_and_reports() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let quick: Vec<_> = (0..20)
            .map(|_| jobs.submit(async { yield_now().await }).unwrap().id())
            .collect();
        let report = jobs.drain(AGES).wait();
        assert!(report.is_clean());
        for id in quick {
            assert_eq!(jobs.overview().counts.unfinished(), 0);
            assert_eq!(jobs.status(id).unwrap().state, JobState::Completed);
        }
        assert!(jobs.submit(|| ()).unwrap_err().is_closed());

        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let later = Job::new(|| ()).delay(Duration::from_secs(3600));
        let later = jobs.submit(later).unwrap().id();
        let stuck = jobs.submit(pending::<()>()).unwrap().id();
        let report = jobs.drain(Duration::from_millis(20)).wait();
        assert!(report.is_clean());
        for id in [later, stuck] {
            assert!(report.fates.contains(&(id, JobState::Cancelled)));
        }
        assert_eq!(jobs.drain(AGES).wait(), report, "another one says the same");
    });
}

#[test]
fn two_drains_at_a_time_have_the_same_report() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let gate = Gate::default();
        let wait = gate.clone();
        let runs = jobs.submit(async move { wait.pass().await }).unwrap().id();
        let later = Job::new(|| ()).delay(AGES);
        let later = jobs.submit(later).unwrap().id();
        // One of them is given up.
        let mut given_up = Box::pin(jobs.drain(AGES).into_future());
        assert!(rt.block_on(poll_once(given_up.as_mut())).is_pending());
        let first = jobs.drain(AGES).spawn();
        let second = jobs.drain(AGES).spawn();
        drop(given_up);
        jobs.cancel(later).unwrap();
        gate.open();
        let first = run(&rt, first).unwrap();
        let second = run(&rt, second).unwrap();
        let fates = [(later, JobState::Cancelled), (runs, JobState::Completed)];
        assert_eq!(first.fates, fates);
        assert_eq!(first, second);
    });
}

#[test]
fn a_drain_does_not_wait_for_what_is_paused() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let gate = Gate::default();
        let wait = gate.clone();
        let runs = jobs.submit(async move { wait.pass().await }).unwrap();
        eventually("it runs", || runs.state() == Some(JobState::Running));
        jobs.pause(Some("slow"));
        let paused = jobs.submit(Job::new(|| ()).class("slow")).unwrap();
        let drain = jobs.drain(AGES).spawn();
        eventually("it is closed", || jobs.overview().closed);
        assert_eq!(paused.state(), Some(JobState::Queued));
        gate.open();
        let report = run(&rt, drain).unwrap();
        let fates = [
            (runs.id(), JobState::Completed),
            (paused.id(), JobState::Cancelled),
        ];
        assert_eq!(report.fates, fates);

        let jobs = manager(&rt);
        jobs.pause(Some("slow"));
        let paused = jobs.submit(Job::new(|| ()).class("slow")).unwrap().id();
        let waits = jobs.submit(Job::new(|| ()).after([paused])).unwrap().id();
        let also = jobs.submit(Job::new(|| ()).after([waits])).unwrap().id();
        let begun = Instant::now();
        let report = run(&rt, jobs.drain(AGES));
        assert!(begun.elapsed() < AGES, "it does not wait for them");
        assert_eq!(
            report.fates,
            [paused, waits, also].map(|id| (id, JobState::Cancelled))
        );
        // A job with a time of its own runs at that time, and the drain waits for it.
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let jobs = JobManager::builder(&rt).clock(clock.clone()).build();
        jobs.pause(Some("slow"));
        let paused = jobs.submit(Job::new(|| ()).class("slow")).unwrap().id();
        let soon = Job::new(|| ()).delay(Duration::from_millis(20));
        let soon = jobs.submit(soon).unwrap().id();
        let waits = jobs.submit(Job::new(|| ()).after([soon])).unwrap().id();
        let mut drain = Box::pin(jobs.drain(AGES).into_future());
        assert!(rt.block_on(poll_once(drain.as_mut())).is_pending());
        clock.advance(Duration::from_millis(20));
        let report = run(&rt, drain);
        assert_eq!(
            report.fates,
            [
                (soon, JobState::Completed),
                (waits, JobState::Completed),
                (paused, JobState::Cancelled)
            ]
        );

        let jobs = manager(&rt);
        jobs.pause(None);
        let (later, queued) = (Job::new(|| ()).delay(AGES), || ());
        let ids = [
            jobs.submit(later).unwrap().id(),
            jobs.submit(queued).unwrap().id(),
        ];
        let report = jobs.drain(AGES).wait();
        assert_eq!(report.fates, ids.map(|id| (id, JobState::Cancelled)));
    });
}

#[test]
fn dropping_the_manager_is_quiet_and_says_what_it_gave_up() {
    each(|rt| {
        let report: Arc<Mutex<Option<fourway_jobs::DropReport>>> = Arc::default();
        let told = report.clone();
        let jobs = JobManager::builder(&rt)
            .on_drop(move |report| *told.lock().unwrap() = Some(report))
            .build();
        let runs = jobs.submit(pending::<()>()).unwrap();
        eventually("it runs", || runs.state() == Some(JobState::Running));
        let waits = jobs.submit(Job::new(|| ()).delay(AGES)).unwrap();
        let expected = vec![runs.id(), waits.id()];
        rt.block_on(async { drop(jobs) });
        assert_eq!(report.lock().unwrap().take().unwrap().given_up, expected);
        assert!(runs.wait().unwrap_err().is_cancelled());
        assert!(waits.wait().unwrap_err().is_cancelled());
    });
}

#[test]
fn a_panic_of_the_last_report_is_no_second_panic_of_its_thread() {
    each(|rt| {
        let (jobs, waits) = {
            let panics = |_| panic_quietly("in the report");
            let jobs = JobManager::builder(&rt).on_drop(panics).build();
            let waits = jobs.submit(Job::new(|| ()).delay(AGES)).unwrap();
            (jobs, waits)
        };
        let unwound = catch_unwind(AssertUnwindSafe(move || {
            let _jobs = jobs;
            panic_quietly("the first");
        }));
        let payload = unwound.unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"the first"));
        assert!(waits.wait().unwrap_err().is_cancelled());
    });
}

/// Not as if somebody had asked for that one job.
#[track_caller]
fn says_shutdown(error: &JobError) {
    assert!(error.is_cancelled());
    assert_eq!(error.message(), Reason::Shutdown.to_string());
}

#[test]
fn what_runs_and_what_waits_is_cancelled_in_the_same_words() {
    each(|rt| {
        for drains in [true, false] {
            let jobs = JobManager::builder(&rt).build();
            let future = jobs.submit(pending::<()>()).unwrap();
            let closure = jobs.submit(|| {
                while !cancel::is_cancelled() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let closure = closure.unwrap();
            let asked = jobs.submit(pending::<()>()).unwrap();
            let waits = jobs.submit(Job::new(|| ()).delay(AGES)).unwrap();
            eventually("they run", || jobs.overview().counts.running == 3);
            asked.cancel();
            assert_eq!(asked.wait().unwrap_err().message(), "");
            let all = [future, closure, waits];
            if drains {
                assert!(jobs.drain_with(Duration::ZERO, AGES).wait().is_clean());
                for job in &all {
                    let status = job.status().unwrap();
                    assert_eq!(status.error, Some(Reason::Shutdown.to_string()));
                }
            } else {
                drop(jobs);
            }
            for job in all {
                says_shutdown(&job.wait().unwrap_err());
            }
        }
    });
}

#[test]
fn a_shutdown_of_the_runtime_ends_every_job() {
    for (name, rt) in fourway_testing::runtimes() {
        eprintln!("on {name}");
        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let stuck = [(); 3].map(|()| jobs.submit(pending::<()>()).unwrap());
        eventually("two run", || jobs.overview().counts.running == 2);
        let closure = jobs.submit(|| ()).unwrap();
        if rt.shutdown(AGES).is_err() {
            // One runtime is global, and the other cannot shut down its threads.
            assert!(["smol, global", "ten lines"].contains(&name));
            continue;
        }
        for handle in stuck {
            says_shutdown(&handle.wait().unwrap_err());
        }
        says_shutdown(&closure.wait().unwrap_err());
        let late = jobs.submit(|| ());
        assert!(late.is_err() || late.unwrap().wait().is_err());
    }
}

#[test]
fn what_a_manager_keeps_can_know_it_without_keeping_it() {
    each(|rt| {
        let dropped = Counter::default();
        let held = dropped.on_drop();
        let jobs = JobManager::builder(&rt)
            .on_drop(move |_| drop(held))
            .build();
        let weak = jobs.downgrade();
        // Kept once it has failed.
        let (inner, own) = (weak.clone(), jobs.overview().submitted);
        let fails = jobs.submit(Job::blocking(move |job: JobContext| {
            let submitted = |jobs: Option<JobManager>| jobs.unwrap().overview().submitted;
            assert_eq!(submitted(job.manager()), own + 1);
            assert_eq!(submitted(inner.upgrade()), own + 1);
            Err::<(), _>("broken")
        }));
        assert_eq!(fails.unwrap().wait().unwrap_err().message(), "broken");
        let inner = weak.clone();
        let yearly = Schedule::every(Duration::from_secs(365 * 86_400));
        let make = move |_| drop(inner.upgrade());
        jobs.schedule("yearly", yearly, move |run| {
            make(run);
            || ()
        })
        .unwrap();
        drop(jobs);
        eventually("a job has let go of its handle", || dropped.get() == 1);
        assert!(weak.upgrade().is_none());
    });
}

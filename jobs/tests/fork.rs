//! Job managers in forked children (FK-1, forked children).

#![cfg(unix)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use fourway_core::{BoxCall, Call, CancellationToken};
use fourway_jobs::{
    BatchHandle, DrainReport, Events, Job, JobContext, JobHandle, JobManager, ResultError,
    Schedule, ScheduleHandle,
};
use fourway_testing::{AGES, any, forked, told_by_a_child};

/// The first bytes of an id are its time; the rest is its manager and a number.
const TIME: usize = 6;

#[test]
fn managers_of_siblings_make_ids_of_their_own() {
    // So that the children have copies of a generator that has a seed.
    first_id();
    let made = [
        told_by_a_child(first_id),
        told_by_a_child(first_id),
        first_id(),
    ];
    let manager = made.map(|id| id[TIME..].to_owned());
    assert_ne!(manager[0], manager[1], "two children");
    assert_ne!(manager[0], manager[2], "a child and its parent");
    assert_ne!(manager[1], manager[2], "a child and its parent");
}

/// The first id of a new manager.
fn first_id() -> [u8; 16] {
    let jobs = JobManager::builder(&any()).build();
    jobs.submit(|| ()).unwrap().id().to_bytes()
}

/// All that a manager gives, with a job that runs and others that wait for it.
struct Everything {
    jobs: JobManager,
    ended: JobHandle<u32>,
    runs: JobHandle<()>,
    waits: JobHandle<()>,
    told: BoxCall<Result<fourway_jobs::JobStatus, fourway_jobs::UnknownJob>>,
    events: Events,
    batch: BatchHandle,
    schedule: ScheduleHandle,
    drain: BoxCall<DrainReport>,
}

impl Everything {
    fn new(gate: mpsc::Receiver<()>, dropped: &Arc<AtomicUsize>) -> Self {
        let counted = dropped.clone();
        let jobs = JobManager::builder(&any())
            .concurrency(1)
            .on_drop(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
            })
            .build();
        let ended = jobs.submit(|| 1_u32).unwrap();
        jobs.wait(ended.id()).wait().unwrap();
        let (started, has_started) = mpsc::channel();
        let runs = jobs
            .submit(move || {
                started.send(()).unwrap();
                // Until the other end is dropped.
                gate.recv().unwrap_err();
            })
            .unwrap();
        has_started.recv().unwrap();
        let on_drop = Dropped(dropped.clone());
        let waits = jobs.submit(move || drop(on_drop)).unwrap();
        let mut batch = jobs.batch();
        drop(batch.add(Job::new(|| ())).unwrap());
        let schedule = Schedule::every(Duration::from_secs(3600));
        Self {
            told: jobs.wait(runs.id()),
            events: jobs.subscribe(8),
            batch: batch.end(),
            schedule: jobs.schedule("hourly", schedule, |_| || ()).unwrap(),
            drain: jobs.drain(AGES),
            jobs,
            ended,
            runs,
            waits,
        }
    }
}

/// Says on which side its destructor ran: each process has its own copy of the count.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_manager_from_before_answers_at_once_and_says_why() {
    let (gate, opened) = mpsc::channel();
    let dropped = Arc::new(AtomicUsize::new(0));
    let parts = forked(Everything::new(opened, &dropped), |parts| {
        let Everything {
            jobs,
            ended,
            runs,
            waits,
            told,
            mut events,
            batch,
            schedule,
            drain,
        } = parts;
        let [has_ended, running] = [ended.id(), runs.id()];
        for error in [ended.wait().unwrap_err(), runs.wait().unwrap_err()] {
            assert!(error.is_forked() && !error.is_cancelled(), "{error}");
            assert!(error.to_string().contains("forked child"), "{error}");
        }
        assert!(told.wait().unwrap_err().is_forked());
        assert!(jobs.wait(running).wait().unwrap_err().is_forked());
        assert!(jobs.status(has_ended).unwrap_err().is_forked());
        assert!(jobs.cancel(running).unwrap_err().is_forked());
        assert!(
            jobs.forget(has_ended)
                .is_err_and(|error| error.to_string().contains("fork"))
        );
        let retried = jobs.retry(has_ended).unwrap_err();
        assert!(retried.is_forked() && retried.is_closed(), "{retried}");
        match jobs.result::<u32>(has_ended) {
            Err(ResultError::Unknown(error)) => assert!(error.is_forked()),
            other => panic!("{other:?}"),
        }

        for refused in [
            jobs.submit(async {}).unwrap_err(),
            jobs.submit(Job::new(|| ()).class("other")).unwrap_err(),
            jobs.submit_when_free(|| ()).wait().unwrap_err(),
            jobs.batch().add(Job::new(|| ())).unwrap_err(),
        ] {
            assert!(refused.is_forked() && refused.is_closed(), "{refused}");
        }
        let hourly = Schedule::every(Duration::from_secs(3600));
        let refused = jobs.schedule("another", hourly, |_| || ()).unwrap_err();
        assert!(refused.is_forked() && refused.is_closed(), "{refused}");
        assert!(jobs.find_schedule("hourly").is_none());
        schedule.pause();
        assert!(!schedule.remove());
        assert!(schedule.status().error.unwrap().contains("forked child"));

        assert_eq!(events.wait().unwrap(), None);
        assert_eq!(jobs.subscribe(8).wait().unwrap(), None);
        assert_eq!(batch.wait().others, []);
        for report in [drain.wait(), jobs.drain(AGES).wait()] {
            assert!(report.is_clean() && report.fates.is_empty(), "{report:?}");
        }
        assert!(jobs.overview().closed);
        let shown = format!("{jobs:?} {waits:?} {events:?} {schedule:?}");
        assert!(shown.contains("from before the fork"), "{shown}");

        drop((jobs, waits, events, schedule));
        assert_eq!(dropped.load(Ordering::Relaxed), 0, "what is the parent's");
        let own = JobManager::new(&any());
        assert_eq!(own.submit(|| 2).unwrap().wait().unwrap(), 2);
        assert!(own.drain(AGES).wait().is_clean());
    });

    drop(gate);
    assert_eq!(parts.ended.wait().unwrap(), 1);
    parts.runs.wait().unwrap();
    parts.waits.wait().unwrap();
    assert!(parts.told.wait().unwrap().state.is_finished());
    assert_eq!(parts.batch.wait().counts.completed, 1);
    assert!(parts.drain.wait().is_clean());
}

/// Whichever lock another thread holds at the fork.
#[test]
fn a_fork_beside_threads_that_submit_hangs_in_no_lock() {
    let (jobs, stop) = (JobManager::new(&any()), CancellationToken::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.is_cancelled() {
                    let job = jobs.submit(async {}).unwrap();
                    assert!(!jobs.overview().closed);
                    job.wait().unwrap();
                }
            });
        }
        // Cancelled also if an assertion fails: the scope waits for its threads.
        let _stop = stop.clone().drop_guard();
        for _ in 0..20 {
            let job = forked(jobs.submit(async {}).unwrap(), |job| {
                assert!(jobs.submit(async {}).unwrap_err().is_forked());
                assert!(jobs.overview().closed);
                assert!(job.wait().unwrap_err().is_forked());
                assert!(jobs.drain(AGES).wait().is_clean());
            });
            job.wait().unwrap();
        }
    });
    assert!(jobs.drain(AGES).wait().is_clean());
}

/// A body that forks: in the child its worker takes no more jobs, and tells nobody of this one.
#[test]
fn a_job_that_forks_runs_on_in_the_parent() {
    let jobs = JobManager::new(&any());
    let body = |_: JobContext| {
        forked((), |()| {
            let job = JobContext::current().unwrap();
            job.progress(0.5);
            job.count("children", 1);
            let jobs = job.manager().unwrap();
            assert!(jobs.status(job.id()).unwrap_err().is_forked());
        });
        Ok::<_, std::io::Error>(())
    };
    let job = jobs.submit(Job::blocking(body)).unwrap();
    let id = job.id();
    job.wait().unwrap();
    assert_eq!(jobs.status(id).unwrap().progress, None);
    assert!(jobs.drain(AGES).wait().is_clean());
}

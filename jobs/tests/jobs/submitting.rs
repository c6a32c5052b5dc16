//! What is submitted, ids, results and what they hold.

use std::{
    collections::BTreeSet,
    pin::pin,
    time::{Duration, SystemTime},
};

use fourway_core::{BlockOn, Call, Runtime, yield_now};
use fourway_jobs::{
    BoxError, CancelOutcome, EventKind, Job, JobContext, JobId, JobManager, JobState, ManualClock,
    ResultError,
};
use fourway_testing::{Counter, Gate, OnDrop, each, eventually, poll_once, run};

use super::{manager, soon};

#[test]
fn futures_closures_and_calls_are_submitted_alike() {
    each(|rt| {
        let jobs = manager(&rt);
        let future = jobs.submit(async { 1 }).unwrap();
        let closure = jobs.submit(|| 2).unwrap();
        let call = jobs
            .submit(rt.call_blocking(|| Ok::<_, BoxError>(3)))
            .unwrap();
        let awaits = jobs
            .submit(async {
                yield_now().await;
                4
            })
            .unwrap();
        assert!(future.id() < closure.id() && closure.id() < call.id());
        let id = call.id();
        assert_eq!(future.wait().unwrap(), 1);
        assert_eq!(closure.wait().unwrap(), 2);
        assert_eq!(run(&rt, call).unwrap(), 3);
        assert_eq!(run(&rt, awaits).unwrap(), 4);
        let status = jobs.status(id).unwrap();
        assert_eq!((status.state, status.attempt), (JobState::Completed, 1));
        assert!(status.submitted_at <= status.started_at.unwrap());
        assert!(status.started_at <= status.ended_at);
        assert_eq!(jobs.overview().counts.completed, 4);
    });
}

#[test]
fn ids_print_parse_and_sort() {
    each(|rt| {
        let jobs = manager(&rt);
        let ids: Vec<_> = (0..100)
            .map(|n| jobs.submit(move || n).unwrap().id())
            .collect();
        assert!(ids.is_sorted());
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 100);
        for id in ids {
            let text = id.to_string();
            assert_eq!(text.parse(), Ok(id));
            assert_eq!(text.to_lowercase().parse(), Ok(id));
            // Two bits more than an id has: not another text of the same id.
            let beyond = format!("8{}", &text[1..]);
            for wrong in [&beyond, &text[1..], &format!("0{text}"), "", "ü"] {
                assert!(wrong.parse::<JobId>().is_err(), "{wrong}");
            }
            jobs.wait(id).wait().unwrap();
        }
        let other = manager(&rt);
        let id = other.submit(|| ()).unwrap().id();
        assert!(jobs.status(id).is_err(), "it is another manager's");
        assert!(jobs.cancel(id).is_err() && jobs.retry(id).unwrap_err().is_unknown());
    });
}

#[test]
fn results_are_had_by_id() {
    each(|rt| {
        let jobs = manager(&rt);
        let id = jobs.submit(|| String::from("copied")).unwrap().id();
        jobs.wait(id).wait().unwrap();
        for _ in 0..2 {
            assert_eq!(jobs.result::<String>(id).unwrap(), "copied");
        }
        assert!(matches!(
            jobs.result::<u8>(id),
            Err(ResultError::OtherType(_))
        ));
        assert_eq!(jobs.take_result::<String>(id).unwrap(), "copied");
        let error = jobs.result::<String>(id).unwrap_err();
        assert!(matches!(error, ResultError::Job(error) if error.is_taken()));
    });
}

/// A value whose clones are made at the same time: the first one waits for the gate.
struct Slow {
    clones: Counter,
    gate: Gate,
    _alive: OnDrop,
    dropped: Counter,
}

impl Clone for Slow {
    fn clone(&self) -> Self {
        if self.clones.add() == 1 {
            self.gate.wait();
        }
        Self {
            clones: self.clones.clone(),
            gate: self.gate.clone(),
            _alive: self.dropped.on_drop(),
            dropped: self.dropped.clone(),
        }
    }
}

#[test]
fn a_result_is_there_for_all_who_ask_at_the_same_time() {
    each(|rt| {
        let jobs = manager(&rt);
        let (clones, gate, dropped) = (Counter::default(), Gate::default(), Counter::default());
        let slow = Slow {
            clones: clones.clone(),
            gate: gate.clone(),
            _alive: dropped.on_drop(),
            dropped: dropped.clone(),
        };
        let id = jobs.submit(|| Ok::<_, BoxError>(slow)).unwrap().id();
        jobs.wait(id).wait().unwrap();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| jobs.result::<Slow>(id).is_ok());
            eventually("one clones it", || clones.get() == 1);
            assert!(jobs.result::<Slow>(id).is_ok(), "for another one, too");
            // The first caller that takes it gets it; later ones do not.
            assert!(jobs.take_result::<Slow>(id).is_ok());
            let error = jobs.result::<Slow>(id).err().unwrap();
            assert!(matches!(error, ResultError::Job(error) if error.is_taken()));
            gate.open();
            assert!(first.join().unwrap());
        });
        // The value and three clones.
        assert_eq!((clones.get(), dropped.get()), (3, 4));
    });
}

/// Something that a body has captured, whose destructor waits for the gate.
struct Holds(Counter, Gate);

impl Drop for Holds {
    fn drop(&mut self) {
        self.0.add();
        self.1.wait();
    }
}

#[test]
fn a_job_has_completed_once_its_result_is_there() {
    each(|rt| {
        let jobs = manager(&rt);
        let mut events = jobs.subscribe(1000);
        for n in 0..50 {
            let id = jobs.submit(async move { n }).unwrap().id();
            while let Some(event) = events.wait().unwrap() {
                let to = JobState::Completed;
                if matches!(event.kind, EventKind::State { to: state, .. } if state == to) {
                    break;
                }
            }
            assert_eq!(jobs.result::<i32>(id).unwrap(), n);
        }
    });
}

#[test]
fn a_job_runs_until_what_its_body_has_captured_is_gone() {
    each(|rt| {
        let clock = ManualClock::new(SystemTime::now());
        let jobs = JobManager::builder(&rt).clock(clock.clone()).build();
        let (dropping, gate) = (Counter::default(), Gate::default());
        let hold = || Holds(dropping.clone(), gate.clone());
        let (held, held_too, held_last) = (hold(), hold(), hold());
        let future = Job::task(move |_: JobContext| {
            let _held = &held;
            async { 1 }
        });
        let closure = Job::blocking(move |_: JobContext| {
            let _held = &held_too;
            1
        });
        let cancelled = Job::blocking(move |_: JobContext| {
            let _held = &held_last;
            1
        });
        let second = Duration::from_secs(1);
        let ids = [
            jobs.submit(future.timeout(second)).unwrap().id(),
            jobs.submit(closure.timeout(second)).unwrap().id(),
        ];
        let cancelled = jobs.submit(cancelled.retry(soon(3))).unwrap().id();
        eventually("all are being dropped", || dropping.get() == 3);
        for id in ids {
            assert_eq!(jobs.status(id).unwrap().state, JobState::Running);
            let result = jobs.result::<i32>(id);
            assert!(matches!(
                result,
                Err(ResultError::Unfinished(_, JobState::Running))
            ));
        }
        // They have given their value in time, and are not asked to end any more.
        clock.advance(10 * second);
        assert_eq!(jobs.cancel(cancelled), Ok(CancelOutcome::Requested));
        gate.open();
        for id in ids {
            assert_eq!(jobs.wait(id).wait().unwrap().state, JobState::Completed);
            assert_eq!(jobs.result::<i32>(id).unwrap(), 1);
        }
        let end = jobs.wait(cancelled).wait().unwrap();
        assert_eq!((end.state, end.attempt), (JobState::Cancelled, 1));
        assert!(jobs.retry(cancelled).unwrap_err().is_once());
    });
}

#[test]
fn who_waits_for_a_job_waits_until_what_it_has_captured_is_gone() {
    each(|rt| {
        let jobs = manager(&rt);
        jobs.pause(None);
        let (dropping, gate) = (Counter::default(), Gate::default());
        let held = Holds(dropping.clone(), gate.clone());
        let id = jobs.submit(move || drop(held)).unwrap().id();
        let canceller = {
            let jobs = jobs.clone();
            std::thread::spawn(move || jobs.cancel(id).unwrap())
        };
        eventually("it is being dropped", || dropping.get() == 1);
        assert_eq!(jobs.status(id).unwrap().state, JobState::Cancelled);
        let mut wait = pin!(jobs.wait(id).into_future());
        assert!(rt.block_on(poll_once(wait.as_mut())).is_pending());
        gate.open();
        let ended = run(&rt, wait).unwrap();
        assert_eq!(ended.state, JobState::Cancelled);
        assert_eq!(canceller.join().unwrap(), CancelOutcome::Cancelled);
    });
}

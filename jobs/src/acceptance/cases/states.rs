//! JB-2, states and snapshots: states, snapshots and values.

use std::{
    collections::BTreeMap,
    future::{pending, ready},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::{Counter, Gate, Opens, accepted, nothing, submit, value};
use crate::{
    JobId, JobState,
    acceptance::{Bench, Body, Manager, Settings, TestJob, Value},
};

pub(super) fn order(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    manager.pause(true);
    let mut again = TestJob::new(Body::closure(|attempt| match attempt.number {
        1 => Err("not yet".into()),
        _ => value(1),
    }));
    again.attempts = 2;
    let mut slow = TestJob::new(Body::future(|_| pending()));
    slow.timeout = Some(Duration::from_millis(1));
    let completed = submit(&*manager, nothing());
    let cancelled = submit(&*manager, nothing());
    manager.cancel(cancelled);
    let failed = submit(&*manager, Body::closure(|_| Err("broken".into())));
    let again = accepted(manager.submit(again));
    let timed_out = accepted(manager.submit(slow));
    manager.pause(false);
    use JobState::{Cancelled, Completed, Failed, Queued, Retrying, Running, TimedOut};
    let expected = [
        (completed, vec![Queued, Running, Completed]),
        (cancelled, vec![Queued, Cancelled]),
        (failed, vec![Queued, Running, Failed]),
        (
            again,
            vec![Queued, Running, Retrying, Queued, Running, Completed],
        ),
        (timed_out, vec![Queued, Running, TimedOut]),
    ];
    for (id, states) in &expected {
        let last = states.last().expect("a job has states");
        assert_eq!(bench.end(&*manager, *id).state, *last);
    }
    let mut found: BTreeMap<JobId, Vec<JobState>> = BTreeMap::new();
    for transition in manager.transitions() {
        let states = found.entry(transition.id).or_default();
        assert_eq!(
            states.last().copied(),
            transition.from,
            "a state is missing"
        );
        states.push(transition.to);
    }
    assert_eq!(found, expected.into_iter().collect());
}

pub(super) fn unknown(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let other = bench.manager(Settings::default());
    let foreign = submit(&*other, nothing());
    submit(&*manager, nothing());
    let strange = [
        foreign,
        JobId::from_bytes([0; 16]),
        JobId::from_bytes([0xff; 16]),
    ];
    for id in strange {
        assert_eq!(manager.snapshot(id), None);
        assert_eq!(manager.value(id), None);
        assert_eq!(manager.cancel(id), None);
    }
    bench.end(&*other, foreign);
}

pub(super) fn snapshots(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let manager = &*manager;
    for round in 0..50 {
        let mut job = TestJob::new(Body::future(|attempt| async move {
            fourway_core::yield_now().await;
            match attempt.number {
                3 => value(7),
                n => Err(format!("attempt {n}")),
            }
        }));
        job.attempts = if round % 2 == 0 { 3 } else { 2 };
        let id = accepted(manager.submit(job));
        bench.eventually("it ends", || {
            let snapshot = manager.snapshot(id).expect("it is known");
            let at = snapshot.attempt;
            match snapshot.state {
                JobState::Queued => assert!(at < 3, "{snapshot:?}"),
                JobState::Running => assert!((1..=3).contains(&at), "{snapshot:?}"),
                JobState::Retrying => assert!((1..3).contains(&at), "{snapshot:?}"),
                JobState::Completed => {
                    assert!(at == 3 && snapshot.error.is_none(), "{snapshot:?}");
                }
                JobState::Failed => {
                    assert_eq!((at, snapshot.error.as_deref()), (2, Some("attempt 2")));
                }
                state => panic!("{state}, and nobody said so"),
            }
            assert!(!snapshot.cancelling);
            snapshot.state.is_finished()
        });
        let end = manager.snapshot(id).expect("it is known");
        let expected = match round % 2 {
            0 => (3, JobState::Completed),
            _ => (2, JobState::Failed),
        };
        assert_eq!((end.attempt, end.state), expected);
    }
}

pub(super) fn forgotten(bench: &Bench<'_>) {
    let manager = bench.manager(Settings {
        keep: 2,
        ..Settings::default()
    });
    let kept: Arc<Mutex<Vec<std::sync::Weak<u64>>>> = Arc::default();
    let run = || {
        let kept = kept.clone();
        let body = Body::closure(move |_| {
            let value = Value::new(1);
            kept.lock().expect("no panics").push(Arc::downgrade(&value));
            Ok(value)
        });
        let id = submit(&*manager, body);
        bench.end(&*manager, id);
        id
    };
    let ids: Vec<_> = (0..10).map(|_| run()).collect();
    for id in &ids[..8] {
        bench.eventually("it is forgotten", || manager.snapshot(*id).is_none());
        assert_eq!(manager.value(*id), None);
    }
    for id in &ids[8..] {
        bench.eventually("the last ones have a value", || {
            manager.value(*id).is_some()
        });
    }
    let left = || {
        let kept = kept.lock().expect("no panics");
        kept.iter().filter(|value| value.strong_count() > 0).count()
    };
    bench.eventually("the values of forgotten jobs are gone", || left() == 2);
}

pub(super) fn value_with_end(bench: &Bench<'_>) {
    /// Its destructor takes a while: a job that completes before the destructor returns has no
    /// value until then.
    struct Slow;

    impl Drop for Slow {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(5));
        }
    }

    let manager = bench.manager(Settings::default());
    let manager = &*manager;
    for n in 0..10 {
        let held = Slow;
        let body = match n % 2 {
            0 => Body::closure(move |_| {
                let _held = &held;
                value(n)
            }),
            _ => Body::future(move |_| {
                let _held = &held;
                ready(value(n))
            }),
        };
        let id = submit(manager, body);
        assert_eq!(bench.end(manager, id).state, JobState::Completed);
        let look = || {
            for _ in 0..20 {
                let value = manager.value(id);
                assert_eq!(value.as_deref(), Some(&n), "its value, for each who asks");
            }
        };
        // First on this thread, where a failure is shown.
        look();
        thread::scope(|scope| {
            let others = [scope.spawn(look), scope.spawn(look)];
            let seen = others.map(|other| other.join().is_ok());
            assert_eq!(seen, [true; 2], "two asked for its value at the same time");
        });
    }
}

pub(super) fn all_told(bench: &Bench<'_>) {
    const WAIT: usize = 4;
    let manager: Arc<dyn Manager> = bench.manager(Settings::default()).into();
    let gate = Gate::default();
    let opens = Opens(gate.clone());
    let body = Body::closure(move |_| {
        gate.wait();
        value(1)
    });
    let id = submit(&*manager, body);
    let (waits, told) = (Counter::default(), Counter::default());
    for _ in 0..WAIT {
        let (manager, waits, told) = (manager.clone(), waits.clone(), told.clone());
        // Not joined: a thread that is never told would block the case.
        thread::spawn(move || {
            waits.add();
            let end = manager.wait(id);
            if end.is_some_and(|end| end.state == JobState::Completed) {
                told.add();
            }
        });
    }
    bench.eventually("all begin to wait", || waits.get() == WAIT);
    // Most likely they wait by now. The job may also end before one of them waits.
    thread::sleep(Duration::from_millis(5));
    drop(opens);
    bench.eventually("each who waits is told", || told.get() == WAIT);
}

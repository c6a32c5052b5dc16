//! JB-3, cancelling: jobs are cancelled, or exceed their timeout.

use std::{future::pending, thread, time::Duration};

use super::{Counter, Gate, OnDrop, Opens, accepted, alone, counts, nothing, submit, value};
use crate::{
    CancelOutcome, JobState,
    acceptance::{Bench, Body, Settings, TestJob},
};

pub(super) fn cancel_queued(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    manager.pause(true);
    let ran = Counter::default();
    let [once, again] = [(); 2].map(|()| Counter::default());
    let cancelled: Vec<_> = (0..20)
        .map(|n| {
            let runs_once = n % 2 == 0;
            let dropped = if runs_once { &once } else { &again };
            let (ran, held) = (ran.clone(), OnDrop(dropped.clone()));
            let mut job = TestJob::new(Body::closure(move |_| {
                let _held = &held;
                ran.add();
                value(1)
            }));
            job.runs_once = runs_once;
            accepted(manager.submit(job))
        })
        .collect();
    for id in &cancelled {
        assert_eq!(manager.cancel(*id), Some(CancelOutcome::Cancelled));
        let state = manager.snapshot(*id).map(|snapshot| snapshot.state);
        assert_eq!(state, Some(JobState::Cancelled));
    }
    bench.eventually("the captures of bodies that run once are gone", || {
        once.get() == 10
    });
    manager.pause(false);
    for _ in 0..20 {
        let later = submit(&*manager, nothing());
        assert_eq!(bench.end(&*manager, later).state, JobState::Completed);
    }
    assert_eq!(ran.get(), 0, "what was cancelled has run");
    for id in cancelled {
        manager.cancel(id);
        let state = manager.snapshot(id).map(|snapshot| snapshot.state);
        assert_eq!(state, Some(JobState::Cancelled));
    }
    drop(manager);
    bench.eventually("what the others had captured is gone", || again.get() == 10);
}

pub(super) fn cancel_future(bench: &Bench<'_>) {
    let manager = bench.manager(alone());
    let (began, dropped) = (Counter::default(), Counter::default());
    let (begins, drops) = (began.clone(), dropped.clone());
    let body = Body::future(move |_| {
        let (begins, held) = (begins.clone(), OnDrop(drops.clone()));
        async move {
            let _held = held;
            begins.add();
            pending().await
        }
    });
    let id = submit(&*manager, body);
    let next = submit(&*manager, nothing());
    bench.eventually("it begins", || began.get() == 1);
    assert_eq!(manager.cancel(id), Some(CancelOutcome::Requested));
    let end = bench.end(&*manager, id);
    assert_eq!(end.state, JobState::Cancelled);
    assert_eq!(dropped.get(), 1, "it has ended, and its future is there");
    bench.end(&*manager, next);
}

pub(super) fn cancel_closure(bench: &Bench<'_>) {
    let manager = bench.manager(alone());
    let (gate, began, asked) = (Gate::default(), Counter::default(), Counter::default());
    let _opens = Opens(gate.clone());
    let (waits, begins, asks) = (gate.clone(), began.clone(), asked.clone());
    let body = Body::closure(move |attempt| {
        begins.add();
        waits.wait();
        if attempt.token.is_cancelled() {
            asks.add();
        }
        value(1)
    });
    let id = submit(&*manager, body);
    let ran = Counter::default();
    let next = submit(&*manager, counts(&ran));
    bench.eventually("it begins", || began.get() == 1);
    assert_eq!(manager.cancel(id), Some(CancelOutcome::Requested));
    for _ in 0..20 {
        let snapshot = manager.snapshot(id).expect("it is known");
        assert_eq!(snapshot.state, JobState::Running, "it has not ended");
        assert!(
            snapshot.cancelling,
            "it was asked to end, and shows nothing of it"
        );
        assert_eq!(ran.get(), 0, "the slot is held, and another job has run");
        // Time in which a manager that frees the slot too early would show it.
        thread::sleep(Duration::from_millis(1));
    }
    gate.open();
    assert_eq!(bench.end(&*manager, id).state, JobState::Cancelled);
    assert_eq!(asked.get(), 1, "its token was not cancelled");
    assert_eq!(bench.end(&*manager, next).state, JobState::Completed);
}

pub(super) fn cancel_late(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let done = submit(&*manager, Body::closure(|_| value(5)));
    let failed = submit(&*manager, Body::closure(|_| Err("broken".into())));
    for (id, state) in [(done, JobState::Completed), (failed, JobState::Failed)] {
        assert_eq!(bench.end(&*manager, id).state, state);
        assert_eq!(manager.cancel(id), Some(CancelOutcome::TooLate(state)));
        assert_eq!(bench.end(&*manager, id).state, state, "nothing has changed");
    }
    bench.eventually("its value is there still", || {
        manager.value(done).as_deref() == Some(&5)
    });
}

pub(super) fn timeout(bench: &Bench<'_>) {
    let manager = bench.manager(alone());
    let dropped = Counter::default();
    let drops = dropped.clone();
    let mut future = TestJob::new(Body::future(move |_| {
        let held = OnDrop(drops.clone());
        async move {
            let _held = held;
            pending().await
        }
    }));
    let mut closure = TestJob::new(Body::closure(|attempt| {
        while !attempt.token.is_cancelled() {
            // Looks again and again, as a closure that checks its token does.
            thread::sleep(Duration::from_micros(200));
        }
        value(1)
    }));
    for job in [&mut future, &mut closure] {
        job.timeout = Some(Duration::from_millis(5));
    }
    let future = accepted(manager.submit(future));
    let closure = accepted(manager.submit(closure));
    assert_eq!(bench.end(&*manager, future).state, JobState::TimedOut);
    assert_eq!(dropped.get(), 1);
    assert_eq!(bench.end(&*manager, closure).state, JobState::TimedOut);
    assert_eq!(manager.value(closure), None);
}

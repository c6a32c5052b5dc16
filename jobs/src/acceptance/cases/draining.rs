//! JB-5, draining: drains end all jobs and report them.

use std::{collections::BTreeMap, future::pending, sync::Mutex, thread, time::Duration};

use super::{Counter, Gate, Opens, alone, counts, nothing, submit, value};
use crate::{
    JobState,
    acceptance::{Bench, Body, Refusal, TestJob},
};

pub(super) fn drain_all(bench: &Bench<'_>) {
    let manager = bench.manager(alone());
    let manager = &*manager;
    let (gate, began, ran) = (Gate::default(), Counter::default(), Counter::default());
    let opens = Opens(gate.clone());
    let begins = began.clone();
    let first = submit(
        manager,
        Body::closure(move |_| {
            begins.add();
            gate.wait();
            value(1)
        }),
    );
    let mut expected: BTreeMap<_, _> = (0..20)
        .map(|_| (submit(manager, counts(&ran)), JobState::Completed))
        .collect();
    let fails = submit(manager, Body::closure(|_| Err("broken".into())));
    expected.insert(first, JobState::Completed);
    expected.insert(fails, JobState::Failed);
    bench.eventually("it begins", || began.get() == 1);
    let fates = thread::scope(|scope| {
        let patience = bench.patience;
        let drain = scope.spawn(move || manager.drain(patience));
        let accepted = Mutex::new(Vec::new());
        bench.eventually("it accepts no more jobs", || {
            match manager.submit(TestJob::new(nothing())) {
                Ok(id) => {
                    accepted.lock().expect("no panics").push(id);
                    false
                }
                Err(refusal) => {
                    assert_eq!(refusal, Refusal::Closed);
                    true
                }
            }
        });
        let accepted = accepted.into_inner().expect("no panics");
        expected.extend(accepted.into_iter().map(|id| (id, JobState::Completed)));
        drop(opens);
        drain.join().expect("a drain does not panic")
    });
    let reported: BTreeMap<_, _> = fates.iter().copied().collect();
    assert_eq!(reported.len(), fates.len(), "each fate is reported once");
    for (id, state) in expected {
        assert_eq!(reported.get(&id), Some(&state), "the fate of {id}");
        let known = manager.snapshot(id).map(|snapshot| snapshot.state);
        assert_eq!(known, Some(state), "the fate is the job's state");
    }
    assert_eq!(ran.get(), 20, "a drain lets jobs end");
}

pub(super) fn drain_cancels(bench: &Bench<'_>) {
    let manager = bench.manager(alone());
    let began = Counter::default();
    let begins = began.clone();
    let stuck = submit(
        &*manager,
        Body::future(move |_| {
            begins.add();
            pending()
        }),
    );
    let ran = Counter::default();
    let waits: Vec<_> = (0..5).map(|_| submit(&*manager, counts(&ran))).collect();
    bench.eventually("it begins", || began.get() == 1);
    let fates: BTreeMap<_, _> = manager
        .drain(Duration::from_millis(5))
        .into_iter()
        .collect();
    for id in waits.into_iter().chain([stuck]) {
        assert_eq!(
            fates.get(&id),
            Some(&JobState::Cancelled),
            "the fate of {id}"
        );
        assert_eq!(bench.end(&*manager, id).state, JobState::Cancelled);
    }
    assert_eq!(ran.get(), 0);
}

pub(super) fn drain_twice(bench: &Bench<'_>) {
    let manager = bench.manager(alone());
    let manager = &*manager;
    let (gate, began) = (Gate::default(), Counter::default());
    let opens = Opens(gate.clone());
    let begins = began.clone();
    let body = Body::closure(move |_| {
        begins.add();
        gate.wait();
        value(1)
    });
    let mut ids = vec![submit(manager, body)];
    bench.eventually("it begins", || began.get() == 1);
    ids.extend((0..5).map(|_| submit(manager, nothing())));
    let reports = thread::scope(|scope| {
        let patience = bench.patience;
        let drains = [(); 2].map(|()| scope.spawn(move || manager.drain(patience)));
        bench.eventually("it accepts no more jobs", || {
            let submitted = manager.submit(TestJob::new(nothing()));
            submitted.is_err_and(|refusal| refusal == Refusal::Closed)
        });
        drop(opens);
        drains.map(|drain| drain.join().expect("a drain does not panic"))
    });
    let reports = reports.map(|fates| fates.into_iter().collect::<BTreeMap<_, _>>());
    for id in ids {
        assert_eq!(reports[0].get(&id), Some(&JobState::Completed));
    }
    assert_eq!(reports[0], reports[1], "what two drains report");
}

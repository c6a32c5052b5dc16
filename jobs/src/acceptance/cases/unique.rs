//! JB-6, unique keys.

use std::{collections::BTreeSet, sync::Mutex, thread};

use super::{Counter, accepted, counts};
use crate::acceptance::{Bench, Settings, TestJob};

pub(super) fn unique(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let keyed = |ran: &Counter| {
        let mut job = TestJob::new(counts(ran));
        job.unique = Some("the report".into());
        accepted(manager.submit(job))
    };
    manager.pause(true);
    let (first, second) = (Counter::default(), Counter::default());
    let id = keyed(&first);
    for _ in 0..5 {
        assert_eq!(
            keyed(&second),
            id,
            "who submits again gets the one that is there"
        );
    }
    manager.pause(false);
    bench.end(&*manager, id);
    let next = keyed(&second);
    assert_ne!(next, id, "the first one has ended");
    bench.end(&*manager, next);
    assert_eq!((first.get(), second.get()), (1, 1));
}

pub(super) fn unique_race(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let manager = &*manager;
    for round in 0..20 {
        manager.pause(true);
        let ran = Counter::default();
        let ids = Mutex::new(BTreeSet::new());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut job = TestJob::new(counts(&ran));
                    job.unique = Some(format!("round {round}"));
                    let id = accepted(manager.submit(job));
                    ids.lock().expect("no panics").insert(id);
                });
            }
        });
        manager.pause(false);
        let ids = ids.into_inner().expect("no panics");
        for id in &ids {
            bench.end(manager, *id);
        }
        assert_eq!(
            (ids.len(), ran.get()),
            (1, 1),
            "jobs, and how often they ran"
        );
    }
}

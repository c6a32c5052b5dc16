//! JB-1, submit now, ask later: jobs are accepted, run once and start in order.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    thread,
    time::{Duration, SystemTime},
};

use super::{Counter, Gate, Opens, accepted, alone, counts, nothing, submit, value};
use crate::{
    JobState, ManualClock,
    acceptance::{Bench, Body, Refusal, Settings, TestJob},
};

pub(super) fn at_once(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    manager.pause(true);
    let ids: Vec<_> = (0..100).map(|_| submit(&*manager, nothing())).collect();
    assert!(ids.is_sorted(), "ids are in the order of submission");
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        100,
        "an id twice"
    );
    for id in &ids {
        let state = manager.snapshot(*id).map(|snapshot| snapshot.state);
        assert_eq!(state, Some(JobState::Queued), "it is known at once");
    }
    manager.pause(false);
    for id in ids {
        let end = bench.end(&*manager, id);
        assert_eq!(end.state, JobState::Completed);
    }
}

pub(super) fn full(bench: &Bench<'_>) {
    let manager = bench.manager(Settings {
        queue_limit: 3,
        ..Settings::default()
    });
    manager.pause(true);
    let ran = Counter::default();
    let first = submit(&*manager, counts(&ran));
    let mut accepted = vec![
        submit(&*manager, counts(&ran)),
        submit(&*manager, counts(&ran)),
    ];
    for _ in 0..3 {
        let refused = manager.submit(TestJob::new(counts(&ran)));
        assert_eq!(refused, Err(Refusal::Full), "there is no room");
    }
    manager.cancel(first);
    accepted.push(submit(&*manager, counts(&ran)));
    manager.pause(false);
    // Each of them: a refused job may have been counted before it was refused.
    for id in accepted {
        bench.end(&*manager, id);
    }
    assert_eq!(ran.get(), 3, "what was refused has run");
}

pub(super) fn exactly_once(bench: &Bench<'_>) {
    const THREADS: usize = 4;
    const JOBS: usize = 100;
    let manager = bench.manager(Settings::default());
    let manager = &*manager;
    let ran: Vec<Counter> = (0..THREADS * JOBS).map(|_| Counter::default()).collect();
    let ids = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (ran, ids) = (&ran, &ids);
            scope.spawn(move || {
                for ran in &ran[thread * JOBS..(thread + 1) * JOBS] {
                    let body = if thread % 2 == 0 {
                        counts(ran)
                    } else {
                        let ran = ran.clone();
                        Body::future(move |_| {
                            let ran = ran.clone();
                            async move {
                                fourway_core::yield_now().await;
                                ran.add();
                                value(1)
                            }
                        })
                    };
                    let id = submit(manager, body);
                    ids.lock().expect("no panics").push(id);
                }
            });
        }
    });
    let ids = ids.into_inner().expect("no panics");
    for id in &ids {
        assert_eq!(bench.end(manager, *id).state, JobState::Completed);
    }
    let wrong: Vec<_> = ran.iter().map(Counter::get).filter(|n| *n != 1).collect();
    assert_eq!(wrong, [0; 0], "jobs that did not run exactly once");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
}

pub(super) fn limit(bench: &Bench<'_>) {
    let manager = bench.manager(Settings {
        concurrency: 3,
        ..Settings::default()
    });
    let (now, most) = (Counter::default(), Counter::default());
    let ids: Vec<_> = (0..60)
        .map(|n| {
            let (now, most) = (now.clone(), most.clone());
            let enter = move || {
                let running = now.0.fetch_add(1, SeqCst) + 1;
                most.0.fetch_max(running, SeqCst);
                now.clone()
            };
            let body = if n % 2 == 0 {
                Body::closure(move |_| {
                    let now = enter();
                    thread::yield_now();
                    now.0.fetch_sub(1, SeqCst);
                    value(1)
                })
            } else {
                Body::future(move |_| {
                    let enter = enter.clone();
                    async move {
                        let now = enter();
                        for _ in 0..3 {
                            fourway_core::yield_now().await;
                        }
                        now.0.fetch_sub(1, SeqCst);
                        value(1)
                    }
                })
            };
            submit(&*manager, body)
        })
        .collect();
    for id in ids {
        bench.end(&*manager, id);
    }
    assert!(most.get() <= 3, "{} at a time", most.get());
    // And no fewer: the manager runs as many jobs as its limit allows.
    let gate = Gate::default();
    let _opens = Opens(gate.clone());
    let inside = Counter::default();
    for _ in 0..3 {
        let (gate, inside) = (gate.clone(), inside.clone());
        let body = Body::closure(move |_| {
            inside.add();
            gate.wait();
            value(1)
        });
        submit(&*manager, body);
    }
    bench.eventually("as many run as may", || inside.get() == 3);
}

pub(super) fn priority(bench: &Bench<'_>) {
    let clock = ManualClock::new(SystemTime::now());
    let manager = bench.manager(Settings {
        clock: Some(clock.clone()),
        ..alone()
    });
    manager.pause(true);
    let order: Arc<Mutex<Vec<&str>>> = Arc::default();
    let add = |name: &'static str, priority: i8| {
        let order = order.clone();
        let mut job = TestJob::new(Body::closure(move |_| {
            order.lock().expect("no panics").push(name);
            value(1)
        }));
        job.priority = priority;
        accepted(manager.submit(job))
    };
    let mut ids = vec![add("old", 0), add("old too", 0)];
    // Two and a half levels.
    clock.advance(Duration::from_secs(25));
    ids.extend([add("low", -1), add("high", 2), add("highest", 3)]);
    manager.pause(false);
    for id in ids {
        bench.end(&*manager, id);
    }
    let order = order.lock().expect("no panics").clone();
    assert_eq!(order, ["highest", "old", "old too", "high", "low"]);
}

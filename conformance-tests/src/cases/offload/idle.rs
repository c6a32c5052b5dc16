//! OF-6, threads come and go.

use std::{
    thread,
    time::{Duration, Instant},
};

use fourway_core::{BlockOn, Offload, Runtime};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Gate, Threads, at_thread_end, eventually, on_threads, stress},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "OF-6.1", "closures submitted while idle threads expire are never stranded",
        "tokio 8056: a job stranded on the idle/busy transition", expiry_races, stress;
        "OF-6.2", "nor are those of four submitters at a time",
        "concurrent.futures: an idle exit racing a new job", expiry_races_many, stress;
        "OF-6.3", "one closure after the other reuses a thread",
        "Python tests it: 5 in a row use one worker", reuse;
        "OF-6.4", "idle threads end",
        "`blocking`'s idle threads did not end on one revision", idle_threads_end;
        "OF-6.5", "a pool whose threads have all ended serves the next closure",
        "the count must be right to start over", starts_over;
    ]
}

/// Runs closures with pauses around the time after which idle threads end.
fn around_expiry<R: Runtime>(rt: &R, stream: u64) {
    for random in stress(stream) {
        let closure = rt.offload(move || random);
        assert_eq!(rt.block_on(closure).unwrap(), random);
        // Not a wait for an event: it aims at the moment when an idle thread ends.
        let pause = Duration::from_micros(random % 2000);
        let start = Instant::now();
        while start.elapsed() < pause {
            thread::park_timeout(pause.saturating_sub(start.elapsed()));
        }
    }
}

fn expiry_races<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.keep_alive = Duration::from_millis(1));
    around_expiry(&rt, 0);
}

fn expiry_races_many<S: Setup>(s: S) {
    let rt = s.build_with(|config| {
        config.keep_alive = Duration::from_millis(1);
        config.offload_limit = 2;
    });
    on_threads(4, move |n| around_expiry(&rt, n as u64));
}

fn reuse<S: Setup>(s: S) {
    let rt = s.build();
    let threads = Threads::default();
    for _ in 0..50 {
        let threads = threads.clone();
        rt.block_on(rt.offload(move || threads.note())).unwrap();
    }
    // One is enough; two for a runtime that hands over just before a thread counts as idle.
    assert!(threads.count() <= 2, "{} threads", threads.count());
}

fn idle_threads_end<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.keep_alive = Duration::from_millis(5));
    let (threads, ended) = (Threads::default(), Counter::new());
    let (inside, all) = (Counter::new(), Gate::new());
    let closures: Vec<_> = (0..4)
        .map(|_| {
            let (threads, ended) = (threads.clone(), ended.clone());
            let (inside, all) = (inside.clone(), all.clone());
            rt.offload(move || {
                threads.note();
                at_thread_end(move || _ = ended.add());
                if inside.add() == 4 {
                    all.open();
                }
                all.wait();
            })
        })
        .collect();
    for closure in closures {
        rt.block_on(closure).unwrap();
    }
    assert_eq!(threads.count(), 4);
    eventually("idle threads end", || ended.get() == 4);
    assert_eq!(rt.block_on(rt.offload(|| 1)).unwrap(), 1);
}

fn starts_over<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.keep_alive = Duration::from_millis(1));
    for _ in 0..10 {
        let ended = Counter::new();
        let count = ended.clone();
        rt.block_on(rt.offload(move || at_thread_end(move || _ = count.add())))
            .unwrap();
        eventually("the idle thread ends", || ended.get() == 1);
    }
}

//! TI-4, timers are not starved: beside busy tasks and longer waits.

use std::{
    future::{pending, poll_fn},
    thread,
    time::{Duration, Instant},
};

use fourway_core::{BlockOn, Offload, Spawner, Task, Timer, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Gate, drive, eventually, on_thread, on_threads, poll_once},
};

use super::{LONG, MS};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "TI-4.1", "a shorter timer interrupts a longer wait",
        "tokio 3190: the driver slept through it", shorter_interrupts;
        "TI-4.2", "tasks that wake themselves do not starve timers",
        "tokio 8212: a self-yielding task kept the time driver from its turn", spinners_beside;
        "TI-4.3", "a timer fires in an idle runtime that nobody blocks on",
        "who waits for the time when everybody sleeps?", idle_runtime;
        "TI-4.4", "timers fire while every pool thread is blocked",
        "timers must not live in the pool", pool_blocked;
        "TI-4.5", "timers on eight threads at a time all fire",
        "each may be the one that has to wake the driver", many_threads;
    ]
}

fn shorter_interrupts<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.workers = 1);
    // Long waits in a task and in a `block_on`.
    let (polled, waits) = Gate::pair();
    let inner = rt.clone();
    let long = rt.spawn(async move {
        let mut sleep = Box::pin(inner.sleep(LONG));
        poll_fn(|cx| {
            let poll = poll_once(&mut sleep, cx.waker());
            polled.open();
            poll
        })
        .await;
    });
    waits.wait();
    let (stop, stopped) = Gate::pair();
    let (polled, waits) = Gate::pair();
    let inner = rt.clone();
    let root = thread::spawn(move || {
        let stopped = async {
            polled.open();
            stopped.opened().await;
        };
        inner.block_on(inner.timeout(LONG, stopped))
    });
    waits.wait();
    for _ in 0..10 {
        // From a plain thread, from a task, from a root, and polled by hand.
        rt.block_on(rt.sleep(MS));
        let inner = rt.clone();
        rt.block_on(rt.spawn(async move { inner.sleep(MS).await }))
            .unwrap();
        drive(rt.sleep(MS));
        let inner = rt.clone();
        on_thread(move || inner.block_on(inner.sleep(MS)));
    }
    stop.open();
    eventually("the thread ends", || root.is_finished());
    assert_eq!(root.join().expect("no panic"), Ok(()));
    assert!(rt.block_on(long.cancel()).unwrap_err().is_cancelled());
}

fn spinners_beside<S: Setup>(s: S) {
    let rt = s.build();
    let stop = Gate::new();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let stop = stop.clone();
            rt.spawn(async move {
                while !stop.is_open() {
                    yield_now().await;
                }
            })
        })
        .collect();
    for _ in 0..5 {
        let inner = rt.clone();
        let task = rt.spawn(async move {
            inner.sleep(MS).await;
            inner.timeout(MS, pending::<()>()).await.is_err()
        });
        assert!(rt.block_on(task).unwrap());
        rt.block_on(rt.sleep(MS));
    }
    // A root that spins, too.
    let inner = rt.clone();
    let sleeper = rt.spawn(async move { inner.sleep(MS).await });
    rt.block_on(async {
        while !sleeper.is_finished() {
            yield_now().await;
        }
    });
    stop.open();
    for task in tasks {
        rt.block_on(task).unwrap();
    }
}

fn idle_runtime<S: Setup>(s: S) {
    let rt = s.build();
    for _ in 0..5 {
        let (done, fired) = Gate::pair();
        let inner = rt.clone();
        let task = async move {
            inner.sleep(2 * MS).await;
            done.open();
        };
        rt.spawn(task).detach();
        // No thread blocks on the runtime or wakes it.
        fired.wait();
    }
}

fn pool_blocked<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    let (go, gate) = Gate::pair();
    let (started, running) = Gate::pair();
    let blocked = rt.offload(move || {
        started.open();
        gate.wait();
    });
    running.wait();
    let queued = rt.offload(|| ());
    let inner = rt.clone();
    rt.block_on(rt.spawn(async move { inner.sleep(2 * MS).await }))
        .unwrap();
    assert!(rt.block_on(rt.timeout(2 * MS, pending::<()>())).is_err());
    go.open();
    rt.block_on(blocked).unwrap();
    rt.block_on(queued).unwrap();
}

fn many_threads<S: Setup>(s: S) {
    let rt = s.build();
    on_threads(8, move |n| {
        for round in 0..20 {
            let duration = Duration::from_micros(100 * (1 + (n as u64 + round) % 8));
            let start = Instant::now();
            rt.block_on(rt.sleep(duration));
            assert!(start.elapsed() >= duration);
        }
    });
}

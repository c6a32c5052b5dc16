//! SP-1, runs without polling the handle.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Spawner, Task, Timer, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Gate, eventually, on_thread, on_threads, receive},
};

use super::spawn_opener;

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "SP-1.1", "a detached task makes progress without anyone polling its handle",
        "a lazily driven handle would leave background work undone", detached_progress;
        "SP-1.2", "a task whose handle is kept, but never polled, runs to its end",
        "executors that run a task from its handle's poll pass tests that await everything", kept_handle;
        "SP-1.3", "a task spawned by a task outlives its parent",
        "Tokio tests it: nested spawn runs both", nested_outlives;
        "SP-1.4", "timers, offloaded closures and joins make progress inside a detached task",
        "a runtime that is driven by block_on alone stops between calls", detached_uses_all;
        "SP-1.5", "a task outlives the thread that spawned it",
        "queues that live in a thread-local of the spawner are lost with it", outlives_thread;
        "SP-1.6", "a spawn from a foreign thread reaches an idle runtime, every time",
        "Tokio tests it: the wake-up of the last worker going to sleep is easily lost", reaches_idle;
        "SP-1.7", "spawns from many foreign threads under load all run",
        "Tokio tests it: the injection queue meets the local ones", under_load;
        "SP-1.8", "dropping one of several handles on the runtime changes nothing",
        "a count that goes wrong shuts down a runtime in use", handle_dropped;
    ]
}

fn detached_progress<S: Setup>(s: S) {
    let rt = s.build();
    let (done, gate) = Gate::pair();
    rt.spawn(async move { done.open() }).detach();
    // From a plain thread that drives nothing.
    gate.wait();
    // And the runtime still works.
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

fn kept_handle<S: Setup>(s: S) {
    let rt = s.build();
    let (done, gate) = Gate::pair();
    let task = rt.spawn(async move {
        for _ in 0..3 {
            yield_now().await;
        }
        done.open();
        5
    });
    gate.wait();
    eventually("a task is finished unpolled", || task.is_finished());
    assert_eq!(rt.block_on(task).unwrap(), 5);
}

fn nested_outlives<S: Setup>(s: S) {
    let rt = s.build();
    let (parent_ended, go) = Gate::pair();
    let (child_done, gate) = Gate::pair();
    let inner = rt.clone();
    let parent = rt.spawn(async move {
        inner
            .spawn(async move {
                go.opened().await;
                yield_now().await;
                child_done.open();
            })
            .detach();
    });
    rt.block_on(parent).unwrap();
    parent_ended.open();
    gate.wait();
}

fn detached_uses_all<S: Setup>(s: S) {
    let rt = s.build();
    let (sender, results) = mpsc::channel();
    let inner = rt.clone();
    rt.spawn(async move {
        inner.sleep(Duration::from_millis(2)).await;
        let _ = sender.send(1);
        let _ = sender.send(inner.offload(|| 2).await.unwrap());
        let _ = sender.send(inner.spawn(async { 3 }).await.unwrap());
    })
    .detach();
    let results: Vec<i32> = (0..3).map(|_| receive(&results)).collect();
    assert_eq!(results, [1, 2, 3]);
}

fn outlives_thread<S: Setup>(s: S) {
    let rt = s.build();
    let (go, waits) = Gate::pair();
    let inner = rt.clone();
    let task = on_thread(move || {
        inner.spawn(async move {
            waits.opened().await;
            8
        })
    });
    go.open();
    assert_eq!(rt.block_on(task).unwrap(), 8);
}

fn reaches_idle<S: Setup>(s: S) {
    let rt = s.build();
    for round in 0..300_u32 {
        let gate = Gate::new();
        spawn_opener(&rt, &gate);
        gate.wait();
        // Comes at different moments while the workers park.
        for _ in 0..(round % 64) * 40 {
            std::hint::spin_loop();
        }
    }
}

fn under_load<S: Setup>(s: S) {
    let rt = s.build();
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let stop = stop.clone();
            rt.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    yield_now().await;
                }
            })
        })
        .collect();
    let ran = Counter::new();
    let (shared, count) = (rt.clone(), ran.clone());
    on_threads(4, move |_| {
        for _ in 0..50 {
            let count = count.clone();
            shared
                .spawn(async move {
                    yield_now().await;
                    count.add();
                })
                .detach();
        }
    });
    eventually("all tasks run beside the load", || ran.get() == 200);
    stop.store(true, Ordering::SeqCst);
    for task in load {
        rt.block_on(task).unwrap();
    }
}

fn handle_dropped<S: Setup>(s: S) {
    let rt = s.build();
    let (go, waits) = Gate::pair();
    let task = rt.spawn(async move { waits.opened().await });
    let other = rt.clone();
    for _ in 0..10 {
        drop(rt.clone());
    }
    drop(rt);
    go.open();
    other.block_on(task).unwrap();
    assert_eq!(other.block_on(other.spawn(async { 2 })).unwrap(), 2);
}

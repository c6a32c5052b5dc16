//! OF-1, closures block no tasks: they have their own threads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Runtime, Spawner, Task, Timer, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Gate, OnDrop, Threads, eventually, other_runtime, panic_quietly, receive},
};

use super::{blocker, limit};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "OF-1.1", "closures run on threads that poll no tasks",
        "a blocked worker stalls every task queued behind it", threads_apart;
        "OF-1.2", "more blocked closures than workers leave tasks and timers going",
        "the purpose of offloading", tasks_go_on;
        "OF-1.3", "tasks and timers go on while the whole pool is blocked",
        "an executor that borrows the pool's threads would stop", pool_exhausted;
        "OF-1.4", "64 parked closures at a time leave the runtime usable",
        "Kotlin tests it with 64 parked jobs", sixty_four_parked;
        "OF-1.5", "offload returns before the closure runs, wherever it is called",
        "run inline, it would block the caller on itself", not_inline;
        "OF-1.6", "offload may be called from a destructor and while unwinding",
        "clean-up code offloads too", from_anywhere;
    ]
}

fn threads_apart<S: Setup>(s: S) {
    let rt = s.build();
    let (polling, blocking) = (Threads::default(), Threads::default());
    let tasks: Vec<_> = (0..40)
        .map(|_| {
            let (inner, polling, blocking) = (rt.clone(), polling.clone(), blocking.clone());
            rt.spawn(async move {
                for _ in 0..5 {
                    polling.note();
                    let blocking = blocking.clone();
                    inner.offload(move || blocking.note()).await.unwrap();
                    polling.note();
                    yield_now().await;
                }
            })
        })
        .collect();
    rt.block_on(async {
        for task in tasks {
            polling.note();
            task.await.unwrap();
        }
    });
    // All threads are still in their set; none has changed its kind.
    assert!(blocking.count() > 0);
    assert!(!polling.share_any(&blocking));
}

fn tasks_go_on<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.workers = 2);
    let gate = Gate::new();
    let blockers: Vec<_> = (0..8).map(|_| blocker(&rt, &gate)).collect();
    let inner = rt.clone();
    let task = rt.spawn(async move {
        inner.sleep(Duration::from_millis(2)).await;
        for _ in 0..100 {
            inner.spawn(yield_now()).await.unwrap();
        }
        inner.offload(|| 5).await.unwrap()
    });
    assert_eq!(rt.block_on(task).unwrap(), 5);
    gate.open();
    for blocker in blockers {
        rt.block_on(blocker).unwrap();
    }
}

fn pool_exhausted<S: Setup>(s: S) {
    let rt = limit(s, 2);
    let gate = Gate::new();
    let blockers = [blocker(&rt, &gate), blocker(&rt, &gate)];
    let waiting: Vec<_> = (0..20).map(|n| rt.offload(move || n)).collect();
    // From a task, as a task opens the gate.
    let inner = rt.clone();
    let task = rt.spawn(async move {
        for _ in 0..100 {
            inner.spawn(yield_now()).await.unwrap();
        }
        inner.sleep(Duration::from_millis(2)).await;
        gate.open();
    });
    rt.block_on(task).unwrap();
    rt.block_on(async {
        for (n, closure) in waiting.into_iter().enumerate() {
            assert_eq!(closure.await.unwrap(), n);
        }
        for blocker in blockers {
            blocker.await.unwrap();
        }
    });
}

fn sixty_four_parked<S: Setup>(s: S) {
    let rt = limit(s, 64);
    let (inside, all) = (Counter::new(), Gate::new());
    let closures: Vec<_> = (0..64)
        .map(|_| {
            let (inside, all) = (inside.clone(), all.clone());
            rt.offload(move || {
                inside.add();
                all.wait();
            })
        })
        .collect();
    eventually("all 64 run at a time", || inside.get() == 64);
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    all.open();
    for closure in closures {
        rt.block_on(closure).unwrap();
    }
}

fn not_inline<S: Setup>(s: S) {
    fn from_here<R: Runtime>(rt: &R) -> R::OffloadTask<()> {
        let (go, gate) = Gate::pair();
        let here = thread::current().id();
        let closure = rt.offload(move || {
            assert_ne!(thread::current().id(), here);
            gate.wait();
        });
        assert!(!closure.is_finished());
        go.open();
        closure
    }
    let rt = s.build();
    rt.block_on(from_here(&rt)).unwrap();
    let inner = rt.clone();
    let task = rt.spawn(async move { from_here(&inner).await.unwrap() });
    rt.block_on(task).unwrap();
    let inner = rt.clone();
    let closure = rt.offload(move || inner.block_on(from_here(&inner)).unwrap());
    rt.block_on(closure).unwrap();
    let (other, inner) = (other_runtime(), rt.clone());
    let task = other.spawn(async move { from_here(&inner).await.unwrap() });
    other.block_on(task).unwrap();
}

fn from_anywhere<S: Setup>(s: S) {
    let rt = s.build();
    let (ran, runs) = mpsc::channel();
    let offloads_on_drop = |name: &'static str| {
        let (rt, ran) = (rt.clone(), ran.clone());
        OnDrop(move || {
            let ran = ran.clone();
            let closure = move || {
                ran.send((name, thread::panicking()))
                    .expect("the case waits")
            };
            rt.offload(closure).detach();
        })
    };
    let value = offloads_on_drop("task");
    rt.block_on(rt.spawn(async move { drop(value) })).unwrap();
    assert_eq!(receive(&runs), ("task", false));

    let value = offloads_on_drop("unwinding");
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _value = value;
        panic_quietly("on purpose");
    }));
    assert!(result.is_err());
    assert_eq!(receive(&runs), ("unwinding", false));

    let value = offloads_on_drop("captures");
    rt.block_on(rt.offload(move || drop(value))).unwrap();
    assert_eq!(receive(&runs), ("captures", false));
}

//! BL-4, many threads block at once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Runtime, Spawner, Task, Timer, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Gate, on_threads, panic_quietly},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "BL-4.1", "eight threads block on one runtime at a time",
        "a runtime that hands out its driver to one of them hangs the others", many_threads;
        "BL-4.2", "spawned work goes on after block_on has returned",
        "a caller-driven runtime stops here without a word", work_goes_on;
        "BL-4.3", "a panic in one block_on leaves those on other threads alone",
        "a shared driver must survive its user", panic_beside_others;
        "BL-4.4", "block_on completes while tasks spin",
        "Tokio tests it: a self-waking task must not keep the root from its turn", beside_spinning_task;
        "BL-4.5", "a thousand short block_ons on four threads all return",
        "lost wake-ups show in numbers", many_short;
    ]
}

fn many_threads<S: Setup>(s: S) {
    let rt = s.build();
    let (inside, all) = (Counter::new(), Gate::new());
    let sum: usize = on_threads(8, move |i| {
        rt.block_on(async {
            if inside.add() == 8 {
                all.open();
            }
            // All eight are in here at a time.
            all.opened().await;
            rt.sleep(Duration::from_millis(1)).await;
            let inner = rt.clone();
            let task = rt.spawn(async move { inner.offload(move || i).await.unwrap() });
            task.await.unwrap()
        })
    })
    .into_iter()
    .sum();
    assert_eq!(sum, 28);
}

fn work_goes_on<S: Setup>(s: S) {
    let rt = s.build();
    let (go, gate) = Gate::pair();
    let (done, finished) = Gate::pair();
    let inner = rt.clone();
    rt.block_on(async {
        let task = async move {
            gate.opened().await;
            inner.sleep(Duration::from_millis(1)).await;
            inner.offload(|| ()).await.unwrap();
            done.open();
        };
        rt.spawn(task).detach();
    });
    go.open();
    // No thread is in `block_on` now.
    finished.wait();
}

fn panic_beside_others<S: Setup>(s: S) {
    let rt = s.build();
    let (inside, all, panicked) = (Counter::new(), Gate::new(), Gate::new());
    let results = on_threads(4, move |i| {
        let result = catch_unwind(AssertUnwindSafe(|| {
            rt.block_on(async {
                if inside.add() == 4 {
                    all.open();
                }
                all.opened().await;
                if i == 0 {
                    panic_quietly("on purpose");
                }
                panicked.opened().await;
                rt.sleep(Duration::from_millis(1)).await;
                rt.spawn(async move { i }).await.unwrap()
            })
        }));
        if i == 0 {
            panicked.open();
        }
        result.unwrap_or(100)
    });
    assert_eq!(results, [100, 1, 2, 3]);
}

/// Tasks that wake themselves until told to stop.
fn spinners<R: Runtime>(rt: &R, n: usize) -> (Gate, Vec<R::Task<()>>) {
    let (stop, stopped) = Gate::pair();
    let tasks = (0..n).map(|_| {
        let stopped = stopped.clone();
        rt.spawn(async move {
            while !stopped.is_open() {
                yield_now().await;
            }
        })
    });
    let tasks = tasks.collect();
    (stop, tasks)
}

fn beside_spinning_task<S: Setup>(s: S) {
    let rt = s.build();
    let (stop, tasks) = spinners(&rt, 3);
    for n in 0..20 {
        rt.block_on(yield_now());
        assert_eq!(rt.block_on(rt.spawn(async move { n })).unwrap(), n);
    }
    rt.block_on(rt.sleep(Duration::from_millis(2)));
    stop.open();
    for task in tasks {
        rt.block_on(task).unwrap();
    }
}

fn many_short<S: Setup>(s: S) {
    let rt = s.build();
    on_threads(4, move |_| {
        for n in 0..250_u32 {
            let task = rt.spawn(async move {
                if n % 2 == 0 {
                    yield_now().await;
                }
                n
            });
            assert_eq!(rt.block_on(task).unwrap(), n);
        }
    });
}

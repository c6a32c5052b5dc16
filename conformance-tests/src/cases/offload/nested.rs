//! OF-4, nested offload never starves.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use fourway_core::{BlockOn, Call, Offload, Runtime, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Gate, Gauge, eventually, on_threads, panic_quietly},
};

use super::limit;

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "OF-4.1", "offload in block_on in offload completes at depth 16 on a pool of one",
        "hangs in anyio, trio, asyncio, Kotlin and every Rust peer", nested_deep;
        "OF-4.2", "so it does with other closures waiting at every level",
        "a pool that serves the chain alone would starve its siblings", nested_siblings;
        "OF-4.3", "so it does through tasks in between",
        "the waiting thread and the offloading task are not the same", nested_spawn;
        "OF-4.4", "four chains at a time complete on a pool of two",
        "chains that hold each other's slots", nested_chains;
        "OF-4.5", "two pools of one wait for each other, to depth 8",
        "rayon: mutual blocking across two pools", nested_two_pools;
        "OF-4.6", "calls may wait for calls, on a pool of one",
        "a library that wraps a library cannot know the limit", nested_calls;
        "OF-4.7", "a closure parked in block_on lends its slot to one that waits",
        "what the parked one waits for may be in the queue", lends_slot;
        "OF-4.8", "a closure whose block_on panics takes its slot back",
        "a lost slot shrinks the pool, a doubled one breaks the limit", panic_returns_slot;
        "OF-4.9", "a closure that comes back goes before those that wait",
        "otherwise a full queue keeps it out for ever", returning_first;
        "OF-4.10", "an abandoned closure that is parked goes on when what it waits for comes",
        "asgiref: the host is abandoned, its re-entrant call goes on", abandoned_parked;
        "OF-4.11", "closures that wait for one another run, though a foreign pool has no thread left",
        "a thread was asked of Tokio's pool, all of whose threads were waiting for it", full_source;
    ]
}

/// offload → block_on → offload → …
fn descend<R: Runtime>(rt: &R, depth: usize) -> usize {
    if depth == 0 {
        return 0;
    }
    let inner = rt.clone();
    let below = rt.offload(move || descend(&inner, depth - 1));
    1 + rt.block_on(below).unwrap()
}

fn full_source<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.foreign_threads = Some(1));
    let gates: Vec<Gate> = (0..4).map(|_| Gate::new()).collect();
    // Each holds a thread until the next one runs, which the runtime cannot know.
    let closures: Vec<_> = (0..gates.len())
        .map(|n| {
            let (mine, before) = (gates[n].clone(), n.checked_sub(1).map(|n| gates[n].clone()));
            let last = n + 1 == gates.len();
            rt.offload(move || {
                if let Some(before) = before {
                    before.open();
                }
                if !last {
                    mine.wait();
                }
                n
            })
        })
        .collect();
    for (n, closure) in closures.into_iter().enumerate() {
        assert_eq!(rt.block_on(closure).unwrap(), n);
    }
}

fn nested_deep<S: Setup>(s: S) {
    let rt = limit(s, 1);
    assert_eq!(descend(&rt, 16), 16);
    // And once more, with the state that the first time has left.
    assert_eq!(descend(&rt, 16), 16);
}

fn nested_siblings<S: Setup>(s: S) {
    fn descend<R: Runtime>(rt: &R, depth: usize) -> usize {
        if depth == 0 {
            return 0;
        }
        let before = rt.offload(|| 1);
        let inner = rt.clone();
        let below = rt.offload(move || descend(&inner, depth - 1));
        let after = rt.offload(|| 1);
        rt.block_on(async { before.await.unwrap() + below.await.unwrap() + after.await.unwrap() })
    }
    let rt = limit(s, 1);
    assert_eq!(descend(&rt, 16), 32);
}

fn nested_spawn<S: Setup>(s: S) {
    fn descend<R: Runtime>(rt: &R, depth: usize) -> usize {
        if depth == 0 {
            return 0;
        }
        let inner = rt.clone();
        let task = rt.spawn(async move {
            let again = inner.clone();
            let below = inner.offload(move || descend(&again, depth - 1));
            1 + below.await.unwrap()
        });
        rt.block_on(task).unwrap()
    }
    let rt = limit(s, 1);
    assert_eq!(descend(&rt, 16), 16);
}

fn nested_chains<S: Setup>(s: S) {
    let rt = limit(s, 2);
    let depths = on_threads(4, move |_| descend(&rt, 16));
    assert_eq!(depths, [16; 4]);
}

fn nested_two_pools<S: Setup>(s: S) {
    fn descend<R: Runtime>(here: R, there: R, depth: usize) -> usize {
        if depth == 0 {
            return 0;
        }
        let (a, b) = (here.clone(), there.clone());
        // In turns: a closure of one pool waits for a closure of the other.
        1 + here
            .block_on(there.offload(move || descend(b, a, depth - 1)))
            .unwrap()
    }
    let (first, second) = (limit(s, 1), limit(s, 1));
    let depths = on_threads(2, move |n| match n {
        0 => descend(first.clone(), second.clone(), 8),
        _ => descend(second.clone(), first.clone(), 8),
    });
    assert_eq!(depths, [8, 8]);
}

fn nested_calls<S: Setup>(s: S) {
    fn descend<R: Runtime>(rt: &R, depth: usize) -> impl Call<Output = usize> + use<R> {
        let inner = rt.clone();
        // A blocking body that waits for an async body that awaits a blocking
        // body.
        rt.call_blocking(move || {
            if depth == 0 {
                return 0;
            }
            let again = inner.clone();
            let async_body = inner.call(async move {
                let below = again.clone();
                let body = move || descend(&below, depth - 1).wait();
                again.call_blocking(body).await
            });
            1 + async_body.wait()
        })
    }
    let rt = limit(s, 1);
    assert_eq!(rt.block_on(descend(&rt, 8).spawn()).unwrap(), 8);
}

fn lends_slot<S: Setup>(s: S) {
    let rt = limit(s, 1);
    let (go, gate) = Gate::pair();
    let inner = rt.clone();
    let first = rt.offload(move || inner.block_on(gate.opened()));
    // It can only run while the first one is parked.
    let second = rt.offload(move || go.open());
    rt.block_on(async {
        first.await.unwrap();
        second.await.unwrap();
    });
}

fn panic_returns_slot<S: Setup>(s: S) {
    let rt = limit(s, 1);
    let gauge = Gauge::default();
    for round in 0..20 {
        let (inner, inside) = (rt.clone(), gauge.clone());
        let closure = rt.offload(move || {
            let result = catch_unwind(AssertUnwindSafe(|| {
                inner.block_on(async {
                    if round % 2 == 0 {
                        inner.spawn(yield_now()).await.unwrap();
                    }
                    assert!(inner.try_block_on(async {}).is_err());
                    panic_quietly("on purpose");
                })
            }));
            let _inside = inside.enter();
            for _ in 0..10 {
                thread::yield_now();
            }
            result.is_err()
        });
        let others: Vec<_> = (0..5)
            .map(|_| {
                let gauge = gauge.clone();
                rt.offload(move || {
                    let _inside = gauge.enter();
                    thread::yield_now();
                })
            })
            .collect();
        rt.block_on(async {
            assert!(closure.await.unwrap());
            for other in others {
                other.await.unwrap();
            }
        });
    }
    assert_eq!(gauge.most(), 1);
}

fn returning_first<S: Setup>(s: S) {
    let rt = limit(s, 1);
    let (back, came_back) = Gate::pair();
    let (parked, waits) = Gate::pair();
    let (go, gate) = Gate::pair();
    let inner = rt.clone();
    let returning = rt.offload(move || {
        inner.block_on(async {
            parked.open();
            gate.opened().await;
        });
        back.open();
    });
    waits.wait();
    // From now on a closure always waits: each leaves a successor before it ends, until the first
    // one is back.
    fn successor<R: Runtime>(rt: R, came_back: Gate, count: Counter) {
        let inner = rt.clone();
        let closure = move || {
            if !came_back.is_open() {
                count.add();
                successor(inner, came_back, count);
            }
        };
        rt.offload(closure).detach();
    }
    let count = Counter::new();
    successor(rt.clone(), came_back.clone(), count.clone());
    eventually("the queue moves while it is parked", || count.get() > 10);
    go.open();
    came_back.wait();
    rt.block_on(returning).unwrap();
}

fn abandoned_parked<S: Setup>(s: S) {
    let rt = limit(s, 1);
    let (parked, waits) = Gate::pair();
    let (go, gate) = Gate::pair();
    let (done, finished) = Gate::pair();
    let inner = rt.clone();
    let closure = rt.offload(move || {
        inner.block_on(async {
            parked.open();
            gate.opened().await;
        });
        done.open();
    });
    waits.wait();
    drop(closure);
    // Its slot is lent, not lost.
    assert_eq!(rt.block_on(rt.offload(|| 1)).unwrap(), 1);
    assert!(!finished.is_open());
    go.open();
    finished.wait();
    assert_eq!(rt.block_on(rt.offload(|| 2)).unwrap(), 2);
}

//! OF-5, limits are exact: that of closures, and that of the queue.

use std::{
    sync::{Arc, Mutex},
    thread,
};

use fourway_core::{BlockOn, Call, Offload, Runtime, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Gate, Gauge, eventually, never},
};

use super::{blocker, limit};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "OF-5.1", "of 3N closures exactly N run at a time",
        "a limit that is not reached is as wrong as one that is passed", high_water;
        "OF-5.2", "never more than N, with abandoned closures among them",
        "anyio counts abandoned threads as gone", high_water_abandoned;
        "OF-5.3", "never more than N on the way, with closures that lend and come back",
        "a slot that is taken back late would make N+1", high_water_lent;
        "OF-5.4", "the closure after the Nth waits, and runs when a slot comes free",
        "Tokio tests it: N run, N+1 waits and then runs", next_waits;
        "OF-5.5", "closures start in the order in which they were submitted",
        "fairness among callers", in_order;
        "OF-5.6", "a full queue: try_offload gives the closure back, offload accepts",
        "backpressure needs the work back", full_queue;
        "OF-5.7", "a cancelled closure makes room in a full queue",
        "a queue that counts the dead refuses the living", cancel_makes_room;
        "OF-5.8", "a queue bound of zero accepts a closure only if it can start",
        "no waiting at all is a sensible wish", zero_bound;
        "OF-5.9", "without a bound try_offload is never full",
        "no hidden limits", unbounded;
    ]
}

fn high_water<S: Setup>(s: S) {
    const N: usize = 3;
    let rt = limit(s, N);
    let (gauge, full) = (Gauge::default(), Gate::new());
    let closures: Vec<_> = (0..3 * N)
        .map(|_| {
            let (gauge, full) = (gauge.clone(), full.clone());
            rt.offload(move || {
                let _inside = gauge.enter();
                // The first ones wait until there are N of them.
                if gauge.now() >= N {
                    full.open();
                }
                full.wait();
                thread::yield_now();
            })
        })
        .collect();
    for closure in closures {
        rt.block_on(closure).unwrap();
    }
    assert_eq!(gauge.most(), N);
}

fn high_water_abandoned<S: Setup>(s: S) {
    const N: usize = 2;
    let rt = limit(s, N);
    let gauge = Gauge::default();
    for round in 0..30 {
        let gate = Gate::new();
        let started = Counter::new();
        let handles: Vec<_> = (0..2 * N)
            .map(|_| {
                let (gauge, gate, started) = (gauge.clone(), gate.clone(), started.clone());
                rt.offload(move || {
                    let _inside = gauge.enter();
                    started.add();
                    gate.wait();
                })
            })
            .collect();
        eventually("all slots are taken", || started.get() == N);
        // N run on abandoned, N never start.
        if round % 2 == 0 {
            drop(handles);
        } else {
            handles.iter().for_each(Task::abort);
        }
        let inside = gauge.clone();
        let next = rt.offload(move || drop(inside.enter()));
        gate.open();
        rt.block_on(next).unwrap();
        assert_eq!(started.get(), N);
    }
    assert_eq!(gauge.most(), N);
}

fn high_water_lent<S: Setup>(s: S) {
    const N: usize = 3;
    let rt = limit(s, N);
    let gauge = Gauge::default();
    let closures: Vec<_> = (0..40)
        .map(|_| {
            let (inner, gauge) = (rt.clone(), gauge.clone());
            rt.offload(move || {
                for _ in 0..5 {
                    {
                        let _inside = gauge.enter();
                        thread::yield_now();
                    }
                    inner.block_on(inner.spawn(yield_now())).unwrap();
                    let _inside = gauge.enter();
                    thread::yield_now();
                }
            })
        })
        .collect();
    for closure in closures {
        rt.block_on(closure).unwrap();
    }
    let most = gauge.most();
    assert!((1..=N).contains(&most), "{most} of {N}");
}

fn next_waits<S: Setup>(s: S) {
    const N: usize = 4;
    let rt = limit(s, N);
    let gates: Vec<Gate> = (0..N).map(|_| Gate::new()).collect();
    let blockers: Vec<_> = gates.iter().map(|gate| blocker(&rt, gate)).collect();
    let started = Counter::new();
    let count = started.clone();
    let next = rt.offload(move || count.add());
    never("it starts without a slot", || started.get() > 0);
    assert!(!next.is_finished());
    gates[2].open();
    assert_eq!(rt.block_on(next).unwrap(), 1);
    for (gate, blocker) in gates.iter().zip(blockers) {
        gate.open();
        rt.block_on(blocker).unwrap();
    }
}

fn in_order<S: Setup>(s: S) {
    let rt = limit(s, 1);
    let gate = Gate::new();
    let running = blocker(&rt, &gate);
    let order = Arc::new(Mutex::new(Vec::new()));
    let (mut offloaded, mut called) = (Vec::new(), Vec::new());
    for n in 0..99 {
        let order = order.clone();
        let closure = move || order.lock().expect("no panic").push(n);
        match n % 3 {
            0 => offloaded.push(rt.offload(closure)),
            1 => offloaded.push(rt.try_offload(closure).expect("no bound")),
            _ => called.push(rt.call_blocking(closure).spawn()),
        }
    }
    gate.open();
    rt.block_on(async {
        running.await.unwrap();
        for closure in offloaded {
            closure.await.unwrap();
        }
        for closure in called {
            closure.await.unwrap();
        }
    });
    let expected: Vec<_> = (0..99).collect();
    assert_eq!(*order.lock().expect("no panic"), expected);
}

fn full_queue<S: Setup>(s: S) {
    let rt = s.build_with(|config| {
        config.offload_limit = 1;
        config.offload_queue = Some(2);
    });
    let gate = Gate::new();
    let running = blocker(&rt, &gate);
    let first = rt.try_offload(|| 1).expect("room for two");
    let second = rt.try_offload(|| 2).expect("room for two");
    let text = String::from("given back");
    let refused = rt.try_offload(move || text).err().expect("full");
    assert!(refused.is_full() && !refused.is_shutdown());
    assert_eq!(refused.into_inner()(), "given back");
    // Beyond the bound, which holds only for `try_offload`.
    let third = rt.offload(|| 3);
    gate.open();
    rt.block_on(async {
        running.await.unwrap();
        assert_eq!(first.await.unwrap(), 1);
        assert_eq!(second.await.unwrap(), 2);
        assert_eq!(third.await.unwrap(), 3);
    });
    let fourth = rt.try_offload(|| 4).expect("room again");
    assert_eq!(rt.block_on(fourth).unwrap(), 4);
}

fn cancel_makes_room<S: Setup>(s: S) {
    let rt = s.build_with(|config| {
        config.offload_limit = 1;
        config.offload_queue = Some(1);
    });
    let gate = Gate::new();
    let running = blocker(&rt, &gate);
    for _ in 0..100 {
        let waiting = rt.try_offload(|| ()).expect("room for one");
        assert!(
            rt.try_offload(|| ())
                .is_err_and(|refused| refused.is_full())
        );
        drop(waiting);
    }
    let waiting = rt.try_offload(|| 1).expect("room for one");
    gate.open();
    rt.block_on(running).unwrap();
    assert_eq!(rt.block_on(waiting).unwrap(), 1);
}

fn zero_bound<S: Setup>(s: S) {
    let rt = s.build_with(|config| {
        config.offload_limit = 1;
        config.offload_queue = Some(0);
    });
    for _ in 0..20 {
        let (go, gate) = Gate::pair();
        let running = rt.try_offload(move || gate.wait()).expect("a free slot");
        assert!(
            rt.try_offload(|| ())
                .is_err_and(|refused| refused.is_full())
        );
        go.open();
        rt.block_on(running).unwrap();
    }
}

fn unbounded<S: Setup>(s: S) {
    let rt = limit(s, 1);
    let gate = Gate::new();
    let running = blocker(&rt, &gate);
    let sum = Counter::new();
    for _ in 0..5000 {
        let sum = sum.clone();
        rt.try_offload(move || sum.add())
            .expect("no bound")
            .detach();
    }
    gate.open();
    rt.block_on(running).unwrap();
    // The queue is in order: this closure is the last.
    assert_eq!(rt.block_on(rt.offload(move || sum.get())).unwrap(), 5000);
}

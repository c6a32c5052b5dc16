//! OF-2, results and panics of closures; and what they give after a shutdown.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Task};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Counter, CountingWaker, Gate, OnDrop, caught, drive, eventually, other_runtime,
        panic_quietly, poll_once,
    },
};

use super::{blocker, limit};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "OF-2.2", "a panic keeps its payload, and the thread goes on",
        "scylla-rust-driver 1436: lost panics", panic_payload;
        "OF-2.3", "detached closures that panic leave a pool of one usable",
        "futures::ThreadPool of one thread dies for good from one detached panic", detached_panics;
        "OF-2.4", "a result that panics when it is dropped is contained",
        "tokio 4412: the destructor of an output that nobody took", panicking_output;
        "OF-2.5", "a closure can be joined on any executor, and the last waker is woken",
        "handles travel", joined_anywhere;
        "OF-2.6", "a closure that waits at shutdown resolves as shut down, and never runs",
        "Tokio tests it: a queued job that resolves to nothing hangs its joiner",
        queued_at_shutdown, needs [Shutdown];
        "OF-2.8", "captures are gone when the join is seen",
        "concurrent.futures tests it: a result must not keep its closure's captures", captures_gone;
    ]
}

/// Outputs of sizes that erased ones do not have, and types that are returned.
pub(super) fn native<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "OF-2.1", "gives results of any size, and destroys each once",
        "results cross two threads", results;
        "OF-2.7", "after shutdown offload drops the closure, and try_offload gives it back",
        "late work is refused, not lost", after_shutdown, needs [Shutdown];
    ]
}

fn results<S: Setup>(s: S) {
    let rt = s.build();
    rt.block_on(rt.offload(|| ())).unwrap();
    let big = rt.block_on(rt.offload(|| [3_u8; 16 * 1024])).unwrap();
    assert!(big.iter().all(|b| *b == 3));
    let captured = [5_u8; 16 * 1024];
    let big = rt.block_on(rt.offload(move || captured)).unwrap();
    assert!(big.iter().all(|b| *b == 5));

    let drops = Counter::new();
    let value = drops.on_drop();
    let value = rt.block_on(rt.offload(move || value)).unwrap();
    assert_eq!(drops.get(), 0);
    drop(value);
    assert_eq!(drops.get(), 1);

    // Finished, and never joined.
    let value = drops.on_drop();
    let closure = rt.offload(move || value);
    eventually("it ends", || closure.is_finished());
    drop(closure);
    eventually("the result is dropped", || drops.get() == 2);
    // Detached.
    let value = drops.on_drop();
    rt.offload(move || value).detach();
    eventually("the result is dropped", || drops.get() == 3);
}

fn panic_payload<S: Setup>(s: S) {
    let rt = limit(s, 1);
    for n in 0..20_u32 {
        let panics = rt.offload(move || -> () { std::panic::resume_unwind(Box::new(n)) });
        let error = rt.block_on(panics).unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled() && !error.is_shutdown());
        assert_eq!(error.into_panic().downcast_ref(), Some(&n));
        assert_eq!(rt.block_on(rt.offload(|| 1)).unwrap(), 1);
    }
    // With the panic hook, which runs on the panicking thread.
    let closure = rt.offload(|| caught(|| panic!("seen by the hook")));
    let caught = rt.block_on(closure).unwrap();
    assert_eq!(caught.message, "seen by the hook");
}

fn detached_panics<S: Setup>(s: S) {
    let rt = limit(s, 1);
    for _ in 0..20 {
        rt.offload(|| panic_quietly("on purpose")).detach();
    }
    assert_eq!(rt.block_on(rt.offload(|| 1)).unwrap(), 1);
}

fn panicking_output<S: Setup>(s: S) {
    let rt = limit(s, 1);
    let drops = Counter::new();
    let panics_on_drop = || {
        let drops = drops.clone();
        OnDrop(move || {
            drops.add();
            if !thread::panicking() {
                panic_quietly("the output's destructor");
            }
        })
    };
    // Dropped by the pool,
    let value = panics_on_drop();
    rt.offload(move || value).detach();
    eventually("the output is dropped", || drops.get() == 1);
    // and by the handle, after the end.
    let value = panics_on_drop();
    let closure = rt.offload(move || value);
    eventually("it ends", || closure.is_finished());
    let result = catch_unwind(AssertUnwindSafe(move || drop(closure)));
    assert!(result.is_ok(), "the panic is contained");
    assert_eq!(drops.get(), 2);
    assert_eq!(rt.block_on(rt.offload(|| 1)).unwrap(), 1);
}

fn joined_anywhere<S: Setup>(s: S) {
    let rt = s.build();
    assert_eq!(drive(rt.offload(|| 1)).unwrap(), 1);
    let other = other_runtime();
    assert_eq!(other.block_on(rt.offload(|| 2)).unwrap(), 2);
    let closure = rt.offload(|| 3);
    assert_eq!(other.block_on(other.spawn(closure)).unwrap().unwrap(), 3);

    let (go, gate) = Gate::pair();
    let mut closure = blocker(&rt, &gate);
    let ((first, first_wakes), (last, last_wakes)) = (CountingWaker::new(), CountingWaker::new());
    assert!(poll_once(&mut closure, &first).is_pending());
    assert!(poll_once(&mut closure, &last).is_pending());
    go.open();
    eventually("the last waker is woken", || last_wakes.get() > 0);
    assert_eq!(first_wakes.get(), 0);
    assert!(poll_once(&mut closure, &last).is_ready());
}

fn queued_at_shutdown<S: Setup>(s: S) {
    let rt = limit(s, 1);
    let gate = Gate::new();
    let running = blocker(&rt, &gate);
    let ran = Counter::new();
    let drops = Counter::new();
    let queued: Vec<_> = (0..10)
        .map(|_| {
            let (ran, value) = (ran.clone(), drops.on_drop());
            rt.offload(move || {
                let _value = value;
                ran.add();
            })
        })
        .collect();
    let inner = rt.clone();
    let shutdown = thread::spawn(move || inner.shutdown(Duration::from_secs(30)));
    for closure in queued {
        // While the other one still runs.
        assert!(drive(closure).unwrap_err().is_shutdown());
    }
    assert_eq!(drops.get(), 10);
    gate.open();
    eventually("shutdown returns", || shutdown.is_finished());
    let report = shutdown.join().expect("no panic").expect("it owns itself");
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.closures_dropped, 10);
    drive(running).unwrap();
    assert_eq!(ran.get(), 0);
}

fn after_shutdown<S: Setup>(s: S) {
    let rt = s.build();
    rt.block_on(rt.offload(|| ())).unwrap();
    let report = rt
        .shutdown(Duration::from_secs(30))
        .expect("it owns itself");
    assert!(report.is_clean(), "{report:?}");
    let (ran, drops) = (Counter::new(), Counter::new());
    let (count, value) = (ran.clone(), drops.on_drop());
    let closure = rt.offload(move || {
        let _value = value;
        count.add()
    });
    assert_eq!(drops.get(), 1);
    assert!(drive(closure).unwrap_err().is_shutdown());
    assert_eq!(ran.get(), 0);

    let text = String::from("given back");
    let refused = rt.try_offload(move || text).err().expect("shut down");
    assert!(refused.is_shutdown() && !refused.is_full());
    assert_eq!(refused.into_inner()(), "given back");
}

fn captures_gone<S: Setup>(s: S) {
    let rt = s.build();
    for n in 0..200 {
        let captured = Arc::new(());
        let inside = captured.clone();
        let closure = rt.offload(move || {
            let _inside = &inside;
            if n % 2 == 0 {
                panic_quietly("on purpose");
            }
        });
        let result = drive(closure);
        assert_eq!(result.is_err(), n % 2 == 0);
        assert_eq!(Arc::strong_count(&captured), 1);
    }
}

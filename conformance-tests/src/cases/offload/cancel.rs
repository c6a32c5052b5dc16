//! OF-3: cancelled closures.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use fourway_core::{
    BlockOn, Offload, Task,
    context::{self, Context},
};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Counter, CountingWaker, Gate, OnDrop, Threads, drive, eventually, never, on_threads,
        panic_quietly, poll_once, receive, stress,
    },
};

use super::{blocker, limit};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "OF-3.1", "1000 handles dropped on a pool of two: what has not started never runs",
        "of 200 such closures Tokio ran 200, smol 16, async_executors 40", thousand_dropped;
        "OF-3.2", "a waiting closure that is cancelled resolves at once, and never runs",
        "nobody should wait for the pool to throw work away", cancel_waiting;
        "OF-3.3", "a running closure that is cancelled runs to its end; the join says cancelled",
        "Tokio gives the output, others detach: here it is one answer", cancel_running;
        "OF-3.4", "an abandoned closure holds its slot until it ends",
        "anyio frees the limit while an abandoned thread runs on: a limit of 2 grew to 20 threads", holds_slot;
        "OF-3.5", "the result of a closure that was cancelled while running is dropped once, on its thread",
        "a result nobody wants is still a value", result_dropped;
        "OF-3.6", "cancelled after the end, it gives the output",
        "Tokio tests it: completion wins over a late cancel", cancel_finished;
        "OF-3.7", "cancelling in the middle of the queue leaves the order of the others",
        "removal from a queue is where queues break", order_after_cancel;
        "OF-3.8", "captures that panic when they are dropped by a cancellation are contained",
        "the thread that cancels is not to blame", panicking_captures;
        "OF-3.9", "a panic of a closure that was cancelled while running is kept",
        "a cancellation must not hide a bug", cancelled_panic;
        "OF-3.10", "a result with a destructor that blocks strands nobody",
        "a thread that counts as idle while it runs user code takes work with it", blocking_output;
        "OF-3.11", "an abort handle works after detach, and only on its own closure",
        "cancelling from afar", abort_handle;
        "OF-3.12", "dropped just as they start, closures either run or never do, and the pool goes on",
        "anyio 947: the place of a cancelled waiter must pass on", cancel_races, stress;
    ]
}

fn thousand_dropped<S: Setup>(s: S) {
    let rt = limit(s, 2);
    let gate = Gate::new();
    let blockers = [blocker(&rt, &gate), blocker(&rt, &gate)];
    let (ran, drops, droppers) = (Counter::new(), Counter::new(), Threads::default());
    let handles: Vec<_> = (0..1000)
        .map(|_| {
            let (ran, drops, droppers) = (ran.clone(), drops.clone(), droppers.clone());
            let value = OnDrop(move || {
                droppers.note();
                drops.add();
            });
            rt.offload(move || {
                let _value = value;
                ran.add();
            })
        })
        .collect();
    assert_eq!(drops.get(), 0);
    drop(handles);
    // Promptly, and by the cancelling thread.
    assert_eq!(drops.get(), 1000);
    let here = Threads::default();
    here.note();
    assert_eq!((droppers.count(), droppers.share_any(&here)), (1, true));
    // The queue continues after them.
    let last = rt.offload(|| 1);
    gate.open();
    assert_eq!(rt.block_on(last).unwrap(), 1);
    for blocker in blockers {
        rt.block_on(blocker).unwrap();
    }
    assert_eq!(ran.get(), 0);
}

fn cancel_waiting<S: Setup>(s: S) {
    let rt = limit(s, 1);
    let gate = Gate::new();
    let running = blocker(&rt, &gate);
    let (ran, drops) = (Counter::new(), Counter::new());
    let waiting = || {
        let (ran, value) = (ran.clone(), drops.on_drop());
        rt.offload(move || {
            let _value = value;
            ran.add()
        })
    };
    // All three ways, while the pool is blocked.
    assert!(drive(waiting().cancel()).unwrap_err().is_cancelled());
    assert_eq!(drops.get(), 1);
    let closure = waiting();
    closure.abort();
    closure.abort();
    assert!(closure.is_finished());
    assert!(drive(closure).unwrap_err().is_cancelled());
    assert_eq!(drops.get(), 2);
    let closure = waiting();
    let handle = closure.abort_handle();
    on_threads(4, move |_| handle.abort());
    assert!(drive(closure).unwrap_err().is_cancelled());
    assert_eq!(drops.get(), 3);
    // A waiting joiner is woken.
    let mut closure = waiting();
    let (waker, wakes) = CountingWaker::new();
    assert!(poll_once(&mut closure, &waker).is_pending());
    closure.abort();
    eventually("the joiner is woken", || wakes.get() > 0);
    assert!(drive(closure).unwrap_err().is_cancelled());
    gate.open();
    rt.block_on(running).unwrap();
    assert_eq!(rt.block_on(rt.offload(|| 1)).unwrap(), 1);
    assert_eq!((ran.get(), drops.get()), (0, 4));
}

fn cancel_running<S: Setup>(s: S) {
    let rt = s.build();
    let (started, running) = Gate::pair();
    let (go, gate) = Gate::pair();
    let (ended, drops) = (Counter::new(), Counter::new());
    let (count, value) = (ended.clone(), drops.on_drop());
    let mut closure = rt.offload(move || {
        started.open();
        gate.wait();
        count.add();
        value
    });
    running.wait();
    closure.abort();
    let (waker, _) = CountingWaker::new();
    never("the join resolves while it runs", || {
        closure.is_finished() || poll_once(&mut closure, &waker).is_ready()
    });
    assert_eq!(ended.get(), 0);
    go.open();
    // By reference: this checks the join, not the drop of the handle.
    let error = drive(&mut closure).map(drop).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    assert_eq!((ended.get(), drops.get()), (1, 1));
    drop(closure);
    assert_eq!(drops.get(), 1);
}

fn holds_slot<S: Setup>(s: S) {
    let rt = limit(s, 1);
    // Dropped, and aborted: both ways of abandoning.
    for abort in [false, true] {
        let gate = Gate::new();
        let running = blocker(&rt, &gate);
        if abort {
            running.abort();
        } else {
            drop(running);
        }
        let started = Counter::new();
        let count = started.clone();
        let next = rt.offload(move || count.add());
        never("the next one starts", || started.get() > 0);
        gate.open();
        assert_eq!(rt.block_on(next).unwrap(), 1);
    }
}

fn result_dropped<S: Setup>(s: S) {
    let rt = s.build();
    for detach in [false, true] {
        let (started, running) = Gate::pair();
        let (go, gate) = Gate::pair();
        let (dropped, drops) = mpsc::channel();
        let closure = rt.offload(move || {
            started.open();
            gate.wait();
            let here = thread::current().id();
            OnDrop(move || {
                let same = thread::current().id() == here;
                dropped
                    .send((same, context::current()))
                    .expect("the case waits");
            })
        });
        running.wait();
        if detach {
            closure.detach();
        } else {
            drop(closure);
        }
        go.open();
        // On the closure's thread, which may block.
        assert_eq!(receive(&drops), (true, Context::Blocking));
        assert!(drops.recv().is_err(), "dropped once");
    }
}

fn cancel_finished<S: Setup>(s: S) {
    let rt = s.build();
    let closure = rt.offload(|| 7);
    eventually("it ends", || closure.is_finished());
    closure.abort();
    closure.abort_handle().abort();
    assert_eq!(drive(closure.cancel()).unwrap(), 7);
}

fn order_after_cancel<S: Setup>(s: S) {
    let rt = limit(s, 1);
    let gate = Gate::new();
    let running = blocker(&rt, &gate);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut handles: Vec<_> = (0..100)
        .map(|n| {
            let order = order.clone();
            Some(rt.offload(move || order.lock().expect("no panic").push(n)))
        })
        .collect();
    for n in (0..100).filter(|n| n % 3 != 0) {
        handles[n] = None;
    }
    gate.open();
    rt.block_on(async {
        for closure in handles.into_iter().flatten() {
            closure.await.unwrap();
        }
        running.await.unwrap();
    });
    let expected: Vec<_> = (0..100).step_by(3).collect();
    assert_eq!(*order.lock().expect("no panic"), expected);
}

fn panicking_captures<S: Setup>(s: S) {
    let rt = limit(s, 1);
    let gate = Gate::new();
    let running = blocker(&rt, &gate);
    let waiting = || {
        let captured = OnDrop(|| panic_quietly("a capture's destructor"));
        rt.offload(move || drop(captured))
    };
    let handle = waiting();
    let result = catch_unwind(AssertUnwindSafe(move || drop(handle)));
    assert!(result.is_ok(), "the panic is contained");
    let handle = waiting();
    let result = catch_unwind(AssertUnwindSafe(|| handle.abort()));
    assert!(result.is_ok(), "the panic is contained");
    let error = drive(handle).unwrap_err();
    assert_eq!(error.panic_message(), Some("a capture's destructor"));
    gate.open();
    rt.block_on(running).unwrap();
    assert_eq!(rt.block_on(rt.offload(|| 1)).unwrap(), 1);
}

fn cancelled_panic<S: Setup>(s: S) {
    let rt = s.build();
    let (started, running) = Gate::pair();
    let (go, gate) = Gate::pair();
    let closure = rt.offload(move || -> () {
        started.open();
        gate.wait();
        panic_quietly("a bug");
    });
    running.wait();
    let cancelled = closure.cancel();
    go.open();
    assert_eq!(drive(cancelled).unwrap_err().panic_message(), Some("a bug"));
}

fn blocking_output<S: Setup>(s: S) {
    let rt = s.build();
    for cancel in [false, true] {
        let (started, running) = Gate::pair();
        let (dropping, in_drop) = Gate::pair();
        let (go, gate) = Gate::pair();
        let (goes, waits) = Gate::pair();
        let (dropped, gone) = Gate::pair();
        let closure = rt.offload(move || {
            started.open();
            waits.wait();
            OnDrop(move || {
                dropping.open();
                gate.wait();
                dropped.open();
            })
        });
        running.wait();
        if cancel {
            drop(closure);
        } else {
            closure.detach();
        }
        goes.open();
        in_drop.wait();
        // The limit allows for many more.
        rt.block_on(rt.offload(move || go.open())).unwrap();
        gone.wait();
    }
}

fn abort_handle<S: Setup>(s: S) {
    let rt = limit(s, 1);
    let gate = Gate::new();
    let running = blocker(&rt, &gate);
    let ran = Counter::new();
    let waiting = || {
        let ran = ran.clone();
        rt.offload(move || ran.add())
    };
    let (first, second, third) = (waiting(), waiting(), waiting());
    let handle = second.abort_handle();
    let (ignored, again) = (first.abort_handle(), handle.clone());
    second.detach();
    drop(ignored);
    assert!(!handle.is_finished());
    again.abort();
    assert!(handle.is_finished());
    gate.open();
    rt.block_on(async {
        running.await.unwrap();
        first.await.unwrap();
        third.await.unwrap();
    });
    assert_eq!(ran.get(), 2);
}

fn cancel_races<S: Setup>(s: S) {
    let rt = limit(s, 2);
    let (ran, drops) = (Counter::new(), Counter::new());
    let mut rounds = 0;
    for random in stress(0) {
        rounds += 1;
        let (count, value) = (ran.clone(), drops.on_drop());
        let handle = rt.offload(move || {
            let _value = value;
            count.add();
        });
        for _ in 0..random % 256 {
            std::hint::spin_loop();
        }
        match random >> 8 & 3 {
            0 => drop(handle),
            1 => handle.abort(),
            2 => drop(handle.cancel()),
            _ => drop(drive(handle.cancel())),
        }
    }
    eventually("each is dropped once", || drops.get() == rounds);
    assert!(ran.get() <= rounds);
    // Both slots are there.
    let gate = Gate::new();
    let both = [blocker(&rt, &gate), blocker(&rt, &gate)];
    gate.open();
    for closure in both {
        rt.block_on(closure).unwrap();
    }
    assert_eq!(drops.get(), rounds);
}

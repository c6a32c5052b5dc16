//! OF: running blocking code from async code.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use fourway_core::{
    BlockOn, Call, Offload, Runtime, Shutdown, Spawner, Task, Timer,
    context::{self, Context},
    yield_now,
};

use super::{Case, table};
use crate::{
    Subject,
    util::{
        Counter, CountingWaker, Gate, Gauge, OnDrop, Threads, at_thread_end, build, build_with,
        caught, drive, eventually, never, on_threads, other_runtime, panic_quietly, poll_once,
        receive, stress,
    },
};

pub(super) fn cases<S: Subject>() -> Vec<Case> {
    table![
        "OF-1.1", "closures run on threads that poll no tasks",
        "a blocked worker stalls every task queued behind it", threads_apart::<S>;
        "OF-1.2", "more blocked closures than workers leave tasks and timers going",
        "the purpose of offloading", tasks_go_on::<S>;
        "OF-1.3", "tasks and timers go on while the whole pool is blocked",
        "an executor that borrows the pool's threads would stop", pool_exhausted::<S>;
        "OF-1.4", "64 parked closures at a time leave the runtime usable",
        "Kotlin tests it with 64 parked jobs", sixty_four_parked::<S>;
        "OF-1.5", "offload returns before the closure runs, wherever it is called",
        "run inline, it would block the caller on itself", not_inline::<S>;
        "OF-1.6", "offload may be called from a destructor and while unwinding",
        "clean-up code offloads too", from_anywhere::<S>;

        "OF-2.1", "gives results of any size, and destroys each once",
        "results cross two threads", results::<S>;
        "OF-2.2", "a panic keeps its payload, and the thread goes on",
        "scylla-rust-driver 1436: lost panics", panic_payload::<S>;
        "OF-2.3", "detached closures that panic leave a pool of one usable",
        "futures::ThreadPool of one thread dies for good from one detached panic", detached_panics::<S>;
        "OF-2.4", "a result that panics when it is dropped is contained",
        "tokio 4412: the destructor of an output that nobody took", panicking_output::<S>;
        "OF-2.5", "a closure can be joined on any executor, and the last waker is woken",
        "handles travel", joined_anywhere::<S>;
        "OF-2.6", "a closure that waits at shutdown resolves as shut down, and never runs",
        "Tokio tests it: a queued job that resolves to nothing hangs its joiner",
        queued_at_shutdown::<S>, needs [Shutdown];
        "OF-2.7", "after shutdown offload drops the closure, and try_offload gives it back",
        "late work is refused, not lost", after_shutdown::<S>, needs [Shutdown];
        "OF-2.8", "captures are gone when the join is seen",
        "concurrent.futures tests it: a result must not keep its closure's captures", captures_gone::<S>;

        "OF-3.1", "1000 handles dropped on a pool of two: what has not started never runs",
        "of 200 such closures Tokio ran 200, smol 16, async_executors 40", thousand_dropped::<S>;
        "OF-3.2", "a waiting closure that is cancelled resolves at once, and never runs",
        "nobody should wait for the pool to throw work away", cancel_waiting::<S>;
        "OF-3.3", "a running closure that is cancelled runs to its end; the join says cancelled",
        "Tokio gives the output, others detach: here it is one answer", cancel_running::<S>;
        "OF-3.4", "an abandoned closure holds its slot until it ends",
        "anyio frees the limit while an abandoned thread runs on: a limit of 2 grew to 20 threads", holds_slot::<S>;
        "OF-3.5", "the result of a closure that was cancelled while running is dropped once, on its thread",
        "a result nobody wants is still a value", result_dropped::<S>;
        "OF-3.6", "cancelled after the end, it gives the output",
        "Tokio tests it: completion wins over a late cancel", cancel_finished::<S>;
        "OF-3.7", "cancelling in the middle of the queue leaves the order of the others",
        "removal from a queue is where queues break", order_after_cancel::<S>;
        "OF-3.8", "captures that panic when they are dropped by a cancellation are contained",
        "the thread that cancels is not to blame", panicking_captures::<S>;
        "OF-3.9", "a panic of a closure that was cancelled while running is kept",
        "a cancellation must not hide a bug", cancelled_panic::<S>;
        "OF-3.10", "a result with a destructor that blocks strands nobody",
        "a thread that counts as idle while it runs user code takes work with it", blocking_output::<S>;
        "OF-3.11", "an abort handle works after detach, and only on its own closure",
        "cancelling from afar", abort_handle::<S>;
        "OF-3.12", "dropped just as they start, closures either run or never do, and the pool goes on",
        "anyio 947: the place of a cancelled waiter must pass on", cancel_races::<S>, stress;

        "OF-4.1", "offload in block_on in offload completes at depth 16 on a pool of one",
        "hangs in anyio, trio, asyncio, Kotlin and every Rust peer", nested_deep::<S>;
        "OF-4.2", "so it does with other closures waiting at every level",
        "a pool that serves the chain alone would starve its siblings", nested_siblings::<S>;
        "OF-4.3", "so it does through tasks in between",
        "the waiting thread and the offloading task are not the same", nested_spawn::<S>;
        "OF-4.4", "four chains at a time complete on a pool of two",
        "chains that hold each other's slots", nested_chains::<S>;
        "OF-4.5", "two pools of one wait for each other, to depth 8",
        "rayon: mutual blocking across two pools", nested_two_pools::<S>;
        "OF-4.6", "calls may wait for calls, on a pool of one",
        "a library that wraps a library cannot know the limit", nested_calls::<S>;
        "OF-4.7", "a closure parked in block_on lends its slot to one that waits",
        "what the parked one waits for may be in the queue", lends_slot::<S>;
        "OF-4.8", "a closure whose block_on panics takes its slot back",
        "a lost slot shrinks the pool, a doubled one breaks the limit", panic_returns_slot::<S>;
        "OF-4.9", "a closure that comes back goes before those that wait",
        "otherwise a full queue keeps it out for ever", returning_first::<S>;
        "OF-4.10", "an abandoned closure that is parked goes on when what it waits for comes",
        "asgiref: the host is abandoned, its re-entrant call goes on", abandoned_parked::<S>;

        "OF-5.1", "of 3N closures exactly N run at a time",
        "a limit that is not reached is as wrong as one that is passed", high_water::<S>;
        "OF-5.2", "never more than N, with abandoned closures among them",
        "anyio counts abandoned threads as gone", high_water_abandoned::<S>;
        "OF-5.3", "never more than N on the way, with closures that lend and come back",
        "a slot that is taken back late would make N+1", high_water_lent::<S>;
        "OF-5.4", "the closure after the Nth waits, and runs when a slot comes free",
        "Tokio tests it: N run, N+1 waits and then runs", next_waits::<S>;
        "OF-5.5", "closures start in the order in which they were submitted",
        "fairness among callers", in_order::<S>;
        "OF-5.6", "a full queue: try_offload gives the closure back, offload accepts",
        "backpressure needs the work back", full_queue::<S>;
        "OF-5.7", "a cancelled closure makes room in a full queue",
        "a queue that counts the dead refuses the living", cancel_makes_room::<S>;
        "OF-5.8", "a queue bound of zero accepts a closure only if it can start",
        "no waiting at all is a sensible wish", zero_bound::<S>;
        "OF-5.9", "without a bound try_offload is never full",
        "no hidden limits", unbounded::<S>;

        "OF-6.1", "closures submitted while idle threads expire are never stranded",
        "tokio 8056: a job stranded on the idle/busy transition", expiry_races::<S>, stress;
        "OF-6.2", "nor are those of four submitters at a time",
        "concurrent.futures: an idle exit racing a new job", expiry_races_many::<S>, stress;
        "OF-6.3", "one closure after the other reuses a thread",
        "Python tests it: 5 in a row use one worker", reuse::<S>;
        "OF-6.4", "idle threads end",
        "`blocking`'s idle threads did not end on one revision", idle_threads_end::<S>;
        "OF-6.5", "a pool whose threads have all ended serves the next closure",
        "the count must be right to start over", starts_over::<S>;

        "OF-7.1", "10 000 short closures use few threads",
        "Tokio starts hundreds for such a burst", burst::<S>;
        "OF-7.2", "short closures from many tasks, awaited, use few threads",
        "the usual load of a server", steady::<S>;
    ]
}

/// A closure that holds a slot until the gate is opened, and is known to run.
fn blocker<R: Runtime>(rt: &R, gate: &Gate) -> R::OffloadTask<()> {
    let (started, running) = Gate::pair();
    let gate = gate.clone();
    let task = rt.offload(move || {
        started.open();
        gate.wait();
    });
    running.wait();
    task
}

fn limit<S: Subject>(n: usize) -> S::Runtime {
    build_with::<S>(|config| config.offload_limit = n)
}

// OF-1

fn threads_apart<S: Subject>() {
    let rt = build::<S>();
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
    // All threads are still known to the set, and none of them changed sides.
    assert!(blocking.count() > 0);
    assert!(!polling.share_any(&blocking));
}

fn tasks_go_on<S: Subject>() {
    let rt = build_with::<S>(|config| config.workers = 2);
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

fn pool_exhausted<S: Subject>() {
    let rt = limit::<S>(2);
    let gate = Gate::new();
    let blockers = [blocker(&rt, &gate), blocker(&rt, &gate)];
    let waiting: Vec<_> = (0..20).map(|n| rt.offload(move || n)).collect();
    // From a task, for it is a task that opens the gate.
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

fn sixty_four_parked<S: Subject>() {
    let rt = limit::<S>(64);
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

fn not_inline<S: Subject>() {
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
    let rt = build::<S>();
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

fn from_anywhere<S: Subject>() {
    let rt = build::<S>();
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

// OF-2

fn results<S: Subject>() {
    let rt = build::<S>();
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

    // Finished, and then nobody joins.
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

fn panic_payload<S: Subject>() {
    let rt = limit::<S>(1);
    for n in 0..20_u32 {
        let panics = rt.offload(move || -> () { std::panic::resume_unwind(Box::new(n)) });
        let error = rt.block_on(panics).unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled() && !error.is_shutdown());
        assert_eq!(error.into_panic().downcast_ref(), Some(&n));
        assert_eq!(rt.block_on(rt.offload(|| 1)).unwrap(), 1);
    }
    // With the panic hook, which sees it where it happens.
    let closure = rt.offload(|| caught(|| panic!("seen by the hook")));
    let caught = rt.block_on(closure).unwrap();
    assert_eq!(caught.message, "seen by the hook");
}

fn detached_panics<S: Subject>() {
    let rt = limit::<S>(1);
    for _ in 0..20 {
        rt.offload(|| panic_quietly("on purpose")).detach();
    }
    assert_eq!(rt.block_on(rt.offload(|| 1)).unwrap(), 1);
}

fn panicking_output<S: Subject>() {
    let rt = limit::<S>(1);
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

fn joined_anywhere<S: Subject>() {
    let rt = build::<S>();
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

fn queued_at_shutdown<S: Subject>() {
    let rt = limit::<S>(1);
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

fn after_shutdown<S: Subject>() {
    let rt = build::<S>();
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

fn captures_gone<S: Subject>() {
    let rt = build::<S>();
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

// OF-3

fn thousand_dropped<S: Subject>() {
    let rt = limit::<S>(2);
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
    // Promptly, and by the thread that cancels.
    assert_eq!(drops.get(), 1000);
    let here = Threads::default();
    here.note();
    assert_eq!((droppers.count(), droppers.share_any(&here)), (1, true));
    // The queue goes on past them.
    let last = rt.offload(|| 1);
    gate.open();
    assert_eq!(rt.block_on(last).unwrap(), 1);
    for blocker in blockers {
        rt.block_on(blocker).unwrap();
    }
    assert_eq!(ran.get(), 0);
}

fn cancel_waiting<S: Subject>() {
    let rt = limit::<S>(1);
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
    // A joiner that waits already is woken.
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

fn cancel_running<S: Subject>() {
    let rt = build::<S>();
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
    // By reference: what is checked is the join and not the handle's end.
    let error = drive(&mut closure).map(drop).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    assert_eq!((ended.get(), drops.get()), (1, 1));
    drop(closure);
    assert_eq!(drops.get(), 1);
}

fn holds_slot<S: Subject>() {
    let rt = limit::<S>(1);
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

fn result_dropped<S: Subject>() {
    let rt = build::<S>();
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

fn cancel_finished<S: Subject>() {
    let rt = build::<S>();
    let closure = rt.offload(|| 7);
    eventually("it ends", || closure.is_finished());
    closure.abort();
    closure.abort_handle().abort();
    assert_eq!(drive(closure.cancel()).unwrap(), 7);
}

fn order_after_cancel<S: Subject>() {
    let rt = limit::<S>(1);
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

fn panicking_captures<S: Subject>() {
    let rt = limit::<S>(1);
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

fn cancelled_panic<S: Subject>() {
    let rt = build::<S>();
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

fn blocking_output<S: Subject>() {
    let rt = build::<S>();
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

fn abort_handle<S: Subject>() {
    let rt = limit::<S>(1);
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

fn cancel_races<S: Subject>() {
    let rt = limit::<S>(2);
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

// OF-4

/// offload → block_on → offload → …
fn descend<R: Runtime>(rt: &R, depth: usize) -> usize {
    if depth == 0 {
        return 0;
    }
    let inner = rt.clone();
    let below = rt.offload(move || descend(&inner, depth - 1));
    1 + rt.block_on(below).unwrap()
}

fn nested_deep<S: Subject>() {
    let rt = limit::<S>(1);
    assert_eq!(descend(&rt, 16), 16);
    // And once more, with whatever the first time has left behind.
    assert_eq!(descend(&rt, 16), 16);
}

fn nested_siblings<S: Subject>() {
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
    let rt = limit::<S>(1);
    assert_eq!(descend(&rt, 16), 32);
}

fn nested_spawn<S: Subject>() {
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
    let rt = limit::<S>(1);
    assert_eq!(descend(&rt, 16), 16);
}

fn nested_chains<S: Subject>() {
    let rt = limit::<S>(2);
    let depths = on_threads(4, move |_| descend(&rt, 16));
    assert_eq!(depths, [16; 4]);
}

fn nested_two_pools<S: Subject>() {
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
    let (first, second) = (limit::<S>(1), limit::<S>(1));
    let depths = on_threads(2, move |n| match n {
        0 => descend(first.clone(), second.clone(), 8),
        _ => descend(second.clone(), first.clone(), 8),
    });
    assert_eq!(depths, [8, 8]);
}

fn nested_calls<S: Subject>() {
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
    let rt = limit::<S>(1);
    assert_eq!(rt.block_on(descend(&rt, 8).spawn()).unwrap(), 8);
}

fn lends_slot<S: Subject>() {
    let rt = limit::<S>(1);
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

fn panic_returns_slot<S: Subject>() {
    let rt = limit::<S>(1);
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

fn returning_first<S: Subject>() {
    let rt = limit::<S>(1);
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
    // From now on there is always a closure that waits: each leaves a successor
    // before it ends, until the first one is back.
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

fn abandoned_parked<S: Subject>() {
    let rt = limit::<S>(1);
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

// OF-5

fn high_water<S: Subject>() {
    const N: usize = 3;
    let rt = limit::<S>(N);
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

fn high_water_abandoned<S: Subject>() {
    const N: usize = 2;
    let rt = limit::<S>(N);
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

fn high_water_lent<S: Subject>() {
    const N: usize = 3;
    let rt = limit::<S>(N);
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

fn next_waits<S: Subject>() {
    const N: usize = 4;
    let rt = limit::<S>(N);
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

fn in_order<S: Subject>() {
    let rt = limit::<S>(1);
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

fn full_queue<S: Subject>() {
    let rt = build_with::<S>(|config| {
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
    // Beyond the bound, for those who insist.
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

fn cancel_makes_room<S: Subject>() {
    let rt = build_with::<S>(|config| {
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

fn zero_bound<S: Subject>() {
    let rt = build_with::<S>(|config| {
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

fn unbounded<S: Subject>() {
    let rt = limit::<S>(1);
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
    // In order: this one is the last.
    assert_eq!(rt.block_on(rt.offload(move || sum.get())).unwrap(), 5000);
}

// OF-6

/// Runs closures with pauses around the time after which idle threads end.
fn around_expiry<R: Runtime>(rt: &R, stream: u64) {
    for random in stress(stream) {
        let closure = rt.offload(move || random);
        assert_eq!(rt.block_on(closure).unwrap(), random);
        // Not to wait for something, but to be about as late as an idle thread
        // that is just going to end.
        let pause = Duration::from_micros(random % 2000);
        let start = Instant::now();
        while start.elapsed() < pause {
            thread::park_timeout(pause.saturating_sub(start.elapsed()));
        }
    }
}

fn expiry_races<S: Subject>() {
    let rt = build_with::<S>(|config| config.keep_alive = Duration::from_millis(1));
    around_expiry(&rt, 0);
}

fn expiry_races_many<S: Subject>() {
    let rt = build_with::<S>(|config| {
        config.keep_alive = Duration::from_millis(1);
        config.offload_limit = 2;
    });
    on_threads(4, move |n| around_expiry(&rt, n as u64));
}

fn reuse<S: Subject>() {
    let rt = build::<S>();
    let threads = Threads::default();
    for _ in 0..50 {
        let threads = threads.clone();
        rt.block_on(rt.offload(move || threads.note())).unwrap();
    }
    // One is enough; two, for a runtime that hands over just before a thread
    // counts as idle.
    assert!(threads.count() <= 2, "{} threads", threads.count());
}

fn idle_threads_end<S: Subject>() {
    let rt = build_with::<S>(|config| config.keep_alive = Duration::from_millis(5));
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

fn starts_over<S: Subject>() {
    let rt = build_with::<S>(|config| config.keep_alive = Duration::from_millis(1));
    for _ in 0..10 {
        let ended = Counter::new();
        let count = ended.clone();
        rt.block_on(rt.offload(move || at_thread_end(move || _ = count.add())))
            .unwrap();
        eventually("the idle thread ends", || ended.get() == 1);
    }
}

// OF-7

fn burst<S: Subject>() {
    let rt = limit::<S>(512);
    let threads = Threads::default();
    let closures: Vec<_> = (0..10_000)
        .map(|_| {
            let threads = threads.clone();
            rt.offload(move || threads.note())
        })
        .collect();
    rt.block_on(async {
        for closure in closures {
            closure.await.unwrap();
        }
    });
    assert_few(&threads);
}

/// Few, that is, far from one each and from the limit of 512: one for each core,
/// and those that a runtime adds when for a while it sees no progress, which on
/// a loaded machine may be the machine's fault.
#[track_caller]
fn assert_few(threads: &Threads) {
    assert!(threads.count() <= 64, "{} threads", threads.count());
}

fn steady<S: Subject>() {
    let rt = limit::<S>(512);
    let threads = Threads::default();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (inner, threads) = (rt.clone(), threads.clone());
            rt.spawn(async move {
                for _ in 0..20 {
                    let threads = threads.clone();
                    inner.offload(move || threads.note()).await.unwrap();
                }
            })
        })
        .collect();
    rt.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_few(&threads);
}

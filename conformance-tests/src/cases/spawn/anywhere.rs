//! SP-2, spawn from anywhere.

use std::{
    cell::Cell,
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Barrier},
    task::{Context, Poll},
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Runtime, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Counter, CountingWaker, Gate, HandMade, Puppet, at_thread_end, eventually, on_thread,
        on_threads, other_runtime, panic_quietly, poll_once, within,
    },
};

use super::{opener_on_drop, spawn_opener};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "SP-2.1", "spawn never polls the future inline",
        "an inline poll runs user code under the spawner's locks", never_inline;
        "SP-2.2", "spawn returns while the workers are busy, however much is queued",
        "a bounded queue that waits for room blocks the event loop that should make it", never_blocks;
        "SP-2.3", "from a task, to a depth of 50",
        "each level may run on another thread", from_tasks;
        "SP-2.4", "from another runtime's task and closure, and the other way round",
        "several runtimes meet in one program: zbus 384, lapin 436", from_foreign;
        "SP-2.5", "from an offloaded closure",
        "pool threads are not workers: no local queue is there", from_closure;
        "SP-2.6", "from destructors: of locals, of a finished future, of a cancelled one",
        "clean-up code spawns; lapin 436: the ambient context is missing there", from_drop;
        "SP-2.7", "from a thread that is unwinding, outside and inside of the runtime",
        "a lock poisoned by the panic, or a second panic, aborts the process", while_unwinding;
        "SP-2.8", "from the destructor of a thread-local, on a plain thread that used the runtime",
        "tokio 4973: a runtime's own thread-locals may be gone already", from_tls;
        "SP-2.9", "from the destructor of a thread-local, on a plain thread new to the runtime",
        "the first use of a thread-local may not be in a destructor", from_tls_first;
        "SP-2.10", "from the destructor of a thread-local, on an offload thread that ends",
        "idle threads end at a moment nobody chose", from_pool_tls;
        "SP-2.11", "from a joiner's waker",
        "wakers of other executors run arbitrary code; a lock held there deadlocks", from_waker;
        "SP-2.12", "from the root future of block_on, whoever awaits the task",
        "the root is polled outside of the workers", from_root;
        "SP-2.13", "from eight threads at a time, out of one handle",
        "handles are shared; Sync is a promise", shared_handle;
    ]
}

fn never_inline<S: Setup>(s: S) {
    let rt = s.build();
    let spawn = |rt: &S::Runtime| {
        let puppet = Puppet::new();
        within(|| rt.spawn(puppet.future())).detach();
        puppet
    };
    let mut puppets: Vec<Puppet> = (0..50).map(|_| spawn(&rt)).collect();
    let inner = rt.clone();
    puppets.extend(
        rt.block_on(rt.spawn(async move {
            let mut puppets = Vec::new();
            for _ in 0..50 {
                puppets.push(spawn(&inner));
                yield_now().await;
            }
            puppets
        }))
        .unwrap(),
    );
    let inner = rt.clone();
    puppets.push(rt.block_on(rt.offload(move || spawn(&inner))).unwrap());
    puppets.push(rt.block_on(async { spawn(&rt) }));
    for puppet in &puppets {
        puppet.finish();
        puppet.destroyed();
    }
}

fn never_blocks<S: Setup>(s: S) {
    let rt = s.build();
    let (go, waits) = Gate::pair();
    // More than it has workers.
    for _ in 0..8 {
        let waits = waits.clone();
        rt.spawn(async move { waits.wait() }).detach();
    }
    let ran = Counter::new();
    for _ in 0..500 {
        let ran = ran.clone();
        rt.spawn(async move {
            ran.add();
        })
        .detach();
    }
    // If a spawn waited for a worker, the gate would never open.
    assert!(!waits.is_open());
    go.open();
    eventually("all that was queued runs", || ran.get() == 500);
}

fn from_tasks<S: Setup>(s: S) {
    fn level<R: Runtime>(rt: R, depth: u32) -> Pin<Box<dyn Future<Output = u32> + Send>> {
        Box::pin(async move {
            if depth == 0 {
                return 0;
            }
            let inner = rt.clone();
            1 + rt.spawn(level(inner, depth - 1)).await.unwrap()
        })
    }
    let rt = s.build();
    assert_eq!(rt.block_on(rt.spawn(level(rt.clone(), 50))).unwrap(), 50);
}

fn from_foreign<S: Setup>(s: S) {
    let rt = s.build();
    let other = other_runtime();
    let inner = rt.clone();
    let there = other.spawn(async move {
        let one = inner.spawn(async { 1 }).await.unwrap();
        one + inner.offload(|| 1).await.unwrap()
    });
    assert_eq!(other.block_on(there).unwrap(), 2);
    let inner = rt.clone();
    let there = other.offload(move || inner.block_on(inner.spawn(async { 3 })).unwrap());
    assert_eq!(other.block_on(there).unwrap(), 3);
    let inner = other.clone();
    let here = rt.spawn(async move { inner.spawn(async { 4 }).await.unwrap() });
    assert_eq!(rt.block_on(here).unwrap(), 4);
    let inner = rt.clone();
    let root = other.block_on(async move { inner.spawn(async { 5 }).await.unwrap() });
    assert_eq!(root, 5);
}

fn from_closure<S: Setup>(s: S) {
    let rt = s.build();
    let gate = Gate::new();
    let (inner, opens) = (rt.clone(), gate.clone());
    let task = rt.offload(move || {
        spawn_opener(&inner, &opens);
        // The handle may leave the closure.
        inner.spawn(async { 6 })
    });
    let task = rt.block_on(task).unwrap();
    gate.wait();
    assert_eq!(rt.block_on(task).unwrap(), 6);
}

fn from_drop<S: Setup>(s: S) {
    let rt = s.build();
    let gates: Vec<Gate> = (0..5).map(|_| Gate::new()).collect();
    let local = opener_on_drop(&rt, &gates[0]);
    rt.block_on(rt.spawn(async move {
        yield_now().await;
        drop(local);
    }))
    .unwrap();
    let finished = HandMade {
        poll: |_: &mut Context<'_>| Poll::Ready(()),
        on_drop: opener_on_drop(&rt, &gates[1]),
    };
    rt.block_on(rt.spawn(finished)).unwrap();
    let (started, has_started) = Gate::pair();
    let value = opener_on_drop(&rt, &gates[2]);
    let cancelled = rt.spawn(async move {
        let _value = value;
        started.open();
        pending::<()>().await;
    });
    has_started.wait();
    assert!(rt.block_on(cancelled.cancel()).unwrap_err().is_cancelled());
    // By the destructor of an output that is not taken.
    let output = opener_on_drop(&rt, &gates[3]);
    rt.spawn(async move { output }).detach();
    // And on the thread of the case.
    drop(opener_on_drop(&rt, &gates[4]));
    gates.iter().for_each(Gate::wait);
}

fn while_unwinding<S: Setup>(s: S) {
    let rt = s.build();
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let value = opener_on_drop(&rt, &gates[0]);
    let result = catch_unwind(AssertUnwindSafe(move || {
        let _value = value;
        panic_quietly("outside")
    }));
    assert!(result.is_err());
    let value = opener_on_drop(&rt, &gates[1]);
    let task = rt.spawn(async move {
        let _value = value;
        yield_now().await;
        panic_quietly("in a task")
    });
    let result: Result<(), _> = rt.block_on(task);
    assert!(result.unwrap_err().is_panic());
    let value = opener_on_drop(&rt, &gates[2]);
    let closure = rt.offload(move || {
        let _value = value;
        panic_quietly("in a closure")
    });
    let result: Result<(), _> = rt.block_on(closure);
    assert!(result.unwrap_err().is_panic());
    gates.iter().for_each(Gate::wait);
}

fn from_tls<S: Setup>(s: S) {
    let rt = s.build();
    let gates: Vec<Gate> = (0..2).map(|_| Gate::new()).collect();
    let (inner, opens) = (rt.clone(), gates.clone());
    on_thread(move || {
        // The first one made is destroyed last: one before and one after the runtime's
        // thread-locals.
        let (early, gate) = (inner.clone(), opens[0].clone());
        at_thread_end(move || spawn_opener(&early, &gate));
        assert_eq!(inner.block_on(inner.spawn(async { 1 })).unwrap(), 1);
        thread_local! {
            static LATE: Cell<Option<Box<dyn std::any::Any>>> = const { Cell::new(None) };
        }
        let late = opener_on_drop(&inner, &opens[1]);
        LATE.set(Some(Box::new(late)));
    });
    gates.iter().for_each(Gate::wait);
}

fn from_tls_first<S: Setup>(s: S) {
    let rt = s.build();
    let gate = Gate::new();
    let (inner, opens) = (rt.clone(), gate.clone());
    on_thread(move || at_thread_end(move || spawn_opener(&inner, &opens)));
    gate.wait();
}

fn from_pool_tls<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.keep_alive = Duration::from_millis(1));
    let gate = Gate::new();
    let (inner, opens) = (rt.clone(), gate.clone());
    rt.block_on(rt.offload(move || at_thread_end(move || spawn_opener(&inner, &opens))))
        .unwrap();
    gate.wait();
}

fn from_waker<S: Setup>(s: S) {
    let rt = s.build();
    let gate = Gate::new();
    let (go, waits) = Gate::pair();
    let (inner, opens) = (rt.clone(), gate.clone());
    let (waker, wakes) = CountingWaker::with(move || spawn_opener(&inner, &opens));
    let mut task = rt.spawn(async move { waits.opened().await });
    assert!(poll_once(&mut task, &waker).is_pending());
    go.open();
    gate.wait();
    assert!(wakes.get() > 0);
    rt.block_on(task).unwrap();
}

fn from_root<S: Setup>(s: S) {
    let rt = s.build();
    let other = other_runtime();
    let task = rt.block_on(async { rt.spawn(async { 1 }) });
    assert_eq!(other.block_on(task).unwrap(), 1);
    let task = rt.block_on(async {
        yield_now().await;
        other.spawn(async { 2 })
    });
    assert_eq!(rt.block_on(task).unwrap(), 2);
}

fn shared_handle<S: Setup>(s: S) {
    let rt = Arc::new(s.build());
    let barrier = Arc::new(Barrier::new(8));
    let shared = rt.clone();
    let sums = on_threads(8, move |n| {
        barrier.wait();
        let tasks: Vec<_> = (0..20)
            .map(|i| shared.spawn(async move { n * i }))
            .collect();
        tasks
            .into_iter()
            .map(|task| shared.block_on(task).unwrap())
            .sum::<usize>()
    });
    for (n, sum) in sums.into_iter().enumerate() {
        assert_eq!(sum, n * 190);
    }
}

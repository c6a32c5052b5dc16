//! SP: spawning.

use std::{
    cell::Cell,
    future::{Future, pending, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Barrier, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll},
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Runtime, Shutdown, Spawner, Task, Timer, yield_now};

use super::{Case, table};
use crate::{
    Subject,
    util::{
        Counter, CountingWaker, Gate, HandMade, OnDrop, Puppet, at_thread_end, build, build_with,
        eventually, must, never, on_thread, on_threads, other_runtime, panic_quietly, poll_once,
        receive, within,
    },
};

pub(super) fn cases<S: Subject>() -> Vec<Case> {
    table![
        "SP-1.1", "a detached task makes progress without anyone polling its handle",
        "a lazily driven handle would leave background work undone", detached_progress::<S>;
        "SP-1.2", "a task whose handle is kept, but never polled, runs to its end",
        "executors that run a task from its handle's poll pass tests that await everything", kept_handle::<S>;
        "SP-1.3", "a task spawned by a task outlives its parent",
        "Tokio tests it: nested spawn runs both", nested_outlives::<S>;
        "SP-1.4", "timers, offloaded closures and joins make progress inside a detached task",
        "a runtime that is driven by block_on alone stops between calls", detached_uses_all::<S>;
        "SP-1.5", "a task outlives the thread that spawned it",
        "queues that live in a thread-local of the spawner are lost with it", outlives_thread::<S>;
        "SP-1.6", "a spawn from a foreign thread reaches an idle runtime, every time",
        "Tokio tests it: the wake-up of the last worker going to sleep is easily lost", reaches_idle::<S>;
        "SP-1.7", "spawns from many foreign threads under load all run",
        "Tokio tests it: the injection queue meets the local ones", under_load::<S>;
        "SP-1.8", "dropping one of several handles on the runtime changes nothing",
        "a count that goes wrong shuts down a runtime in use", handle_dropped::<S>;

        "SP-2.1", "spawn never polls the future inline",
        "an inline poll runs user code under the spawner's locks", never_inline::<S>;
        "SP-2.2", "spawn returns while the workers are busy, however much is queued",
        "a bounded queue that waits for room blocks the event loop that should make it", never_blocks::<S>;
        "SP-2.3", "from a task, to a depth of 50",
        "each level may run on another thread", from_tasks::<S>;
        "SP-2.4", "from another runtime's task and closure, and the other way round",
        "several runtimes meet in one program: zbus 384, lapin 436", from_foreign::<S>;
        "SP-2.5", "from an offloaded closure",
        "pool threads are not workers: no local queue is there", from_closure::<S>;
        "SP-2.6", "from destructors: of locals, of a finished future, of a cancelled one",
        "clean-up code spawns; lapin 436: the ambient context is missing there", from_drop::<S>;
        "SP-2.7", "from a thread that is unwinding, outside and inside of the runtime",
        "a lock poisoned by the panic, or a second panic, aborts the process", while_unwinding::<S>;
        "SP-2.8", "from the destructor of a thread-local, on a plain thread that used the runtime",
        "tokio 4973: a runtime's own thread-locals may be gone already", from_tls::<S>;
        "SP-2.9", "from the destructor of a thread-local, on a plain thread new to the runtime",
        "the first use of a thread-local may not be in a destructor", from_tls_first::<S>;
        "SP-2.10", "from the destructor of a thread-local, on an offload thread that ends",
        "idle threads end at a moment nobody chose", from_pool_tls::<S>;
        "SP-2.11", "from a joiner's waker",
        "wakers of other executors run arbitrary code; a lock held there deadlocks", from_waker::<S>;
        "SP-2.12", "from the root future of block_on, whoever awaits the task",
        "the root is polled outside of the workers", from_root::<S>;
        "SP-2.13", "from eight threads at a time, out of one handle",
        "handles are shared; Sync is a promise", shared_handle::<S>;

        "SP-3.1", "after shutdown the future is dropped unpolled, and the join says shut down",
        "tasks that silently go nowhere, and joins that hang", after_shutdown::<S>, needs [Shutdown];
        "SP-3.2", "after shutdown spawn does not panic, from wherever it is called",
        "Tokio panics in some of these places and not in others", after_shutdown_anywhere::<S>, needs [Shutdown];
        "SP-3.3", "the handle of a refused future can be aborted, cancelled, detached and dropped",
        "handles made by hand for the refusal miss a transition", refused_handle::<S>, needs [Shutdown];
        "SP-3.4", "a destructor that panics when its future is refused is contained and told",
        "the panic would come out of spawn, which promises not to", refused_destructor_panics::<S>, needs [Shutdown];
        "SP-3.5", "a refused future may spawn in its destructor",
        "a refusal under a lock deadlocks here", refused_spawns::<S>, needs [Shutdown];

        "SP-4.1", "large futures and outputs arrive intact",
        "Tokio boxes large futures on another path", large::<S>;
        "SP-4.2", "futures and outputs without size work",
        "pointer arithmetic and allocation of nothing", zero_sized::<S>;
        "SP-4.3", "an output is dropped once, whoever is left with it",
        "async-executor tests it: once in each of three orders", output_dropped_once::<S>;
        "SP-4.4", "over-aligned futures and outputs are aligned",
        "hand-made layouts forget the padding", aligned::<S>;
        "SP-4.5", "a future stays where it is from its first poll to its destruction",
        "a future that is moved after being polled is undefined behaviour", pinned::<S>;
        "SP-4.6", "outputs and locals that are Send but not Sync work",
        "a bound too many shuts out half the ecosystem", not_sync::<S>;
        "SP-4.7", "a task may be suspended ten thousand times",
        "budgets and counters that run out", many_suspensions::<S>;
        "SP-4.8", "hundreds of tasks at a time give each its own output",
        "slots that are reused too early mix up results", many_tasks::<S>;
        "SP-4.9", "the runtime's handle may be part of the future and of the output",
        "cycles through the handle keep a runtime alive or destroy it in its own thread", handle_inside::<S>;
    ]
}

/// Spawns a task that opens the gate.
fn spawn_opener(rt: &impl Spawner, gate: &Gate) {
    let gate = gate.clone();
    rt.spawn(async move { gate.open() }).detach();
}

/// A value that spawns such a task when it is dropped.
fn opener_on_drop<R: Runtime>(rt: &R, gate: &Gate) -> impl Send + Unpin + 'static + use<R> {
    let (rt, gate) = (rt.clone(), gate.clone());
    // Boxed, for handles need not be `Unpin`.
    Box::new(OnDrop(move || spawn_opener(&rt, &gate)))
}

// SP-1

fn detached_progress<S: Subject>() {
    let rt = build::<S>();
    let (done, gate) = Gate::pair();
    rt.spawn(async move { done.open() }).detach();
    // From a plain thread that drives nothing.
    gate.wait();
    // And the runtime is still in order.
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

fn kept_handle<S: Subject>() {
    let rt = build::<S>();
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

fn nested_outlives<S: Subject>() {
    let rt = build::<S>();
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

fn detached_uses_all<S: Subject>() {
    let rt = build::<S>();
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

fn outlives_thread<S: Subject>() {
    let rt = build::<S>();
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

fn reaches_idle<S: Subject>() {
    let rt = build::<S>();
    for round in 0..300_u32 {
        let gate = Gate::new();
        spawn_opener(&rt, &gate);
        gate.wait();
        // Meets the workers at different moments of going to sleep.
        for _ in 0..(round % 64) * 40 {
            std::hint::spin_loop();
        }
    }
}

fn under_load<S: Subject>() {
    let rt = build::<S>();
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

fn handle_dropped<S: Subject>() {
    let rt = build::<S>();
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

// SP-2

fn never_inline<S: Subject>() {
    let rt = build::<S>();
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

fn never_blocks<S: Subject>() {
    let rt = build::<S>();
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
    // Had a spawn waited for a worker, nobody would have opened the gate.
    assert!(!waits.is_open());
    go.open();
    eventually("all that was queued runs", || ran.get() == 500);
}

fn from_tasks<S: Subject>() {
    fn level<R: Runtime>(rt: R, depth: u32) -> Pin<Box<dyn Future<Output = u32> + Send>> {
        Box::pin(async move {
            if depth == 0 {
                return 0;
            }
            let inner = rt.clone();
            1 + rt.spawn(level(inner, depth - 1)).await.unwrap()
        })
    }
    let rt = build::<S>();
    assert_eq!(rt.block_on(rt.spawn(level(rt.clone(), 50))).unwrap(), 50);
}

fn from_foreign<S: Subject>() {
    let rt = build::<S>();
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

fn from_closure<S: Subject>() {
    let rt = build::<S>();
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

fn from_drop<S: Subject>() {
    let rt = build::<S>();
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
    // Of the output, where nobody wants it.
    let output = opener_on_drop(&rt, &gates[3]);
    rt.spawn(async move { output }).detach();
    // And on the thread of the case.
    drop(opener_on_drop(&rt, &gates[4]));
    gates.iter().for_each(Gate::wait);
}

fn while_unwinding<S: Subject>() {
    let rt = build::<S>();
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

fn from_tls<S: Subject>() {
    let rt = build::<S>();
    let gates: Vec<Gate> = (0..2).map(|_| Gate::new()).collect();
    let (inner, opens) = (rt.clone(), gates.clone());
    on_thread(move || {
        // The one made first is destroyed last: one before, one after what the
        // runtime keeps here.
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

fn from_tls_first<S: Subject>() {
    let rt = build::<S>();
    let gate = Gate::new();
    let (inner, opens) = (rt.clone(), gate.clone());
    on_thread(move || at_thread_end(move || spawn_opener(&inner, &opens)));
    gate.wait();
}

fn from_pool_tls<S: Subject>() {
    let rt = build_with::<S>(|config| config.keep_alive = Duration::from_millis(1));
    let gate = Gate::new();
    let (inner, opens) = (rt.clone(), gate.clone());
    rt.block_on(rt.offload(move || at_thread_end(move || spawn_opener(&inner, &opens))))
        .unwrap();
    gate.wait();
}

fn from_waker<S: Subject>() {
    let rt = build::<S>();
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

fn from_root<S: Subject>() {
    let rt = build::<S>();
    let other = other_runtime();
    let task = rt.block_on(async { rt.spawn(async { 1 }) });
    assert_eq!(other.block_on(task).unwrap(), 1);
    let task = rt.block_on(async {
        yield_now().await;
        other.spawn(async { 2 })
    });
    assert_eq!(rt.block_on(task).unwrap(), 2);
}

fn shared_handle<S: Subject>() {
    let rt = Arc::new(build::<S>());
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

// SP-3

/// A runtime that was used and is shut down.
fn shut_down<S: Subject>() -> S::Runtime {
    let rt = build::<S>();
    rt.block_on(rt.spawn(yield_now())).unwrap();
    assert!(rt.shutdown(must()).unwrap().is_clean());
    rt
}

fn after_shutdown<S: Subject>() {
    let rt = shut_down::<S>();
    for _ in 0..10 {
        let puppet = Puppet::new();
        let mut task = rt.spawn(puppet.future());
        eventually("a refused task is finished", || task.is_finished());
        assert_eq!((puppet.polls(), puppet.drops()), (0, 1));
        let (waker, _) = CountingWaker::new();
        match poll_once(&mut task, &waker) {
            Poll::Ready(Err(error)) => assert!(error.is_shutdown(), "{error:?}"),
            _ => panic!("a finished task must be ready with its error"),
        }
    }
    // And a handle that goes away is no different.
    let puppet = Puppet::new();
    drop(rt.spawn(puppet.future()));
    rt.spawn(ready(())).detach();
    puppet.destroyed();
    assert_eq!(puppet.polls(), 0);
}

fn after_shutdown_anywhere<S: Subject>() {
    let rt = shut_down::<S>();
    let other = other_runtime();
    let drops = Counter::new();
    let spawn = {
        let (rt, drops) = (rt.clone(), drops.clone());
        move || {
            let value = drops.on_drop();
            rt.spawn(async move { drop(value) }).detach();
        }
    };
    spawn();
    let f = spawn.clone();
    other.block_on(other.spawn(async move { f() })).unwrap();
    let f = spawn.clone();
    other.block_on(other.offload(f)).unwrap();
    other.block_on(async { spawn() });
    let f = spawn.clone();
    drop(OnDrop(f));
    let f = spawn.clone();
    let result = catch_unwind(AssertUnwindSafe(move || {
        let _value = OnDrop(f);
        panic_quietly("unwinding")
    }));
    assert!(result.is_err());
    let f = spawn.clone();
    on_thread(move || at_thread_end(f));
    eventually("all refused futures are destroyed", || drops.get() == 7);
}

fn refused_handle<S: Subject>() {
    let rt = shut_down::<S>();
    let other = other_runtime();
    let task = rt.spawn(ready(1));
    let aborts = task.abort_handle();
    aborts.abort();
    task.abort();
    assert!(other.block_on(task).unwrap_err().is_shutdown());
    aborts.abort();
    assert!(aborts.is_finished());
    let task = rt.spawn(ready(1));
    assert!(other.block_on(task.cancel()).unwrap_err().is_shutdown());
    let task = rt.spawn(ready(1));
    let aborts = task.abort_handle();
    task.detach();
    aborts.abort();
    let task = rt.spawn(ready(1));
    let aborts = task.abort_handle();
    drop(task);
    aborts.abort();
    eventually("it is finished", || aborts.is_finished());
}

fn refused_destructor_panics<S: Subject>() {
    let rt = shut_down::<S>();
    let make = || HandMade {
        poll: |_: &mut Context<'_>| Poll::Ready(()),
        on_drop: OnDrop(|| panic_quietly("refused destructor")),
    };
    let error = other_runtime().block_on(rt.spawn(make())).unwrap_err();
    assert!(error.is_panic(), "{error:?}");
    let payload = error.into_panic();
    assert_eq!(payload.downcast_ref(), Some(&"refused destructor"));
    rt.spawn(make()).detach();
    drop(rt.spawn(make()));
}

fn refused_spawns<S: Subject>() {
    let rt = shut_down::<S>();
    let drops = Counter::new();
    let (inner, count) = (rt.clone(), drops.clone());
    let value = Box::new(OnDrop(move || {
        let value = count.on_drop();
        inner.spawn(async move { drop(value) }).detach();
    }));
    let task = rt.spawn(async move { drop(value) });
    let error = other_runtime().block_on(task).unwrap_err();
    assert!(error.is_shutdown());
    eventually("the inner one is destroyed", || drops.get() == 1);
}

// SP-4

const LARGE: usize = 64 * 1024;

fn pattern(seed: usize) -> [u8; LARGE] {
    std::array::from_fn(|i| u8::try_from((i * 31 + seed) % 251).unwrap_or_default())
}

fn large<S: Subject>() {
    let rt = build::<S>();
    let tasks: Vec<_> = (0..4)
        .map(|seed| {
            let input = pattern(seed);
            rt.spawn(async move {
                let copy = input;
                yield_now().await;
                assert!(copy == pattern(seed));
                yield_now().await;
                copy
            })
        })
        .collect();
    for (seed, task) in tasks.into_iter().enumerate() {
        let output = rt.block_on(task).unwrap();
        assert!(output == pattern(seed));
    }
    // Large, with a small output; and cancelled.
    let input = pattern(9);
    let task = rt.spawn(async move {
        yield_now().await;
        input[7]
    });
    assert_eq!(rt.block_on(task).unwrap(), pattern(9)[7]);
    let task = rt.spawn(async move {
        pending::<()>().await;
        input
    });
    assert!(rt.block_on(task.cancel()).is_err());
}

fn zero_sized<S: Subject>() {
    struct Nothing;
    impl Future for Nothing {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }
    struct Never;
    impl Future for Never {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }
    let rt = build::<S>();
    assert_eq!(size_of::<Nothing>() + size_of::<Never>(), 0);
    for _ in 0..20 {
        rt.block_on(rt.spawn(Nothing)).unwrap();
        let error = rt.block_on(rt.spawn(Never).cancel()).unwrap_err();
        assert!(error.is_cancelled());
        let empty: [u64; 0] = rt.block_on(rt.spawn(async { [] })).unwrap();
        assert!(empty.is_empty());
    }
}

fn output_dropped_once<S: Subject>() {
    let rt = build::<S>();
    for _ in 0..20 {
        // Joined.
        let drops = Counter::new();
        let value = drops.on_drop();
        let output = rt.block_on(rt.spawn(async move { value })).unwrap();
        assert_eq!(drops.get(), 0);
        drop(output);
        assert_eq!(drops.get(), 1);
        // The handle goes first.
        let drops = Counter::new();
        let value = drops.on_drop();
        drop(rt.spawn(async move { value }));
        eventually("the output or the future is dropped", || drops.get() == 1);
        // The task ends first.
        let drops = Counter::new();
        let value = drops.on_drop();
        let task = rt.spawn(async move { value });
        eventually("it is finished", || task.is_finished());
        assert_eq!(drops.get(), 0);
        drop(task);
        assert_eq!(drops.get(), 1);
        // Nobody wants it.
        let drops = Counter::new();
        let value = drops.on_drop();
        let (go, waits) = Gate::pair();
        rt.spawn(async move {
            waits.opened().await;
            value
        })
        .detach();
        go.open();
        eventually("the output of a detached task is dropped", || {
            drops.get() == 1
        });
        // Detached when it was there already.
        let drops = Counter::new();
        let value = drops.on_drop();
        let task = rt.spawn(async move { value });
        eventually("it is finished", || task.is_finished());
        task.detach();
        eventually("its output is dropped", || drops.get() == 1);
    }
}

fn aligned<S: Subject>() {
    #[repr(align(256))]
    struct Aligned(u8);
    fn check(value: &Aligned) -> u8 {
        let address = std::ptr::from_ref(value).addr();
        assert_eq!(address % align_of::<Aligned>(), 0);
        value.0
    }
    let rt = build::<S>();
    for n in 0..20 {
        let input = Aligned(n);
        let output = rt.block_on(rt.spawn(async move {
            check(&input);
            yield_now().await;
            check(&input);
            input
        }));
        assert_eq!(check(&output.unwrap()), n);
    }
}

fn pinned<S: Subject>() {
    /// Knows its address from its first poll on.
    struct Located {
        at: Option<usize>,
        left: u32,
        moved: Counter,
        drops: Counter,
    }
    impl Located {
        fn look(&mut self) {
            let here = std::ptr::from_ref(self).addr();
            if *self.at.get_or_insert(here) != here {
                self.moved.add();
            }
        }
    }
    impl Drop for Located {
        fn drop(&mut self) {
            self.look();
            self.drops.add();
        }
    }
    let rt = build::<S>();
    let (moved, drops) = (Counter::new(), Counter::new());
    for end in [true, false] {
        let mut located = Located {
            at: None,
            left: 50,
            moved: moved.clone(),
            drops: drops.clone(),
        };
        let (waits, started) = Gate::pair();
        // An async block keeps its locals inside of itself.
        let task = rt.spawn(async move {
            while located.left > 0 {
                located.look();
                located.left -= 1;
                yield_now().await;
            }
            waits.open();
            if !end {
                pending::<()>().await;
            }
            located.look();
        });
        started.wait();
        if end {
            rt.block_on(task).unwrap();
        } else {
            rt.block_on(task.cancel()).unwrap_err();
        }
    }
    assert_eq!((moved.get(), drops.get()), (0, 2));
}

fn not_sync<S: Subject>() {
    let rt = build::<S>();
    let cell = Cell::new(1);
    let output = rt.block_on(rt.spawn(async move {
        cell.set(cell.get() + 1);
        yield_now().await;
        cell
    }));
    assert_eq!(output.unwrap().get(), 2);
    // A guard of a channel, moved between polls.
    let (sender, receiver) = mpsc::channel();
    let task = rt.spawn(async move {
        yield_now().await;
        sender.send(3).unwrap();
        sender
    });
    drop(rt.block_on(task).unwrap());
    assert_eq!(receive(&receiver), 3);
}

fn many_suspensions<S: Subject>() {
    let rt = build::<S>();
    let task = rt.spawn(async {
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            if polls == 10_000 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        polls
    });
    assert_eq!(rt.block_on(task).unwrap(), 10_000);
}

fn many_tasks<S: Subject>() {
    let rt = build::<S>();
    let (go, waits) = Gate::pair();
    let tasks: Vec<_> = (0..300)
        .map(|n| {
            let waits = waits.clone();
            rt.spawn(async move {
                waits.opened().await;
                (n, vec![n; n % 7])
            })
        })
        .collect();
    never("a task is finished too early", || {
        tasks.iter().any(Task::is_finished)
    });
    go.open();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(rt.block_on(task).unwrap(), (n, vec![n; n % 7]));
    }
}

fn handle_inside<S: Subject>() {
    let rt = build::<S>();
    let inside = Arc::new(Mutex::new(None));
    let (inner, place) = (rt.clone(), inside.clone());
    let task = rt.spawn(async move {
        yield_now().await;
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(inner.clone());
        drop(place);
        inner
    });
    let output = rt.block_on(task).unwrap();
    drop(rt);
    let other = inside.lock().unwrap_or_else(PoisonError::into_inner).take();
    assert_eq!(output.block_on(output.spawn(async { 1 })).unwrap(), 1);
    drop(output);
    let other = other.expect("the task has left a handle");
    assert_eq!(other.block_on(other.spawn(async { 2 })).unwrap(), 2);
}

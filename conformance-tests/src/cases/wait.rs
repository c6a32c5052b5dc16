//! WT: waiting for a task from sync code.

use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, mpsc},
    task::Waker,
    thread,
    time::Duration,
};

use fourway_core::{
    AnyRuntime, BlockOn, JoinError, Offload, Runtime, Shutdown, Spawner, Task,
    context::{self, Context},
    implement,
    layer::Propagate,
    values::{Key, Values},
    yield_now,
};
use fourway_suite::panic_message;

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Answer, Counter, Gate, Gauge, OnDrop, ask, at_thread_end, caught, drive, eventually, must,
        never, on_thread, on_threads, other_runtime, panic_quietly, poll_once, receive,
    },
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "WT-1.1", "waiting gives what awaiting gives: the output, the panic, or the cancellation",
        "sync code that has a handle had to find a runtime to drive it", outcomes;
        "WT-1.2", "in async code it is refused, and the handle is as good as before",
        "a join that blocks an executor's thread", refused;
        "WT-1.3", "wait() in async code panics at the caller's line, and cancels",
        "a panic that points into the library", refused_at_the_line;
        "WT-1.4", "closures that wait for closures complete at depth 24 on a pool of one",
        "OF-4 holds for every way to block", nested;
        "WT-1.5", "a closure that waits for a task lends its slot",
        "what the task waits for may be in the queue", lends_slot;
        "WT-1.6", "a closure that is waited for finds what an offloaded closure finds",
        "run by the waiting thread, it must not be able to tell", as_offloaded;
        "WT-1.7", "it does not see the values of the thread that waits",
        "context that leaks because of where a closure happens to run", no_values;
        "WT-1.8", "closures that are waited for keep the limit",
        "a thread that helps is one more than the pool has", keeps_limit;
        "WT-1.9", "a closure that is waited for does not overtake those that wait",
        "whoever blocks would go first", in_order;
        "WT-1.10", "cancelled before it starts, a closure that is waited for never runs",
        "the waiting thread has taken it already", cancelled;
        "WT-1.11", "cancelled while it runs, it runs to its end, and the wait gives cancelled",
        "OF-3 holds on whichever thread", cancelled_while_running;
        "WT-1.12", "a closure that panics leaves the waiting thread and the slot as they were",
        "a mark or a slot that an unwinding thread takes along", panics;
        "WT-1.13", "boxed handles of both kinds are waited for alike",
        "an erased handle that has only half of the methods", boxed;
        "WT-1.14", "cancel().wait() returns when the work is gone",
        "aborted is not stopped", cancel_and_wait;
        "WT-1.15", "shutdown waits for a closure that a waiting thread runs",
        "a closure on a thread that the pool did not start", shutdown, needs [Shutdown];
        "WT-1.16", "a slot that a waiting thread gives back goes to who waits for one",
        "a closure is stranded, for no thread of the pool has ended one", passes_slot_on;
        "WT-1.17", "it works in the destructor of a thread-local, also with a pool of one",
        "a thread that helps claims the closure, and then panics: its thread-locals are gone", in_thread_local;
    ]
}

/// Tasks and closures.
fn outcomes<S: Setup>(s: S) {
    fn reason<T>(result: Result<T, JoinError>) -> (bool, Option<String>) {
        let error = result.err().expect("there is no output");
        let message = error.panic_message().map(str::to_owned);
        (error.is_cancelled(), message)
    }
    let rt = s.build();
    for _ in 0..50 {
        assert_eq!(rt.spawn(async { 1 }).wait().unwrap(), 1);
        assert_eq!(rt.offload(|| 2).wait().unwrap(), 2);
    }
    let panicked = (false, Some(String::from("on purpose")));
    let closure = rt.offload(|| panic_quietly("on purpose"));
    assert_eq!(reason::<()>(closure.wait()), panicked);
    let task = rt.spawn(async { panic_quietly("on purpose") });
    assert_eq!(reason::<()>(task.wait()), panicked);
    let task = rt.spawn(std::future::pending::<()>());
    task.abort();
    assert_eq!(reason(task.wait()), (true, None));
    // A task that is awaited first, and then waited for.
    let (go, gate) = Gate::pair();
    let mut closure = rt.offload(move || gate.wait());
    assert!(poll_once(&mut closure, Waker::noop()).is_pending());
    go.open();
    closure.wait().unwrap();
}

fn refused<S: Setup>(s: S) {
    /// The result of each attempt, and the final results of the handles.
    async fn inside<R: Runtime>(rt: R) -> (Vec<bool>, u32, u32) {
        let mut refused = Vec::new();
        let mut task = rt.spawn(async { 1 });
        let mut closure = rt.offload(|| 2);
        // At once, and when the result is there.
        for finished in [false, true] {
            while finished && !(task.is_finished() && closure.is_finished()) {
                yield_now().await;
            }
            for error in [task.try_wait().err(), closure.try_wait().err()] {
                refused.push(error.is_some_and(|error| error.is_nested()));
            }
        }
        (refused, task.await.unwrap(), closure.await.unwrap())
    }
    let rt = s.build();
    let right = (vec![true; 4], 1, 2);
    assert_eq!(rt.block_on(inside(rt.clone())), right);
    assert_eq!(drive(rt.spawn(inside(rt.clone()))).unwrap(), right);
    // Another runtime's executor must not be blocked either.
    let other = other_runtime();
    assert_eq!(drive(other.spawn(inside(rt))).unwrap(), right);
}

fn refused_at_the_line<S: Setup>(s: S) {
    let rt = s.build();
    let (go, gate) = Gate::pair();
    let (dropped, gone) = Gate::pair();
    let inner = rt.clone();
    let task = rt.spawn(async move {
        // Captured: it may be cancelled before its first poll.
        let dropped = OnDrop(move || dropped.open());
        let inside = inner.spawn(async move {
            let _dropped = dropped;
            pending::<()>().await;
        });
        let line = line!() + 1;
        let panic = caught(|| inside.wait());
        go.open();
        (panic, line)
    });
    gate.wait();
    gone.wait();
    let (panic, line) = drive(task).unwrap();
    assert_eq!((panic.file.as_str(), panic.line), (file!(), line));
    assert!(panic.message.contains(".await"), "{}", panic.message);
}

fn nested<S: Setup>(s: S) {
    fn descend<R: Runtime>(rt: &R, depth: usize) -> usize {
        if depth == 0 {
            return 0;
        }
        let inner = rt.clone();
        let before = rt.offload(|| 1);
        let below = rt.offload(move || descend(&inner, depth - 1));
        before.wait().unwrap() + below.wait().unwrap()
    }
    let rt = s.build_with(|config| config.offload_limit = 1);
    let deep = rt.clone();
    assert_eq!(on_thread(move || descend(&deep, 24)), 24);
    // From inside of the pool, on two threads, and beside each other.
    let depths = on_threads(2, move |_| {
        let inner = rt.clone();
        rt.offload(move || descend(&inner, 12)).wait().unwrap()
    });
    assert_eq!(depths, [12, 12]);
}

fn lends_slot<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    let inner = rt.clone();
    let outer = rt.offload(move || {
        let again = inner.clone();
        let task = inner.spawn(async move { again.offload(|| 1).await.unwrap() });
        task.wait().unwrap()
    });
    assert_eq!(drive(outer).unwrap(), 1);
}

fn as_offloaded<S: Setup>(s: S) {
    let rt = s.build();
    let other = other_runtime();
    for _ in 0..50 {
        let inner = rt.clone();
        let closure = move || {
            let id = implement::runtime_id();
            assert_eq!(context::current(), Context::Blocking);
            assert_eq!(ask(&inner), Answer::Ran);
            // The current runtime is the one that offloaded it.
            let current = AnyRuntime::current().expect("there is one");
            assert_eq!(current.offload(implement::runtime_id).wait().unwrap(), id);
            assert_eq!(inner.spawn(async { 1 }).wait().unwrap(), 1);
            assert_eq!(context::current(), Context::Blocking);
            id
        };
        let awaited = drive(rt.offload(closure.clone())).unwrap();
        assert!(awaited.is_some());
        assert_eq!(rt.offload(closure.clone()).wait().unwrap(), awaited);
        assert_eq!(context::current(), Context::Sync);
        assert_eq!(implement::runtime_id(), None);
        // Waited for by a thread of another runtime.
        let there = rt.clone();
        let elsewhere = other.offload(move || {
            let before = implement::runtime_id();
            let id = there.offload(closure).wait().unwrap();
            assert_eq!(implement::runtime_id(), before);
            id
        });
        assert_eq!(drive(elsewhere).unwrap(), awaited);
    }
}

fn no_values<S: Setup>(s: S) {
    static REQUEST: Key<u32> = Key::new("request");
    let rt = s.build();
    Values::default().with(&REQUEST, 7).scope(|| {
        // No values, unless the runtime passes them on by itself.
        let awaited = drive(rt.offload(|| REQUEST.get())).unwrap();
        for _ in 0..50 {
            assert_eq!(rt.offload(|| REQUEST.get()).wait().unwrap(), awaited);
            // The layer that passes values on does so wherever the closure runs.
            let layered = Propagate::new(rt.clone());
            let seen = layered.offload(|| REQUEST.get()).wait();
            assert_eq!(seen.unwrap(), Some(7));
        }
        assert_eq!(REQUEST.get(), Some(7));
    });
}

fn keeps_limit<S: Setup>(s: S) {
    for limit in [1, 3] {
        let rt = s.build_with(|config| config.offload_limit = limit);
        let gauge = Gauge::default();
        let inside = gauge.clone();
        on_threads(6, move |n| {
            for _ in 0..30 {
                let gauge = inside.clone();
                let closure = rt.offload(move || {
                    let _inside = gauge.enter();
                    thread::yield_now();
                });
                if n % 3 == 0 {
                    drive(closure).unwrap();
                } else {
                    closure.wait().unwrap();
                }
            }
        });
        assert!(gauge.most() <= limit, "{} of {limit}", gauge.most());
    }
}

fn in_order<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    for _ in 0..20 {
        let order = Arc::new(Mutex::new(Vec::new()));
        let closures: Vec<_> = (0..4)
            .map(|number| {
                let order = order.clone();
                rt.offload(move || order.lock().unwrap().push(number))
            })
            .collect();
        for closure in closures.into_iter().rev() {
            closure.wait().unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
    }
}

fn cancelled<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    let (go, gate) = Gate::pair();
    let (started, running) = Gate::pair();
    let blocker = rt.offload(move || {
        started.open();
        gate.wait();
    });
    running.wait();
    let (ran, dropped) = (Counter::new(), Counter::new());
    let captured = dropped.on_drop();
    let count = ran.clone();
    let closure = rt.offload(move || {
        count.add();
        drop(captured);
    });
    let abort = closure.abort_handle();
    let (about, waits) = Gate::pair();
    let waiter = thread::spawn(move || {
        about.open();
        closure.wait()
    });
    waits.wait();
    // It is waiting or about to wait: either way it runs no closure that has no slot.
    never("it runs without a slot", || ran.get() > 0);
    abort.abort();
    eventually("the wait ends", || waiter.is_finished());
    let error = waiter.join().unwrap().unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!((ran.get(), dropped.get()), (0, 1));
    go.open();
    blocker.wait().unwrap();
}

fn cancelled_while_running<S: Setup>(s: S) {
    let rt = s.build();
    for _ in 0..20 {
        let (started, running) = Gate::pair();
        let (go, gate) = Gate::pair();
        let ended = Counter::new();
        let count = ended.clone();
        let closure = rt.offload(move || {
            started.open();
            gate.wait();
            count.add();
        });
        let abort = closure.abort_handle();
        let waiter = thread::spawn(move || closure.wait());
        running.wait();
        abort.abort();
        assert!(!abort.is_finished());
        go.open();
        eventually("the wait ends", || waiter.is_finished());
        assert!(waiter.join().unwrap().unwrap_err().is_cancelled());
        assert_eq!(ended.get(), 1);
    }
}

fn panics<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    for _ in 0..20 {
        let closure = rt.offload(|| panic_quietly("on purpose"));
        assert!(
            closure
                .wait()
                .is_err_and(|error: JoinError| error.is_panic())
        );
        assert_eq!(context::current(), Context::Sync);
        assert_eq!(ask(&rt), Answer::Ran);
        assert_eq!(drive(rt.offload(|| 1)).unwrap(), 1);
    }
}

fn boxed<S: Setup>(s: S) {
    let rt = s.build();
    let tasks: Vec<Box<dyn Task<u32>>> =
        vec![Box::new(rt.spawn(async { 1 })), Box::new(rt.offload(|| 2))];
    let sum: u32 = tasks.into_iter().map(|task| task.wait().unwrap()).sum();
    assert_eq!(sum, 3);
    let erased = AnyRuntime::new(rt);
    assert_eq!(erased.spawn(async { 3 }).wait().unwrap(), 3);
    assert_eq!(erased.offload(|| 4).wait().unwrap(), 4);
    let mut refused: Box<dyn Task<u32>> = Box::new(erased.offload(|| 5));
    let error = erased.block_on(async { refused.try_wait().err() });
    assert!(error.is_some_and(|error| error.is_nested()));
    assert_eq!(refused.wait().unwrap(), 5);
}

fn cancel_and_wait<S: Setup>(s: S) {
    let rt = s.build();
    for _ in 0..20 {
        let dropped = Counter::new();
        let count = dropped.clone();
        let captured = OnDrop(move || {
            // It takes its time.
            thread::sleep(Duration::from_millis(1));
            count.add();
        });
        let (started, running) = Gate::pair();
        let task = rt.spawn(async move {
            let _captured = captured;
            started.open();
            pending::<()>().await;
        });
        running.wait();
        assert!(task.cancel().wait().unwrap_err().is_cancelled());
        assert_eq!(dropped.get(), 1);
    }
    let closure = rt.offload(|| 1);
    eventually("the closure ends", || closure.is_finished());
    assert_eq!(closure.cancel().wait().unwrap(), 1);
}

fn shutdown<S: Setup>(s: S) {
    for _ in 0..20 {
        let rt = s.build();
        let (started, running) = Gate::pair();
        let (go, gate) = Gate::pair();
        let ended = Counter::new();
        let count = ended.clone();
        let inner = rt.clone();
        let waiter = thread::spawn(move || {
            let closure = inner.offload(move || {
                started.open();
                gate.wait();
                // The other thread is in `shutdown`, most of the time.
                thread::sleep(Duration::from_millis(1));
                count.add();
            });
            closure.wait()
        });
        running.wait();
        go.open();
        rt.shutdown(must()).unwrap();
        assert_eq!(ended.get(), 1, "it has not waited for the closure");
        eventually("the wait ends", || waiter.is_finished());
        // It was running when the shutdown came, so it has its output.
        waiter.join().unwrap().unwrap();
        let late = rt.offload(|| ()).wait();
        assert!(late.unwrap_err().is_shutdown());
    }
}

fn in_thread_local<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    for round in 0..40 {
        let (tell, told) = mpsc::channel();
        let inner = rt.clone();
        on_thread(move || {
            let late = inner.clone();
            // The first one made is destroyed last: after the runtime's thread-locals.
            at_thread_end(move || {
                let done = catch_unwind(AssertUnwindSafe(|| {
                    let closure = late.offload(|| 2).wait().unwrap();
                    closure + late.spawn(async { 1 }).wait().unwrap()
                }));
                // A panic out of a destructor would abort the process.
                let _ = tell.send(done.map_err(|payload| panic_message(&*payload)));
            });
            // Half of the threads are new to the runtime. The others may have got into a habit.
            for _ in 0..round % 2 * 6 {
                assert_eq!(inner.offload(|| 1).wait().unwrap(), 1);
            }
        });
        assert_eq!(receive(&told), Ok(3), "round {round}");
    }
    assert_eq!(drive(rt.offload(|| 1)).unwrap(), 1);
}

fn passes_slot_on<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    for _ in 0..50 {
        let (started, running) = Gate::pair();
        let (go, gate) = Gate::pair();
        let inner = rt.clone();
        let waiter = thread::spawn(move || {
            let closure = inner.offload(move || {
                started.open();
                gate.wait();
            });
            closure.wait().unwrap();
        });
        running.wait();
        let next = rt.offload(|| 1);
        go.open();
        assert_eq!(drive(next).unwrap(), 1);
        waiter.join().unwrap();
    }
}

//! CX-1, the current context is exact.

use std::{
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    task::Poll,
    thread,
    time::Duration,
};

use fourway_core::{
    AnyRuntime, BlockOn, Call, Offload, Runtime, Spawner, Task, Timer,
    context::{self, Context},
    implement::{self, RuntimeId},
    yield_now,
};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        CountingWaker, Gate, HandMade, OnDrop, drive, eventually, on_thread, other_runtime,
        panic_quietly, poll_once, receive,
    },
};

use super::MS;

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "CX-1.1", "a plain thread is Sync and in no runtime, beside a runtime at work",
        "a mark that leaks makes sync code refuse to block", plain_thread;
        "CX-1.2", "a task is Async at every poll, and in its runtime",
        "marked at the first poll alone, it would be wrong after a wake", task;
        "CX-1.3", "a closure is Blocking, and in its runtime",
        "this is where blocking is allowed", closure;
        "CX-1.4", "block_on's root is Async, and the thread is as before afterwards",
        "the mark must be put back", root;
        "CX-1.5", "task, closure, block_on, closure, block_on: exact at every step there and back",
        "asyncio and asgiref lose track in the middle", nested;
        "CX-1.6", "destructors run in the context of what they belong to",
        "zbus 384, lapin 436: the context is missing during Drop", destructors;
        "CX-1.7", "block_in_place is Blocking in a task, and Async again afterwards",
        "exact at every moment means in between, too", in_place;
        "CX-1.8", "panics leave no mark behind",
        "tokio 5177: a panic in a nested call left the context entered", after_panics;
        "CX-1.9", "AnyRuntime::current() in tasks, closures and roots is that runtime, and works",
        "a library inside someone's runtime must not start a second one", current_runtime;
        "CX-1.10", "in nested calls of two runtimes the innermost one is current",
        "asgiref: which loop am I in? Right in a re-entrant call", two_runtimes;
        "CX-1.11", "a waker that a timer calls runs as async code",
        "the timer thread must not be blocked", timer_waker;
        "CX-1.12", "a thread started in a task or closure is Sync and in no runtime",
        "marks belong to threads and are not inherited", started_threads;
        "CX-1.13", "a future polled by hand runs in the context of who polls it",
        "no executor, no mark", by_hand;
        "CX-1.14", "an output that nobody takes is destroyed as async code where its task ends",
        "its destructor holds up the executor like any other", unwanted_output;
        "CX-1.15", "a runtime that is gone is not current, and asking does no harm",
        "the registry must not keep runtimes alive", gone_runtime;
        "CX-1.16", "a blocking body that runs in place has its runtime as the current one",
        "under .await it has: a library that asks must not find another runtime in sync callers", body_in_place;
    ]
}

fn body_in_place<S: Setup>(s: S) {
    fn look() -> (Context, Option<RuntimeId>, Option<RuntimeId>) {
        let Some(current) = AnyRuntime::current() else {
            panic!("no current runtime: a body in place");
        };
        let inside = current.block_on(async { implement::runtime_id() });
        (context::current(), implement::runtime_id(), inside)
    }
    let rt = s.build();
    let id = rt.block_on(async { implement::runtime_id() });
    assert_eq!(rt.call_blocking(look).wait(), (Context::Sync, id, id));
    assert_eq!(implement::runtime_id(), None);
    // In a closure of another runtime, which is current again afterwards.
    let (other, inner) = (other_runtime(), rt.clone());
    let theirs = other.offload(move || {
        let before = implement::runtime_id();
        let seen = inner.call_blocking(look).wait();
        assert_eq!(implement::runtime_id(), before);
        seen
    });
    assert_eq!(drive(theirs).unwrap(), (Context::Blocking, id, id));
    // A panic leaves no mark behind.
    let panics = || rt.call_blocking(|| panic_quietly("in place")).wait();
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!(implement::runtime_id(), None);
}

fn plain_thread<S: Setup>(s: S) {
    fn check() {
        assert_eq!(context::current(), Context::Sync);
        assert_eq!(implement::runtime_id(), None);
        assert!(AnyRuntime::current().is_none());
    }
    check();
    let rt = s.build();
    check();
    let task = rt.spawn(yield_now());
    let closure = rt.offload(|| ());
    check();
    rt.block_on(task).unwrap();
    rt.block_on(closure).unwrap();
    rt.block_on(rt.sleep(MS));
    check();
    on_thread(check);
    drop(rt);
    check();
}

fn task<S: Setup>(s: S) {
    let rt = s.build();
    let (ids, seen) = mpsc::channel();
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (inner, ids) = (rt.clone(), ids.clone());
            rt.spawn(async move {
                for round in 0..10 {
                    assert_eq!(context::current(), Context::Async, "poll {round}");
                    ids.send(implement::runtime_id()).expect("the case waits");
                    match round % 3 {
                        0 => yield_now().await,
                        1 => inner.sleep(MS / 10).await,
                        _ => inner.offload(|| ()).await.unwrap(),
                    }
                }
            })
        })
        .collect();
    rt.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
    let first = receive(&seen).expect("tasks are in a runtime");
    assert!(seen.try_iter().all(|id| id == Some(first)));
}

fn closure<S: Setup>(s: S) {
    let rt = s.build();
    let ids: Vec<_> = (0..10)
        .map(|_| {
            let closure = rt.offload(|| {
                assert_eq!(context::current(), Context::Blocking);
                implement::runtime_id().expect("closures are in a runtime")
            });
            rt.block_on(closure).unwrap()
        })
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
}

fn root<S: Setup>(s: S) {
    let rt = s.build();
    let task_id = rt
        .block_on(rt.spawn(async { implement::runtime_id() }))
        .unwrap();
    for _ in 0..3 {
        rt.block_on(async {
            assert_eq!(context::current(), Context::Async);
            assert_eq!(implement::runtime_id(), task_id);
            rt.spawn(yield_now()).await.unwrap();
            assert_eq!(context::current(), Context::Async);
        });
        assert_eq!(context::current(), Context::Sync);
        assert_eq!(implement::runtime_id(), None);
    }
}

fn nested<S: Setup>(s: S) {
    fn alternate<R: Runtime>(rt: R, depth: usize) {
        assert_eq!(context::current(), Context::Blocking);
        if depth == 0 {
            return;
        }
        rt.block_on(async {
            assert_eq!(context::current(), Context::Async);
            let inner = rt.clone();
            let below = rt.offload(move || alternate(inner, depth - 1));
            below.await.unwrap();
            assert_eq!(context::current(), Context::Async);
        });
        assert_eq!(context::current(), Context::Blocking);
    }
    let rt = s.build_with(|config| config.offload_limit = 2);
    let inner = rt.clone();
    let task = rt.spawn(async move {
        assert_eq!(context::current(), Context::Async);
        let again = inner.clone();
        inner.offload(move || alternate(again, 4)).await.unwrap();
        assert_eq!(context::current(), Context::Async);
    });
    rt.block_on(task).unwrap();
    assert_eq!(context::current(), Context::Sync);
}

/// A value that reports the context in which it is destroyed.
fn tells_context() -> (impl Send + Unpin + 'static, mpsc::Receiver<(Context, bool)>) {
    let (tell, told) = mpsc::channel();
    let value = OnDrop(move || {
        let _ = tell.send((context::current(), implement::runtime_id().is_some()));
    });
    (value, told)
}

fn destructors<S: Setup>(s: S) {
    let rt = s.build();
    // A local of a task,
    let (value, told) = tells_context();
    rt.block_on(rt.spawn(async move { drop(value) })).unwrap();
    assert_eq!(receive(&told), (Context::Async, true));
    // a future that is ready,
    let (on_drop, told) = tells_context();
    let poll = |_: &mut std::task::Context<'_>| Poll::Ready(());
    rt.block_on(rt.spawn(HandMade { poll, on_drop })).unwrap();
    assert_eq!(receive(&told), (Context::Async, true));
    // a future that is cancelled while suspended,
    let (value, told) = tells_context();
    let (started, gate) = Gate::pair();
    let task = rt.spawn(async move {
        let _value = value;
        started.open();
        pending::<()>().await;
    });
    gate.wait();
    drop(task);
    assert_eq!(receive(&told), (Context::Async, true));
    // a future that panics,
    let (value, told) = tells_context();
    let task = rt.spawn(async move {
        let _value = value;
        panic_quietly("on purpose");
    });
    assert!(rt.block_on(task).unwrap_err().is_panic());
    assert_eq!(receive(&told), (Context::Async, true));
    // a closure's captures,
    let (value, told) = tells_context();
    rt.block_on(rt.offload(move || drop(value))).unwrap();
    assert_eq!(receive(&told), (Context::Blocking, true));
    // captures of a closure that panics, and its output if it is not taken.
    let (value, told) = tells_context();
    let closure = rt.offload(move || {
        let _value = value;
        panic_quietly("on purpose");
    });
    assert!(rt.block_on(closure).unwrap_err().is_panic());
    assert_eq!(receive(&told), (Context::Blocking, true));
    let (value, told) = tells_context();
    let (go, gate) = Gate::pair();
    let closure = rt.offload(move || {
        gate.wait();
        value
    });
    closure.detach();
    go.open();
    assert_eq!(receive(&told), (Context::Blocking, true));
}

fn in_place<S: Setup>(s: S) {
    let rt = s.build();
    let inner = rt.clone();
    let task = rt.spawn(async move {
        let inside = inner.block_in_place(|| {
            let here = context::current();
            let root = inner.block_on(async { context::current() });
            (here, root, context::current())
        });
        (inside, context::current())
    });
    let (inside, after) = rt.block_on(task).unwrap();
    match inside {
        Ok(inside) => {
            let expected = (Context::Blocking, Context::Async, Context::Blocking);
            assert_eq!(inside, expected);
        }
        Err(error) => assert!(!s.capabilities().block_in_place && error.is_unsupported()),
    }
    assert_eq!(after, Context::Async);
    // Where it is a plain call, blocking stays allowed.
    assert_ne!(rt.block_in_place(context::current), Ok(Context::Async));
    assert_eq!(context::current(), Context::Sync);
    let inner = rt.clone();
    let closure = rt.offload(move || (inner.block_in_place(context::current), context::current()));
    let expected = (Ok(Context::Blocking), Context::Blocking);
    assert_eq!(rt.block_on(closure).unwrap(), expected);
}

fn after_panics<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    for _ in 0..10 {
        let inner = rt.clone();
        let closure = rt.offload(move || {
            for late in [false, true] {
                let result = catch_unwind(AssertUnwindSafe(|| {
                    inner.block_on(async {
                        if late {
                            inner.spawn(yield_now()).await.unwrap();
                        }
                        panic_quietly("in a root");
                    });
                }));
                assert!(result.is_err());
                assert_eq!(context::current(), Context::Blocking);
            }
            panic_quietly("in a closure");
        });
        let error = rt.block_on(closure).unwrap_err();
        assert_eq!(error.panic_message(), Some("in a closure"));
        assert_eq!(context::current(), Context::Sync);
        let closure = rt.offload(context::current);
        assert_eq!(rt.block_on(closure).unwrap(), Context::Blocking);
        let task = rt.spawn(async { panic_quietly("in a task") });
        assert!(rt.block_on(task).unwrap_err().is_panic());
        let task = rt.spawn(async { context::current() });
        assert_eq!(rt.block_on(task).unwrap(), Context::Async);
    }
}

fn current_runtime<S: Setup>(s: S) {
    /// The runtimes of tasks and closures: two, if it is composed.
    #[derive(Clone, Copy)]
    struct Ids {
        tasks: Option<RuntimeId>,
        pool: Option<RuntimeId>,
    }
    async fn check(ids: Ids, place: &str) {
        let Some(current) = AnyRuntime::current() else {
            panic!("no current runtime: {place}");
        };
        let seen = current.spawn(async { implement::runtime_id() }).await;
        assert_eq!(seen.unwrap(), ids.tasks, "{place}");
        let seen = current.offload(implement::runtime_id).await;
        assert_eq!(seen.unwrap(), ids.pool, "{place}");
        current.sleep(MS).await;
    }
    fn check_blocking(ids: Ids, place: &str) {
        let Some(current) = AnyRuntime::current() else {
            panic!("no current runtime: {place}");
        };
        let seen = current.offload(implement::runtime_id);
        assert_eq!(drive(seen).unwrap(), ids.pool, "{place}");
        current.block_on(async {
            assert_eq!(implement::runtime_id(), ids.tasks, "{place}");
            check(ids, place).await;
        });
    }
    let rt = s.build();
    let ids = Ids {
        tasks: rt.block_on(async { implement::runtime_id() }),
        pool: drive(rt.offload(implement::runtime_id)).unwrap(),
    };
    assert!(ids.tasks.is_some() && ids.pool.is_some());
    rt.block_on(rt.spawn(check(ids, "a task"))).unwrap();
    rt.block_on(check(ids, "a root"));
    rt.block_on(rt.offload(move || check_blocking(ids, "a closure")))
        .unwrap();
    let inner = rt.clone();
    let nested = rt.offload(move || inner.block_on(inner.spawn(check(ids, "a nested task"))));
    rt.block_on(nested).unwrap().unwrap();
    // It still works outside.
    let current = rt
        .block_on(async { AnyRuntime::current() })
        .expect("a root");
    assert_eq!(current.block_on(current.spawn(async { 6 })).unwrap(), 6);
}

fn two_runtimes<S: Setup>(s: S) {
    let (first, second) = (s.build(), s.build());
    let id_of = |rt: &S::Runtime| rt.block_on(async { implement::runtime_id() });
    let (first_id, second_id) = (id_of(&first), id_of(&second));
    assert!(first_id.is_some() && second_id.is_some() && first_id != second_id);
    let inner = second.clone();
    let closure = first.offload(move || {
        let before = implement::runtime_id();
        let ids = inner.block_on(async {
            let in_task = inner
                .spawn(async { implement::runtime_id() })
                .await
                .unwrap();
            (implement::runtime_id(), in_task)
        });
        assert_eq!(ids, (second_id, second_id));
        assert_eq!(implement::runtime_id(), before);
    });
    first.block_on(closure).unwrap();
    // A task that another runtime's task awaits runs in its own runtime.
    let inner = second.clone();
    let task = first.spawn(async move {
        let there = inner
            .spawn(async { implement::runtime_id() })
            .await
            .unwrap();
        (implement::runtime_id(), there)
    });
    assert_eq!(second.block_on(task).unwrap(), (first_id, second_id));
    assert_eq!(implement::runtime_id(), None);
}

fn timer_waker<S: Setup>(s: S) {
    let rt = s.build();
    for millis in [20, 200, 2000, 10_000] {
        let (tell, told) = mpsc::channel();
        let (waker, _) = CountingWaker::with(move || {
            let _ = tell.send(context::current());
        });
        let mut sleep = Box::pin(rt.sleep(Duration::from_millis(millis)));
        if poll_once(&mut sleep, &waker).is_pending() {
            assert_eq!(receive(&told), Context::Async);
            return;
        }
    }
    panic!("timers are ready long before their time");
}

fn started_threads<S: Setup>(s: S) {
    fn start() -> thread::JoinHandle<(Context, bool, bool)> {
        thread::spawn(|| {
            let known = implement::runtime_id().is_some();
            (context::current(), known, AnyRuntime::current().is_some())
        })
    }
    let rt = s.build();
    let threads = [
        rt.block_on(rt.spawn(async { start() })).unwrap(),
        rt.block_on(rt.offload(start)).unwrap(),
        rt.block_on(async { start() }),
    ];
    for thread in threads {
        eventually("the thread ends", || thread.is_finished());
        let seen = thread.join().expect("no panic");
        assert_eq!(seen, (Context::Sync, false, false));
    }
}

fn by_hand<S: Setup>(s: S) {
    let rt = s.build();
    let look = || poll_fn(|_| Poll::Ready(context::current()));
    assert_eq!(drive(look()), Context::Sync);
    assert_eq!(drive(rt.call(look()).into_future()), Context::Sync);
    let closure = rt.offload(move || drive(look()));
    assert_eq!(rt.block_on(closure).unwrap(), Context::Blocking);
    // A joiner on any thread does not change this.
    assert_eq!(drive(rt.spawn(look())).unwrap(), Context::Async);
    assert_eq!(context::current(), Context::Sync);
}

fn unwanted_output<S: Setup>(s: S) {
    let rt = s.build();
    let (value, told) = tells_context();
    let (go, gate) = Gate::pair();
    let task = rt.spawn(async move {
        gate.opened().await;
        value
    });
    task.detach();
    go.open();
    assert_eq!(receive(&told).0, Context::Async);
    // The output of a task that has ended belongs to whoever lets it go.
    for detach in [false, true] {
        let (value, told) = tells_context();
        let task = rt.spawn(async move { value });
        eventually("it has ended", || task.is_finished());
        if detach {
            task.detach();
        } else {
            drop(task);
        }
        assert_eq!(receive(&told).0, Context::Sync);
        let (value, told) = tells_context();
        let task = rt.spawn(async move { value });
        let closure = rt.offload(move || {
            eventually("it has ended", || task.is_finished());
            if detach {
                task.detach();
            } else {
                drop(task);
            }
        });
        rt.block_on(closure).unwrap();
        assert_eq!(receive(&told).0, Context::Blocking);
    }
    // Once a plain thread takes it, it belongs to that thread.
    let (value, told) = tells_context();
    drop(rt.block_on(rt.spawn(async move { value })).unwrap());
    assert_eq!(receive(&told).0, Context::Sync);
}

fn gone_runtime<S: Setup>(s: S) {
    let rt = s.build();
    let (go, gate) = Gate::pair();
    let (tell, told) = mpsc::channel();
    let closure = rt.offload(move || {
        gate.wait();
        let context = context::current();
        // There may still be a handle or not; asking is safe.
        if let Some(current) = AnyRuntime::current() {
            drop(current.spawn(async {}));
        }
        tell.send(context).expect("the case waits");
    });
    closure.detach();
    drop(rt);
    go.open();
    // It was running, or else it was dropped with the runtime.
    if let Ok(context) = told.recv_timeout(crate::util::must()) {
        assert_eq!(context, Context::Blocking);
    }
}

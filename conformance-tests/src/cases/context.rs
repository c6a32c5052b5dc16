//! CX: context.

use std::{
    future::{pending, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    task::Poll,
    thread,
    time::Duration,
};

use fourway_core::{
    AnyRuntime, BlockOn, Call, Compose, Offload, Runtime, Spawner, Task, Timer,
    context::{self, Context},
    layer::Propagate,
    values::{Key, Values},
    yield_now,
};

use super::{Case, table};
use crate::{
    Subject,
    util::{
        Counter, CountingWaker, Gate, HandMade, OnDrop, build, build_with, drive, eventually,
        on_thread, on_threads, other_runtime, panic_quietly, poll_once, receive,
    },
};

pub(super) fn cases<S: Subject>() -> Vec<Case> {
    table![
        "CX-1.1", "a plain thread is Sync and in no runtime, beside a runtime at work",
        "a mark that leaks makes sync code refuse to block", plain_thread::<S>;
        "CX-1.2", "a task is Async at every poll, and in its runtime",
        "marked at the first poll alone, it would be wrong after a wake", task::<S>;
        "CX-1.3", "a closure is Blocking, and in its runtime",
        "this is where blocking is allowed", closure::<S>;
        "CX-1.4", "block_on's root is Async, and the thread is as before afterwards",
        "the mark must be put back", root::<S>;
        "CX-1.5", "task, closure, block_on, closure, block_on: exact at every step there and back",
        "asyncio and asgiref lose track in the middle", nested::<S>;
        "CX-1.6", "destructors run in the context of what they belong to",
        "zbus 384, lapin 436: the context is missing during Drop", destructors::<S>;
        "CX-1.7", "block_in_place is Blocking in a task, and Async again afterwards",
        "exact at every moment means in between, too", in_place::<S>;
        "CX-1.8", "panics leave no mark behind",
        "tokio 5177: a panic in a nested call left the context entered", after_panics::<S>;
        "CX-1.9", "AnyRuntime::current() in tasks, closures and roots is that runtime, and works",
        "a library inside someone's runtime must not start a second one", current_runtime::<S>;
        "CX-1.10", "in nested calls of two runtimes the innermost one is current",
        "asgiref: which loop am I in? Right in a re-entrant call", two_runtimes::<S>;
        "CX-1.11", "a waker that a timer calls runs as async code",
        "the timer thread must not be blocked", timer_waker::<S>;
        "CX-1.12", "a thread started in a task or closure is Sync and in no runtime",
        "marks belong to threads and are not inherited", started_threads::<S>;
        "CX-1.13", "a future polled by hand runs in the context of who polls it",
        "no executor, no mark", by_hand::<S>;
        "CX-1.14", "an output that nobody takes is destroyed as async code where its task ends",
        "its destructor holds up the executor like any other", unwanted_output::<S>;
        "CX-1.15", "a runtime that is gone is not current, and asking does no harm",
        "the registry must not keep runtimes alive", gone_runtime::<S>;

        "CX-2.1", "async use and then sync use of one function: a value both times",
        "SmartAsync caches `async` per function and then hands out coroutines", async_then_sync::<S>;
        "CX-2.2", "in every order, from a thread, a task, a closure and a root",
        "the same function, four callers", every_order::<S>;
        "CX-2.3", "from eight threads at a time, half sync and half async",
        "49 of 50 calls from other threads were wrong", many_threads::<S>;
        "CX-2.4", "the matrix: wait, await and spawn of both kinds of body, mapped and chained",
        "what a call is for", matrix::<S>;
        "CX-2.5", "each kind of body runs where the matrix says",
        "in place, driven by the caller, offloaded or as a task", where_bodies_run::<S>;
        "CX-2.6", "a panic in the body reaches whoever waits, awaits or joins",
        "with its payload, in all six cells", matrix_panics::<S>;
        "CX-2.7", "a call that is dropped unused does nothing; one that is dropped waiting is cancelled",
        "calls are lazy, and cancel like everything else", matrix_dropped::<S>;
        "CX-2.8", "the same through AnyRuntime, Compose and Propagate",
        "a wrapper keeps the contract", matrix_wrapped::<S>;
        "CX-2.9", "map runs where the body has run, also after then",
        "a mapping of a blocking body may block as well", map_runs_with_body::<S>;

        "CX-3.1", "values are visible in tasks, closures and calls, at every poll",
        "delta-kernel-rs 1422: trace context lost across spawn and offload", values_visible::<S>;
        "CX-3.2", "values are visible in re-entrant calls, to any depth",
        "request ids belong into nested work as well", values_nested::<S>;
        "CX-3.3", "values do not leak back or sideways",
        "anyio tests it: the worker's change is not in the caller", values_stay::<S>;
        "CX-3.4", "a pooled thread keeps nothing of earlier work, panics included",
        "trio 3472: a pooled thread leaked an earlier context", values_forgotten::<S>;
        "CX-3.5", "values are visible while a task is destroyed",
        "clean-up wants to log the request id too", values_in_drop::<S>;
        "CX-3.6", "a refused closure comes back from a propagating runtime as it was",
        "the wrapper's own closure is not the user's", values_refused::<S>;
    ]
}

const MS: Duration = Duration::from_millis(1);

// CX-1

fn plain_thread<S: Subject>() {
    fn check() {
        assert_eq!(context::current(), Context::Sync);
        assert_eq!(context::runtime_id(), None);
        assert!(AnyRuntime::current().is_none());
    }
    check();
    let rt = build::<S>();
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

fn task<S: Subject>() {
    let rt = build::<S>();
    let (ids, seen) = mpsc::channel();
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (inner, ids) = (rt.clone(), ids.clone());
            rt.spawn(async move {
                for round in 0..10 {
                    assert_eq!(context::current(), Context::Async, "poll {round}");
                    ids.send(context::runtime_id()).expect("the case waits");
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

fn closure<S: Subject>() {
    let rt = build::<S>();
    let ids: Vec<_> = (0..10)
        .map(|_| {
            let closure = rt.offload(|| {
                assert_eq!(context::current(), Context::Blocking);
                context::runtime_id().expect("closures are in a runtime")
            });
            rt.block_on(closure).unwrap()
        })
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
}

fn root<S: Subject>() {
    let rt = build::<S>();
    let task_id = rt
        .block_on(rt.spawn(async { context::runtime_id() }))
        .unwrap();
    for _ in 0..3 {
        rt.block_on(async {
            assert_eq!(context::current(), Context::Async);
            assert_eq!(context::runtime_id(), task_id);
            rt.spawn(yield_now()).await.unwrap();
            assert_eq!(context::current(), Context::Async);
        });
        assert_eq!(context::current(), Context::Sync);
        assert_eq!(context::runtime_id(), None);
    }
}

fn nested<S: Subject>() {
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
    let rt = build_with::<S>(|config| config.offload_limit = 2);
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

/// A value that tells the context it is destroyed in.
fn tells_context() -> (impl Send + Unpin + 'static, mpsc::Receiver<(Context, bool)>) {
    let (tell, told) = mpsc::channel();
    let value = OnDrop(move || {
        let _ = tell.send((context::current(), context::runtime_id().is_some()));
    });
    (value, told)
}

fn destructors<S: Subject>() {
    let rt = build::<S>();
    // A local of a task,
    let (value, told) = tells_context();
    rt.block_on(rt.spawn(async move { drop(value) })).unwrap();
    assert_eq!(receive(&told), (Context::Async, true));
    // a future that is ready,
    let (on_drop, told) = tells_context();
    let poll = |_: &mut std::task::Context<'_>| Poll::Ready(());
    rt.block_on(rt.spawn(HandMade { poll, on_drop })).unwrap();
    assert_eq!(receive(&told), (Context::Async, true));
    // one that is cancelled while suspended,
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
    // one that panics,
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
    // those of one that panics, and its output if nobody wants it.
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

fn in_place<S: Subject>() {
    let rt = build::<S>();
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
        Err(error) => assert!(!S::capabilities().block_in_place && error.is_unsupported()),
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

fn after_panics<S: Subject>() {
    let rt = build_with::<S>(|config| config.offload_limit = 1);
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

fn current_runtime<S: Subject>() {
    async fn check(place: &str) {
        let id = context::runtime_id();
        let current = AnyRuntime::current();
        let (Some(current), Some(id)) = (current, id) else {
            panic!("no current runtime: {place}");
        };
        let seen = current
            .spawn(async { context::runtime_id() })
            .await
            .unwrap();
        assert_eq!(seen, Some(id), "{place}");
        assert_eq!(current.offload(|| 5).await.unwrap(), 5, "{place}");
        current.sleep(MS).await;
    }
    fn check_blocking(place: &str) {
        let id = context::runtime_id();
        let Some(current) = AnyRuntime::current() else {
            panic!("no current runtime: {place}");
        };
        let seen = current.offload(context::runtime_id);
        assert_eq!(drive(seen).unwrap(), id, "{place}");
        current.block_on(async {
            assert_eq!(context::runtime_id(), id, "{place}");
            check(place).await;
        });
    }
    let rt = build::<S>();
    rt.block_on(rt.spawn(check("a task"))).unwrap();
    rt.block_on(check("a root"));
    rt.block_on(rt.offload(|| check_blocking("a closure")))
        .unwrap();
    let inner = rt.clone();
    let nested = rt.offload(move || inner.block_on(inner.spawn(check("a nested task"))));
    rt.block_on(nested).unwrap().unwrap();
    // It keeps on working outside.
    let current = rt
        .block_on(async { AnyRuntime::current() })
        .expect("a root");
    assert_eq!(current.block_on(current.spawn(async { 6 })).unwrap(), 6);
}

fn two_runtimes<S: Subject>() {
    let (first, second) = (build::<S>(), build::<S>());
    let id_of = |rt: &S::Runtime| rt.block_on(async { context::runtime_id() });
    let (first_id, second_id) = (id_of(&first), id_of(&second));
    assert!(first_id.is_some() && second_id.is_some() && first_id != second_id);
    let inner = second.clone();
    let closure = first.offload(move || {
        let before = context::runtime_id();
        let ids = inner.block_on(async {
            let in_task = inner.spawn(async { context::runtime_id() }).await.unwrap();
            (context::runtime_id(), in_task)
        });
        assert_eq!(ids, (second_id, second_id));
        assert_eq!(context::runtime_id(), before);
    });
    first.block_on(closure).unwrap();
    // A task that is awaited by another runtime's task is in its own.
    let inner = second.clone();
    let task = first.spawn(async move {
        let there = inner.spawn(async { context::runtime_id() }).await.unwrap();
        (context::runtime_id(), there)
    });
    assert_eq!(second.block_on(task).unwrap(), (first_id, second_id));
    assert_eq!(context::runtime_id(), None);
}

fn timer_waker<S: Subject>() {
    let rt = build::<S>();
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

fn started_threads<S: Subject>() {
    fn start() -> thread::JoinHandle<(Context, bool, bool)> {
        thread::spawn(|| {
            let known = context::runtime_id().is_some();
            (context::current(), known, AnyRuntime::current().is_some())
        })
    }
    let rt = build::<S>();
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

fn by_hand<S: Subject>() {
    let rt = build::<S>();
    let look = || poll_fn(|_| Poll::Ready(context::current()));
    assert_eq!(drive(look()), Context::Sync);
    assert_eq!(drive(rt.call(look()).into_future()), Context::Sync);
    let closure = rt.offload(move || drive(look()));
    assert_eq!(rt.block_on(closure).unwrap(), Context::Blocking);
    // A joiner, on whatever thread, changes nothing about it.
    assert_eq!(drive(rt.spawn(look())).unwrap(), Context::Async);
    assert_eq!(context::current(), Context::Sync);
}

fn unwanted_output<S: Subject>() {
    let rt = build::<S>();
    let (value, told) = tells_context();
    let (go, gate) = Gate::pair();
    let task = rt.spawn(async move {
        gate.opened().await;
        value
    });
    task.detach();
    go.open();
    assert_eq!(receive(&told).0, Context::Async);
    // Taken by a plain thread, it is that thread's.
    let (value, told) = tells_context();
    drop(rt.block_on(rt.spawn(async move { value })).unwrap());
    assert_eq!(receive(&told).0, Context::Sync);
}

fn gone_runtime<S: Subject>() {
    let rt = build::<S>();
    let (go, gate) = Gate::pair();
    let (tell, told) = mpsc::channel();
    let closure = rt.offload(move || {
        gate.wait();
        let context = context::current();
        // There may be a handle still, or not; asking is safe.
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

// CX-2

/// A library that names no runtime.
#[derive(Clone)]
struct Library<R> {
    rt: R,
}

impl<R: Runtime> Library<R> {
    fn fetch(&self, n: u32) -> impl Call<Output = u32> + use<R> {
        let rt = self.rt.clone();
        self.rt.call(async move {
            yield_now().await;
            rt.spawn(async move { n * 2 }).await.unwrap()
        })
    }

    fn load(&self, n: u32) -> impl Call<Output = u32> + use<R> {
        self.rt.call_blocking(move || n * 3)
    }

    fn both(&self, n: u32) -> impl Call<Output = u32> + use<R> {
        let again = self.clone();
        self.fetch(n).then(move |n| again.load(n)).map(|n| n + 1)
    }

    fn sync_use(&self, n: u32) -> [u32; 3] {
        [
            self.fetch(n).wait(),
            self.load(n).wait(),
            self.both(n).wait(),
        ]
    }

    async fn async_use(&self, n: u32) -> [u32; 3] {
        [self.fetch(n).await, self.load(n).await, self.both(n).await]
    }

    fn spawned_use(&self, n: u32) -> [u32; 3] {
        let tasks = (
            self.fetch(n).spawn(),
            self.load(n).spawn(),
            self.both(n).spawn(),
        );
        [
            drive(tasks.0).unwrap(),
            drive(tasks.1).unwrap(),
            drive(tasks.2).unwrap(),
        ]
    }
}

fn expected(n: u32) -> [u32; 3] {
    [n * 2, n * 3, n * 6 + 1]
}

fn async_then_sync<S: Subject>() {
    let rt = build::<S>();
    let library = Library { rt: rt.clone() };
    for n in 0..20 {
        assert_eq!(rt.block_on(library.async_use(n)), expected(n));
        assert_eq!(library.sync_use(n), expected(n));
    }
}

fn every_order<S: Subject>() {
    let rt = build::<S>();
    let library = Library { rt: rt.clone() };
    for n in 0..24 {
        // The same four callers, each time in another order.
        for k in 0..4 {
            let seen = match (n + k * (1 + n % 3)) % 4 {
                0 => library.sync_use(n),
                1 => {
                    let library = library.clone();
                    rt.block_on(rt.spawn(async move { library.async_use(n).await }))
                        .unwrap()
                }
                2 => {
                    let library = library.clone();
                    rt.block_on(rt.offload(move || library.sync_use(n)))
                        .unwrap()
                }
                _ => rt.block_on(library.async_use(n)),
            };
            assert_eq!(seen, expected(n));
        }
    }
}

fn many_threads<S: Subject>() {
    let rt = build::<S>();
    let library = Library { rt: rt.clone() };
    on_threads(8, move |i| {
        for n in 0..20 {
            let seen = if (i + n as usize) % 2 == 0 {
                library.sync_use(n)
            } else {
                rt.block_on(library.async_use(n))
            };
            assert_eq!(seen, expected(n));
        }
    });
}

fn check_matrix<R: Runtime>(rt: R) {
    let library = Library { rt: rt.clone() };
    assert_eq!(library.sync_use(5), expected(5));
    assert_eq!(rt.block_on(library.async_use(6)), expected(6));
    assert_eq!(library.spawned_use(7), expected(7));
    assert_eq!(drive(library.async_use(8)), expected(8));
    let again = library.clone();
    let task = rt.spawn(async move {
        let error = again.load(1).try_wait().unwrap_err();
        assert!(error.is_nested());
        let spawned = again.fetch(9).spawn().await.unwrap();
        (again.async_use(9).await, spawned)
    });
    assert_eq!(rt.block_on(task).unwrap(), (expected(9), 18));
    let again = library.clone();
    let closure = rt.offload(move || (again.sync_use(10), again.spawned_use(10)));
    assert_eq!(rt.block_on(closure).unwrap(), (expected(10), expected(10)));
    // And the pieces.
    assert_eq!(library.fetch(1).map(|n| n + 5).wait(), 7);
    assert_eq!(library.load(1).map(|n| n + 5).try_wait().unwrap(), 8);
    assert_eq!(
        rt.block_on(library.load(2).map(|n| n + 5).into_future()),
        11
    );
    let chained = library.clone();
    let chain = library.load(2).then(move |n| chained.fetch(n));
    assert_eq!(rt.block_on(chain.spawn()).unwrap(), 12);
}

fn matrix<S: Subject>() {
    check_matrix(build::<S>());
}

fn matrix_wrapped<S: Subject>() {
    let rt = build::<S>();
    check_matrix(AnyRuntime::new(rt.clone()));
    check_matrix(Compose::new(rt.clone(), rt.clone()));
    check_matrix(Compose::new(rt.clone(), build::<S>()));
    check_matrix(Compose::new(rt.clone(), other_runtime()));
    check_matrix(Propagate::new(rt.clone()));
    check_matrix(AnyRuntime::new(Propagate::new(Compose::new(
        AnyRuntime::new(rt.clone()),
        rt,
    ))));
}

fn where_bodies_run<S: Subject>() {
    type Seen = (thread::ThreadId, Context);
    fn seen() -> Seen {
        (thread::current().id(), context::current())
    }
    let rt = build::<S>();
    let asynchronous = || rt.call(poll_fn(|_| Poll::Ready(seen())));
    let blocking = || rt.call_blocking(seen);
    let here = thread::current().id();

    assert_eq!(asynchronous().wait(), (here, Context::Async));
    assert_eq!(blocking().wait(), (here, Context::Sync));

    let (thread, context) = rt.block_on(asynchronous().into_future());
    assert_eq!((thread, context), (here, Context::Async));
    let (thread, context) = rt.block_on(blocking().into_future());
    assert!(thread != here && context == Context::Blocking);

    let (thread, context) = drive(asynchronous().spawn()).unwrap();
    assert!(thread != here && context == Context::Async);
    let (thread, context) = drive(blocking().spawn()).unwrap();
    assert!(thread != here && context == Context::Blocking);

    // In a task: in place, and not.
    let (inner, again) = (asynchronous(), blocking());
    let task = rt.spawn(async move {
        let first = seen();
        let second = inner.await;
        (first == second, again.await.1)
    });
    // Awaiting an async body that is ready does not suspend the task.
    assert_eq!(rt.block_on(task).unwrap(), (true, Context::Blocking));
}

fn matrix_panics<S: Subject>() {
    let rt = build::<S>();
    let asynchronous = || {
        rt.call(async {
            yield_now().await;
            panic_quietly("async body")
        })
    };
    let blocking = || rt.call_blocking(|| panic_quietly("blocking body"));
    fn message(f: impl FnOnce()) -> &'static str {
        let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("the panic goes on");
        payload
            .downcast_ref()
            .copied()
            .expect("the payload is whole")
    }
    assert_eq!(message(|| asynchronous().wait()), "async body");
    assert_eq!(message(|| blocking().wait()), "blocking body");
    assert_eq!(
        message(|| rt.block_on(asynchronous().into_future())),
        "async body"
    );
    assert_eq!(
        message(|| rt.block_on(blocking().into_future())),
        "blocking body"
    );
    let error = drive(asynchronous().spawn()).unwrap_err();
    assert_eq!(error.panic_message(), Some("async body"));
    let error = drive(blocking().spawn()).unwrap_err();
    assert_eq!(error.panic_message(), Some("blocking body"));
    // In a task that awaits it.
    let call = blocking();
    let error = drive(rt.spawn(async move { call.await })).unwrap_err();
    assert_eq!(error.panic_message(), Some("blocking body"));
    check_matrix(rt);
}

fn matrix_dropped<S: Subject>() {
    let rt = build_with::<S>(|config| config.offload_limit = 1);
    let (ran, drops) = (Counter::new(), Counter::new());
    let asynchronous = || {
        let (ran, value) = (ran.clone(), drops.on_drop());
        rt.call(async move {
            let _value = value;
            ran.add();
            pending::<()>().await;
        })
    };
    let blocking = || {
        let (ran, value) = (ran.clone(), drops.on_drop());
        rt.call_blocking(move || {
            let _value = value;
            ran.add();
        })
    };
    drop(asynchronous());
    drop(blocking());
    drop(asynchronous().map(|()| ()).into_future());
    drop(blocking().map(|()| ()).into_future());
    assert_eq!((ran.get(), drops.get()), (0, 4));

    // Polled once, while the pool is busy, and dropped.
    let (go, gate) = Gate::pair();
    let (started, running) = Gate::pair();
    let busy = rt.offload(move || {
        started.open();
        gate.wait();
    });
    running.wait();
    let (waker, _) = CountingWaker::new();
    let mut future = Box::pin(blocking().into_future());
    assert!(poll_once(&mut future, &waker).is_pending());
    assert_eq!(drops.get(), 4);
    drop(future);
    assert_eq!((ran.get(), drops.get()), (0, 5));
    drop(blocking().spawn());
    assert_eq!((ran.get(), drops.get()), (0, 6));
    go.open();
    rt.block_on(busy).unwrap();
    rt.block_on(rt.offload(|| ())).unwrap();
    assert_eq!((ran.get(), drops.get()), (0, 6));
    drop(asynchronous().spawn());
    eventually("the task is destroyed", || drops.get() == 7);
}

fn map_runs_with_body<S: Subject>() {
    let rt = build::<S>();
    let body = || rt.call_blocking(|| thread::current().id());
    let same = move |id| (thread::current().id() == id, context::current());
    let expected = (true, Context::Blocking);
    assert_eq!(rt.block_on(body().map(same).into_future()), expected);
    assert_eq!(rt.block_on(body().map(same).spawn()).unwrap(), expected);
    let again = rt.clone();
    let chain = rt
        .call(ready(()))
        .then(move |()| again.call_blocking(|| thread::current().id()));
    assert_eq!(rt.block_on(chain.map(same).into_future()), expected);
    let again = rt.clone();
    let chain = rt
        .call(ready(()))
        .then(move |()| again.call_blocking(|| thread::current().id()));
    assert_eq!(rt.block_on(chain.map(same).spawn()).unwrap(), expected);
}

// CX-3

static REQUEST: Key<u32> = Key::new("request");
static OTHER: Key<&str> = Key::new("other");

fn with<T>(request: u32, f: impl FnOnce() -> T) -> T {
    Values::current().with(&REQUEST, request).scope(f)
}

fn values_visible<S: Subject>() {
    let rt = Propagate::new(build::<S>());
    let inner = rt.clone();
    let task = with(1, || {
        rt.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..3 {
                seen.push(REQUEST.get());
                yield_now().await;
                seen.push(REQUEST.get());
                inner.offload(|| ()).await.unwrap();
            }
            seen
        })
    });
    // Joined, and thus woken, where there are none.
    assert_eq!(rt.block_on(task).unwrap(), [Some(1); 6]);
    let closure = with(2, || rt.offload(|| REQUEST.get()));
    assert_eq!(rt.block_on(closure).unwrap(), Some(2));
    let closure = with(3, || rt.try_offload(|| REQUEST.get()).expect("no bound"));
    assert_eq!(rt.block_on(closure).unwrap(), Some(3));
    let calls = with(4, || {
        let call = rt.call(async { REQUEST.get() }).spawn();
        (call, rt.call_blocking(|| REQUEST.get()).spawn())
    });
    assert_eq!(rt.block_on(calls.0).unwrap(), Some(4));
    assert_eq!(rt.block_on(calls.1).unwrap(), Some(4));
    let root = with(5, || rt.block_on(async { REQUEST.get() }));
    assert_eq!(root, Some(5));
    let in_place = with(6, || rt.block_in_place(|| REQUEST.get()));
    assert_eq!(in_place, Ok(Some(6)));
    let waited = with(7, || rt.call_blocking(|| REQUEST.get()).wait());
    assert_eq!(waited, Some(7));
}

fn values_nested<S: Subject>() {
    fn descend<R: Runtime>(rt: R, depth: u32) -> u32 {
        if depth == 0 {
            return REQUEST.get().unwrap_or_default();
        }
        let inner = rt.clone();
        let task = rt.spawn(async move {
            let again = inner.clone();
            inner
                .offload(move || descend(again, depth - 1))
                .await
                .unwrap()
        });
        rt.block_on(task).unwrap()
    }
    let rt = Propagate::new(build_with::<S>(|config| config.offload_limit = 1));
    let inner = rt.clone();
    assert_eq!(with(9, || descend(inner, 5)), 9);
    let inner = rt.clone();
    let closure = with(10, || rt.offload(move || descend(inner, 3)));
    assert_eq!(rt.block_on(closure).unwrap(), 10);
    assert_eq!(REQUEST.get(), None);
}

fn values_stay<S: Subject>() {
    let rt = Propagate::new(build::<S>());
    with(1, || {
        // Another value inside of the work,
        let inner = rt.clone();
        let task = rt.spawn(async move {
            let below = with(2, || inner.offload(|| with(3, || REQUEST.get())));
            let seen = Values::current()
                .with(&REQUEST, 4)
                .with(&OTHER, "inside")
                .scope_future(async {
                    yield_now().await;
                    (REQUEST.get(), OTHER.get())
                })
                .await;
            (below.await.unwrap(), seen, REQUEST.get(), OTHER.get())
        });
        let seen = rt.block_on(task).unwrap();
        assert_eq!(seen, (Some(3), (Some(4), Some("inside")), Some(1), None));
        // is not seen outside of it, nor by siblings.
        assert_eq!((REQUEST.get(), OTHER.get()), (Some(1), None));
        let sibling = rt.spawn(async { (REQUEST.get(), OTHER.get()) });
        assert_eq!(rt.block_on(sibling).unwrap(), (Some(1), None));
    });
    // What was captured when the work was spawned counts, whatever follows.
    let (go, gate) = Gate::pair();
    let early = with(5, || {
        rt.spawn(async move {
            gate.opened().await;
            REQUEST.get()
        })
    });
    with(6, || {
        go.open();
        assert_eq!(rt.block_on(early).unwrap(), Some(5));
        assert_eq!(REQUEST.get(), Some(6));
    });
    assert_eq!(REQUEST.get(), None);
}

fn values_forgotten<S: Subject>() {
    // One thread for each kind of work, so that it is used again.
    let plain = build_with::<S>(|config| {
        config.workers = 1;
        config.offload_limit = 1;
    });
    let rt = Propagate::new(plain.clone());
    for n in 0..10 {
        let panics = n % 2 == 0;
        let closure = with(n, || {
            rt.offload(move || {
                if panics {
                    panic_quietly("on purpose");
                }
                REQUEST.get()
            })
        });
        assert_eq!(rt.block_on(closure).is_err(), panics);
        let task = with(n, || {
            rt.spawn(async move {
                yield_now().await;
                if panics {
                    panic_quietly("on purpose");
                }
                REQUEST.get()
            })
        });
        assert_eq!(rt.block_on(task).is_err(), panics);
        for rt in [rt.get_ref(), &plain] {
            let closure = rt.offload(|| Values::current().is_empty());
            assert!(rt.block_on(closure).unwrap());
            let task = rt.spawn(async { Values::current().is_empty() });
            assert!(rt.block_on(task).unwrap());
        }
        assert_eq!(rt.block_on(rt.offload(|| REQUEST.get())).unwrap(), None);
        assert_eq!(
            rt.block_on(rt.spawn(async { REQUEST.get() })).unwrap(),
            None
        );
    }
}

fn values_in_drop<S: Subject>() {
    let rt = Propagate::new(build::<S>());
    let (tell, told) = mpsc::channel();
    let tells = move || {
        let tell = tell.clone();
        OnDrop(move || {
            let _ = tell.send(REQUEST.get());
        })
    };
    // Ready,
    let poll = |_: &mut std::task::Context<'_>| Poll::Ready(());
    let on_drop = tells();
    let task = with(1, || rt.spawn(HandMade { poll, on_drop }));
    rt.block_on(task).unwrap();
    assert_eq!(receive(&told), Some(1));
    // cancelled while suspended,
    let value = tells();
    let (started, gate) = Gate::pair();
    let task = with(2, || {
        rt.spawn(async move {
            let _value = value;
            started.open();
            pending::<()>().await;
        })
    });
    gate.wait();
    assert!(rt.block_on(task.cancel()).unwrap_err().is_cancelled());
    assert_eq!(receive(&told), Some(2));
    // a closure's captures.
    let value = tells();
    let closure = with(3, || rt.offload(move || drop(value)));
    rt.block_on(closure).unwrap();
    assert_eq!(receive(&told), Some(3));
}

fn values_refused<S: Subject>() {
    let rt = Propagate::new(build_with::<S>(|config| {
        config.offload_limit = 1;
        config.offload_queue = Some(0);
    }));
    let (go, gate) = Gate::pair();
    let running = rt.try_offload(move || gate.wait()).expect("a free slot");
    let drops = Counter::new();
    let value = drops.on_drop();
    let refused = with(1, || {
        rt.try_offload(move || {
            drop(value);
            REQUEST.get()
        })
    });
    let refused = refused.err().expect("full");
    assert!(refused.is_full());
    assert_eq!(drops.get(), 0);
    let closure = refused.into_inner();
    // It is the user's own: run here, it sees what is current here.
    assert_eq!(with(2, closure), Some(2));
    assert_eq!(drops.get(), 1);
    go.open();
    rt.block_on(running).unwrap();
}

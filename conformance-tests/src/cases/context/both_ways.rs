//! CX-2, nothing is cached across calls: one function, async and sync.

use std::{
    future::{pending, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    task::Poll,
    thread,
};

use fourway_core::{
    AnyRuntime, BlockOn, Call, Compose, Offload, Runtime, Spawner,
    context::{self, Context},
    layer::Propagate,
    yield_now,
};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Counter, CountingWaker, Gate, drive, eventually, on_threads, other_runtime, panic_quietly,
        poll_once,
    },
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "CX-2.1", "async use and then sync use of one function: a value both times",
        "SmartAsync caches `async` per function and then hands out coroutines", async_then_sync;
        "CX-2.2", "in every order, from a thread, a task, a closure and a root",
        "the same function, four callers", every_order;
        "CX-2.3", "from eight threads at a time, half sync and half async",
        "49 of 50 calls from other threads were wrong", many_threads;
        "CX-2.4", "the matrix: wait, await and spawn of both kinds of body, mapped and chained",
        "what a call is for", matrix;
        "CX-2.5", "each kind of body runs where the matrix says",
        "in place, driven by the caller, offloaded or as a task", where_bodies_run;
        "CX-2.6", "a panic in the body reaches whoever waits, awaits or joins",
        "with its payload, in all six cells", matrix_panics;
        "CX-2.7", "a call that is dropped unused does nothing; one that is dropped waiting is cancelled",
        "calls are lazy, and cancel like everything else", matrix_dropped;
        "CX-2.8", "the same through AnyRuntime, Compose and Propagate",
        "a wrapper keeps the contract", matrix_wrapped;
        "CX-2.9", "map runs where the body has run, also after then",
        "a mapping of a blocking body may block as well", map_runs_with_body;
    ]
}

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

fn async_then_sync<S: Setup>(s: S) {
    let rt = s.build();
    let library = Library { rt: rt.clone() };
    for n in 0..20 {
        assert_eq!(rt.block_on(library.async_use(n)), expected(n));
        assert_eq!(library.sync_use(n), expected(n));
    }
}

fn every_order<S: Setup>(s: S) {
    let rt = s.build();
    let library = Library { rt: rt.clone() };
    for n in 0..24 {
        // The same four callers, in another order each time.
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

fn many_threads<S: Setup>(s: S) {
    let rt = s.build();
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

fn matrix<S: Setup>(s: S) {
    check_matrix(s.build());
}

fn matrix_wrapped<S: Setup>(s: S) {
    let rt = s.build();
    check_matrix(AnyRuntime::new(rt.clone()));
    check_matrix(Compose::new(rt.clone(), rt.clone()));
    check_matrix(Compose::new(rt.clone(), s.build()));
    check_matrix(Compose::new(rt.clone(), other_runtime()));
    check_matrix(Propagate::new(rt.clone()));
    check_matrix(AnyRuntime::new(Propagate::new(Compose::new(
        AnyRuntime::new(rt.clone()),
        rt,
    ))));
}

fn where_bodies_run<S: Setup>(s: S) {
    type Seen = (thread::ThreadId, Context);
    fn seen() -> Seen {
        (thread::current().id(), context::current())
    }
    let rt = s.build();
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

    // In a task: in place and not in place.
    let (inner, again) = (asynchronous(), blocking());
    let task = rt.spawn(async move {
        let first = seen();
        let second = inner.await;
        (first == second, again.await.1)
    });
    // Awaiting an async body that is ready does not suspend the task.
    assert_eq!(rt.block_on(task).unwrap(), (true, Context::Blocking));
}

fn matrix_panics<S: Setup>(s: S) {
    let rt = s.build();
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

fn matrix_dropped<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
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

fn map_runs_with_body<S: Setup>(s: S) {
    let rt = s.build();
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

//! BL-3, blocking where it is allowed.

use std::{
    cell::Cell,
    future::ready,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, Call, Offload, Runtime, Spawner, Timer, yield_now};
use fourway_suite::panic_message;

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Answer, OnDrop, ask, at_thread_end, eventually, on_thread, other_runtime, panic_quietly,
        receive,
    },
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "BL-3.1", "works in an offloaded closure, and drives the runtime's work there",
        "the way out of async code must lead back in", in_closure;
        "BL-3.2", "works on plain threads, whoever started them",
        "a thread started by a task inherits nothing", on_plain_threads;
        "BL-3.3", "sync and async code alternate to a depth of 12, each on its own thread",
        "asgiref tests sync, async, sync, async, sync: it must end on the right threads", alternating;
        "BL-3.4", "works in a destructor on a thread that is unwinding, and the panic goes on",
        "clean-up in error paths; anyio tests it from an error handler", while_unwinding;
        "BL-3.5", "works in another runtime's closure, in both directions",
        "libraries with runtimes of their own meet in one program", in_foreign_closure;
        "BL-3.6", "two runtimes take turns on one thread",
        "async-executor 55: two executors interleaved on one thread", two_runtimes;
        "BL-3.7", "works inside block_in_place in a task",
        "the purpose of block_in_place", in_block_in_place;
        "BL-3.8", "wait() works in closures and on plain threads, with either body",
        "sync callers are the reason why calls exist", wait_where_allowed;
        "BL-3.9", "works in the destructor of a thread-local, after the runtime's own are gone",
        "to enter Tokio there panics, which in a destructor ends the process", in_thread_local;
    ]
}

fn in_closure<S: Setup>(s: S) {
    let rt = s.build();
    let inner = rt.clone();
    let closure = rt.offload(move || {
        assert_eq!(ask(&inner), Answer::Ran);
        inner.block_on(async {
            inner.sleep(Duration::from_millis(1)).await;
            let task = inner.spawn(async {
                yield_now().await;
                1
            });
            let closure = inner.offload(|| 2);
            task.await.unwrap() + closure.await.unwrap()
        })
    });
    assert_eq!(rt.block_on(closure).unwrap(), 3);
}

fn in_thread_local<S: Setup>(s: S) {
    let rt = s.build();
    for used_before in [true, false] {
        let (tell, told) = mpsc::channel();
        let inner = rt.clone();
        on_thread(move || {
            let late = inner.clone();
            // The first one made is destroyed last: after the runtime's thread-locals.
            at_thread_end(move || {
                let done = catch_unwind(AssertUnwindSafe(|| {
                    late.block_on(late.sleep(Duration::from_millis(1)));
                    let task = late.block_on(late.spawn(async { 1 })).unwrap();
                    let closure = late.block_on(late.offload(|| 2)).unwrap();
                    task + closure + late.block_in_place(|| 3).unwrap()
                }));
                // A panic out of a destructor would abort the process.
                let _ = tell.send(done.map_err(|payload| panic_message(&*payload)));
            });
            if used_before {
                inner.block_on(inner.spawn(async {})).unwrap();
                inner.block_on(inner.sleep(Duration::from_millis(1)));
            }
        });
        assert_eq!(receive(&told), Ok(6), "used before: {used_before}");
    }
}

fn on_plain_threads<S: Setup>(s: S) {
    let rt = s.build();
    let inner = rt.clone();
    assert_eq!(on_thread(move || ask(&inner)), Answer::Ran);
    // Started by a task, a closure, and a root future.
    let inner = rt.clone();
    let by_task = rt.spawn(async move { thread::spawn(move || ask(&inner)) });
    let inner = rt.clone();
    let by_closure = rt.offload(move || thread::spawn(move || ask(&inner)));
    let inner = rt.clone();
    let by_root = rt.block_on(async move { thread::spawn(move || ask(&inner)) });
    for thread in [
        rt.block_on(by_task).unwrap(),
        rt.block_on(by_closure).unwrap(),
        by_root,
    ] {
        eventually("the thread ends", || thread.is_finished());
        assert_eq!(thread.join().expect("no panic"), Answer::Ran);
    }
}

fn alternating<S: Setup>(s: S) {
    fn descend<R: Runtime>(rt: R, depth: usize) -> usize {
        if depth == 0 {
            return 0;
        }
        let here = thread::current().id();
        let handle = rt.clone();
        let below = handle.block_on(async move {
            assert_eq!(thread::current().id(), here);
            assert_eq!(ask(&rt), Answer::Refused);
            let inner = rt.clone();
            let below = rt.offload(move || {
                assert_ne!(thread::current().id(), here);
                descend(inner, depth - 1)
            });
            let below = below.await.unwrap();
            assert_eq!(thread::current().id(), here);
            below
        });
        assert_eq!(thread::current().id(), here);
        assert_eq!(ask(&handle), Answer::Ran);
        below + 1
    }
    let rt = s.build();
    assert_eq!(descend(rt.clone(), 12), 12);
    let inner = rt.clone();
    let from_closure = rt.offload(move || descend(inner, 3));
    assert_eq!(rt.block_on(from_closure).unwrap(), 3);
}

fn while_unwinding<S: Setup>(s: S) {
    let rt = s.build();
    let value = Cell::new(0);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _guard = OnDrop(|| {
            assert!(thread::panicking());
            let inner = rt.clone();
            let task = rt.spawn(async move { inner.offload(|| 8).await.unwrap() });
            value.set(rt.block_on(task).unwrap());
        });
        panic_quietly("the first panic");
    }));
    let payload = result.expect_err("the panic goes on");
    assert_eq!(payload.downcast_ref(), Some(&"the first panic"));
    assert_eq!(value.get(), 8);
    assert_eq!(ask(&rt), Answer::Ran);
}

fn in_foreign_closure<S: Setup>(s: S) {
    let rt = s.build();
    let other = other_runtime();
    let inner = rt.clone();
    let ours = other.offload(move || inner.block_on(inner.spawn(async { 1 })).unwrap());
    assert_eq!(rt.block_on(ours).unwrap(), 1);
    let inner = other.clone();
    let theirs = rt.offload(move || inner.block_on(inner.spawn(async { 2 })).unwrap());
    assert_eq!(other.block_on(theirs).unwrap(), 2);
}

fn two_runtimes<S: Setup>(s: S) {
    let (first, second, other) = (s.build(), s.build(), other_runtime());
    for n in 0..50 {
        assert_eq!(first.block_on(second.spawn(async move { n })).unwrap(), n);
        assert_eq!(second.block_on(other.spawn(async move { n })).unwrap(), n);
        assert_eq!(other.block_on(first.offload(move || n)).unwrap(), n);
        let sleep = second.sleep(Duration::from_micros(50));
        first.block_on(sleep);
    }
}

fn in_block_in_place<S: Setup>(s: S) {
    let rt = s.build();
    let inner = rt.clone();
    let task = rt.spawn(async move {
        let result = inner.block_in_place(|| {
            assert_eq!(ask(&inner), Answer::Ran);
            inner.block_on(async {
                assert_eq!(ask(&inner), Answer::Refused);
                inner.sleep(Duration::from_millis(1)).await;
                inner.spawn(async { 4 }).await.unwrap() + inner.offload(|| 5).await.unwrap()
            })
        });
        assert_eq!(ask(&inner), Answer::Refused);
        yield_now().await;
        result
    });
    let result = rt.block_on(task).unwrap();
    if s.capabilities().block_in_place {
        assert_eq!(result, Ok(9));
    } else {
        assert!(result.unwrap_err().is_unsupported());
    }
}

fn wait_where_allowed<S: Setup>(s: S) {
    fn both<R: Runtime>(rt: &R) -> (u32, u32, u32) {
        let here = thread::current().id();
        let on_this_thread = move || u32::from(thread::current().id() == here);
        let calls = (
            rt.call(async move {
                yield_now().await;
                on_this_thread()
            }),
            rt.call_blocking(on_this_thread),
        );
        let again = rt.clone();
        let chain = rt
            .call(ready(2))
            .then(move |n| again.call_blocking(move || n * 3))
            .map(|n| n + 1);
        (calls.0.wait(), calls.1.try_wait().unwrap(), chain.wait())
    }
    let rt = s.build();
    assert_eq!(both(&rt), (1, 1, 7));
    let inner = rt.clone();
    assert_eq!(on_thread(move || both(&inner)), (1, 1, 7));
    let inner = rt.clone();
    let closure = rt.offload(move || both(&inner));
    assert_eq!(rt.block_on(closure).unwrap(), (1, 1, 7));
}

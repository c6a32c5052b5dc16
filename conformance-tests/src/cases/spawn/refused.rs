//! SP-3, spawn after the shutdown.

use std::{
    future::ready,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
};

use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Counter, CountingWaker, HandMade, OnDrop, Puppet, at_thread_end, eventually, must,
        on_thread, other_runtime, panic_quietly, poll_once,
    },
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "SP-3.1", "after shutdown the future is dropped unpolled, and the join says shut down",
        "tasks that silently go nowhere, and joins that hang", after_shutdown, needs [Shutdown];
        "SP-3.2", "after shutdown spawn does not panic, from wherever it is called",
        "Tokio panics in some of these places and not in others", after_shutdown_anywhere, needs [Shutdown];
        "SP-3.3", "the handle of a refused future can be aborted, cancelled, detached and dropped",
        "handles made by hand for the refusal miss a transition", refused_handle, needs [Shutdown];
        "SP-3.4", "a destructor that panics when its future is refused is contained and told",
        "the panic would come out of spawn, which promises not to", refused_destructor_panics, needs [Shutdown];
        "SP-3.5", "a refused future may spawn in its destructor",
        "a refusal under a lock deadlocks here", refused_spawns, needs [Shutdown];
    ]
}

/// A runtime that was used and is shut down.
fn shut_down<S: Setup>(s: S) -> S::Runtime {
    let rt = s.build();
    rt.block_on(rt.spawn(yield_now())).unwrap();
    assert!(rt.shutdown(must()).unwrap().is_clean());
    rt
}

fn after_shutdown<S: Setup>(s: S) {
    let rt = shut_down(s);
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
    // The same if the handle is dropped or detached.
    let puppet = Puppet::new();
    drop(rt.spawn(puppet.future()));
    rt.spawn(ready(())).detach();
    puppet.destroyed();
    assert_eq!(puppet.polls(), 0);
}

fn after_shutdown_anywhere<S: Setup>(s: S) {
    let rt = shut_down(s);
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

fn refused_handle<S: Setup>(s: S) {
    let rt = shut_down(s);
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

fn refused_destructor_panics<S: Setup>(s: S) {
    let rt = shut_down(s);
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

fn refused_spawns<S: Setup>(s: S) {
    let rt = shut_down(s);
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

//! CA-1, drop cancels, detach does not.

use std::{
    future::ready,
    panic::{AssertUnwindSafe, catch_unwind},
};

use fourway_core::{BlockOn, Offload, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Counter, CountingWaker, Gate, Puppet, at_thread_end, eventually, on_thread, other_runtime,
        panic_quietly, poll_once,
    },
};

use super::suspended;

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "CA-1.1", "dropping the handle of a suspended task destroys it",
        "agnostic: dropping cancels on smol and detaches on Tokio", drop_cancels;
        "CA-1.2", "dropping the handle cancels wherever it happens",
        "tasks, closures, unwinding threads, thread-locals: the same everywhere", drop_cancels_anywhere;
        "CA-1.3", "a detached task runs on, detached early or late",
        "detaching and completing race", detached_runs_on;
        "CA-1.4", "detaching works through a boxed trait object",
        "an erased handle that detaches by being dropped cancels", detach_boxed;
        "CA-1.5", "aborted, and then dropped or detached at once: still cancelled",
        "tokio 3964: the cancellation is lost with the handle", abort_then_let_go;
        "CA-1.6", "abort handles keep nothing alive and cancel nothing when dropped",
        "a drop that means something else on another handle type", abort_handle_dropped;
        "CA-1.7", "a handle dropped while a join waits on it cancels, once polled or not",
        "the registered waker changes the path that drop takes", dropped_after_poll;
    ]
}

fn drop_cancels<S: Setup>(s: S) {
    let rt = s.build();
    for _ in 0..20 {
        let (puppet, task) = suspended::<S>(&rt);
        drop(task);
        puppet.destroyed();
        assert_eq!(puppet.polls(), 1);
    }
}

fn drop_cancels_anywhere<S: Setup>(s: S) {
    let rt = s.build();
    let other = other_runtime();
    let (puppets, tasks): (Vec<_>, Vec<_>) = (0..7).map(|_| suspended::<S>(&rt)).unzip();
    let mut tasks = tasks.into_iter();
    let mut next = || tasks.next().expect("seven");
    let task = next();
    rt.block_on(rt.spawn(async move { drop(task) })).unwrap();
    let task = next();
    other
        .block_on(other.spawn(async move { drop(task) }))
        .unwrap();
    let task = next();
    rt.block_on(rt.offload(move || drop(task))).unwrap();
    let task = next();
    rt.block_on(async move { drop(task) });
    let task = next();
    let result = catch_unwind(AssertUnwindSafe(move || {
        let _task = task;
        panic_quietly("unwinding")
    }));
    assert!(result.is_err());
    let task = next();
    on_thread(move || at_thread_end(move || drop(task)));
    let task = next();
    let result = rt.block_on(rt.spawn(async move {
        let _task = task;
        yield_now().await;
        panic_quietly("a task that unwinds")
    }));
    let result: Result<(), _> = result;
    assert!(result.is_err());
    puppets.iter().for_each(Puppet::destroyed);
}

fn detached_runs_on<S: Setup>(s: S) {
    let rt = s.build();
    // Before it starts, perhaps.
    let (done, gate) = Gate::pair();
    rt.spawn(async move { done.open() }).detach();
    gate.wait();
    // While it is suspended.
    let (puppet, task) = suspended::<S>(&rt);
    task.detach();
    puppet.wake();
    puppet.polled(2);
    puppet.finish();
    puppet.destroyed();
    assert_eq!(puppet.polls(), 3);
    // While it runs.
    let (started, has_started) = Gate::pair();
    let (go, waits) = Gate::pair();
    let (done, gate) = Gate::pair();
    let task = rt.spawn(async move {
        started.open();
        waits.wait();
        yield_now().await;
        done.open();
    });
    has_started.wait();
    task.detach();
    go.open();
    gate.wait();
    // After its end.
    let task = rt.spawn(ready(1));
    eventually("it is finished", || task.is_finished());
    task.detach();
    // After a join has waited for it.
    let (puppet, mut task) = suspended::<S>(&rt);
    let (waker, _) = CountingWaker::new();
    assert!(poll_once(&mut task, &waker).is_pending());
    task.detach();
    puppet.finish();
    puppet.destroyed();
    assert_eq!(puppet.polls(), 2);
}

fn detach_boxed<S: Setup>(s: S) {
    let rt = s.build();
    let (puppet, task) = suspended::<S>(&rt);
    let task: Box<dyn Task<usize>> = Box::new(task);
    task.detach_boxed();
    puppet.wake();
    puppet.polled(2);
    puppet.finish();
    puppet.destroyed();
    let (puppet, task) = suspended::<S>(&rt);
    let task: Box<dyn Task<usize>> = Box::new(task);
    drop(task);
    puppet.destroyed();
}

fn abort_then_let_go<S: Setup>(s: S) {
    let rt = s.build();
    for _ in 0..20 {
        let (puppet, task) = suspended::<S>(&rt);
        task.abort();
        drop(task);
        puppet.destroyed();
        let (puppet, task) = suspended::<S>(&rt);
        task.abort();
        task.detach();
        puppet.destroyed();
        let (puppet, task) = suspended::<S>(&rt);
        task.abort_handle().abort();
        drop(task);
        puppet.destroyed();
        let (puppet, task) = suspended::<S>(&rt);
        let aborts = task.abort_handle();
        task.detach();
        aborts.abort();
        drop(aborts);
        puppet.destroyed();
        // And right after the spawn.
        let puppet = Puppet::new();
        let task = rt.spawn(puppet.future());
        task.abort();
        task.detach();
        puppet.destroyed();
    }
}

fn abort_handle_dropped<S: Setup>(s: S) {
    let rt = s.build();
    let (puppet, task) = suspended::<S>(&rt);
    let aborts = task.abort_handle();
    drop(aborts.clone());
    drop(aborts);
    drop(task.abort_handle());
    puppet.wake();
    puppet.polled(2);
    // The last handle is dropped after detaching.
    let aborts = task.abort_handle();
    task.detach();
    drop(aborts);
    puppet.wake();
    puppet.polled(3);
    puppet.finish();
    puppet.destroyed();
    // An abort handle does not keep the task from being cancelled by its handle.
    let (puppet, task) = suspended::<S>(&rt);
    let aborts = task.abort_handle();
    drop(task);
    puppet.destroyed();
    eventually("it knows of the end", || aborts.is_finished());
    // Nor does it keep the output of a finished task from being dropped with the handle.
    let drops = Counter::new();
    let value = drops.on_drop();
    let task = rt.spawn(async move { value });
    let aborts = task.abort_handle();
    eventually("it is finished", || task.is_finished());
    drop(task);
    eventually("the output is dropped", || drops.get() == 1);
    drop(aborts);
}

fn dropped_after_poll<S: Setup>(s: S) {
    let rt = s.build();
    for with_abort_handle in [false, true] {
        let (puppet, mut task) = suspended::<S>(&rt);
        let aborts = with_abort_handle.then(|| task.abort_handle());
        let (waker, _) = CountingWaker::new();
        assert!(poll_once(&mut task, &waker).is_pending());
        drop(task);
        puppet.destroyed();
        drop(aborts);
        // A join in a task that is cancelled itself.
        let (puppet, task) = suspended::<S>(&rt);
        let aborts = with_abort_handle.then(|| task.abort_handle());
        let (awaiting, awaited) = Gate::pair();
        let joiner = rt.spawn(async move {
            awaiting.open();
            task.await
        });
        awaited.wait();
        assert!(
            rt.block_on(joiner.cancel())
                .is_err_and(|e| e.is_cancelled())
        );
        puppet.destroyed();
        drop(aborts);
    }
}

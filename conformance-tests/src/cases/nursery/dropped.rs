//! NU-8, dropped half-way.

use std::{
    pin::Pin,
    sync::{Arc, mpsc},
    task::Waker,
    thread,
};

use fourway_core::{Spawner, Task, cancel};

use crate::{
    Case,
    cases::table,
    nursery::{Nursery, Refusal, Work},
    setup::Setup,
    util::{Counter, Gate, drive, eventually, never, poll_once},
};

use super::{Here, endless, for_ever, limit, ok, refused, spawn, value};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "NU-8.1", "dropped half-way, its children are cancelled before drop returns, and destroyed",
        "a select that drops a nursery: what it has spawned runs on", destroys, extended;
        "NU-8.2", "dropped, it does not wait for closures that run, which are asked to end",
        "a destructor that blocks: tokio's scope RFCs", does_not_block, extended;
        "NU-8.3", "a handle tells when the last is gone, and not before",
        "tokio 6802: aborted, and nobody knows when they stop", tells, extended;
        "NU-8.4", "a shield does not hold against it",
        "a section that outlives whoever waited for it", through_shields, extended;
        "NU-8.5", "those in line are not started",
        "each that ends makes room for the next", empties_the_line, extended;
        "NU-8.6", "the same holds if the task that polls it is cancelled",
        "the usual way in which a future is dropped half-way", with_its_task, extended;
        "NU-8.7", "the handle tells of an end that comes by itself as well",
        "a handle that waits for a drop", after_its_end, extended;
    ]
}

type Handle = Arc<dyn Nursery>;

fn destroys<S: Setup>(s: S) {
    let here = Here::of(s);
    let (begun, destroyed) = (Gate::new(), Counter::new());
    let child = endless(&begun, &destroyed);
    let (tell, told) = mpsc::channel::<Handle>();
    let body_gone = Counter::new();
    let on_drop = body_gone.on_drop();
    let mut nursery = here.run(move |n| async move {
        let _on_drop = on_drop;
        spawn(&n, child);
        tell.send(n).unwrap();
        for_ever().await
    });
    assert!(poll_once(&mut Pin::new(&mut nursery), Waker::noop()).is_pending());
    let n = told.recv().unwrap();
    begun.wait();
    never("it is destroyed by itself", || destroyed.get() > 0);
    drop(nursery);
    assert!(n.token().is_cancelled(), "the token is not set");
    assert_eq!(body_gone.get(), 1, "the body is part of the nursery");
    let (why, _) = refused(n.spawn(Work::task(async { ok(0) })));
    assert!(matches!(why, Refusal::Cancelled | Refusal::Closed));
    eventually("the child is destroyed", || destroyed.get() == 1);
    drive(n.closed());
    assert!(n.is_closed());
}

/// A nursery with a closure that runs until the gate is opened, and its progress.
struct Running {
    handle: Handle,
    go: Gate,
    /// The closure has seen that it must end.
    asked: Gate,
    ended: Counter,
    nursery: crate::nursery::BoxFuture<Result<crate::nursery::Value, crate::nursery::Trouble>>,
}

fn running(here: &Here) -> Running {
    let (go, goes) = Gate::pair();
    let (asks, asked) = Gate::pair();
    let (runs, running) = Gate::pair();
    let ended = Counter::new();
    let count = ended.clone();
    let (tell, told) = mpsc::channel::<Handle>();
    let mut nursery = here.run(move |n| async move {
        spawn(
            &n,
            Work::closure(move || {
                runs.open();
                eventually("it is asked to end", cancel::is_cancelled);
                asks.open();
                goes.wait();
                count.add();
                ok(0)
            }),
        );
        tell.send(n).unwrap();
        for_ever().await
    });
    assert!(poll_once(&mut Pin::new(&mut nursery), Waker::noop()).is_pending());
    running.wait();
    Running {
        handle: told.recv().unwrap(),
        go,
        asked,
        ended,
        nursery,
    }
}

fn does_not_block<S: Setup>(s: S) {
    let here = Here::of(s);
    let running = running(&here);
    let nursery = running.nursery;
    let dropper = thread::spawn(move || drop(nursery));
    eventually("drop returns", || dropper.is_finished());
    running.asked.wait();
    assert_eq!(running.ended.get(), 0);
    running.go.open();
    drive(running.handle.closed());
    assert_eq!(running.ended.get(), 1, "it ran to its end");
}

fn tells<S: Setup>(s: S) {
    let here = Here::of(s);
    let running = running(&here);
    assert!(!running.handle.is_closed());
    drop(running.nursery);
    running.asked.wait();
    let closed = running.handle.closed();
    let ended = running.ended.clone();
    let waiter = thread::spawn(move || {
        drive(closed);
        ended.get()
    });
    never("it tells too early", || {
        waiter.is_finished() || running.handle.is_closed()
    });
    running.go.open();
    eventually("it tells", || waiter.is_finished());
    assert_eq!(waiter.join().unwrap(), 1);
    assert!(running.handle.is_closed());
}

fn through_shields<S: Setup>(s: S) {
    let here = Here::of(s);
    let inner = here.clone();
    let destroyed = Counter::new();
    let on_drop = destroyed.on_drop();
    let (inside, is_inside) = Gate::pair();
    let (tell, told) = mpsc::channel::<Handle>();
    let mut nursery = here.run(move |n| async move {
        spawn(
            &n,
            Work::task(async move {
                let section = async move {
                    let _on_drop = on_drop;
                    inside.open();
                    std::future::pending().await
                };
                inner.nurseries.shield(Box::pin(section)).await;
                ok(0)
            }),
        );
        tell.send(n).unwrap();
        for_ever().await
    });
    assert!(poll_once(&mut Pin::new(&mut nursery), Waker::noop()).is_pending());
    is_inside.wait();
    drop(nursery);
    eventually("the section is destroyed", || destroyed.get() == 1);
    drive(told.recv().unwrap().closed());
}

fn empties_the_line<S: Setup>(s: S) {
    let here = Here::of(s);
    let (begun, destroyed) = (Gate::new(), Counter::new());
    let child = endless(&begun, &destroyed);
    let (ran, gone) = (Counter::new(), Counter::new());
    let (count, dropped) = (ran.clone(), gone.clone());
    let (tell, told) = mpsc::channel::<Handle>();
    let mut nursery = here.run_with(limit(1), move |n| async move {
        spawn(&n, child);
        for _ in 0..3 {
            let (count, on_drop) = (count.clone(), dropped.on_drop());
            spawn(
                &n,
                Work::closure(move || {
                    let _on_drop = on_drop;
                    count.add();
                    ok(0)
                }),
            );
        }
        tell.send(n).unwrap();
        for_ever().await
    });
    assert!(poll_once(&mut Pin::new(&mut nursery), Waker::noop()).is_pending());
    begun.wait();
    drop(nursery);
    drive(told.recv().unwrap().closed());
    assert_eq!((ran.get(), gone.get(), destroyed.get()), (0, 3, 1));
}

fn with_its_task<S: Setup>(s: S) {
    let here = Here::of(s);
    let (begun, destroyed) = (Gate::new(), Counter::new());
    let child = endless(&begun, &destroyed);
    let (tell, told) = mpsc::channel::<Handle>();
    let nursery = here.run(move |n| async move {
        spawn(&n, child);
        tell.send(n).unwrap();
        for_ever().await
    });
    let task = here.rt.spawn(nursery);
    begun.wait();
    let cancelled = drive(task.cancel());
    assert!(cancelled.is_err_and(|error| error.is_cancelled()));
    eventually("the child is destroyed", || destroyed.get() == 1);
    drive(told.recv().unwrap().closed());
}

fn after_its_end<S: Setup>(s: S) {
    let here = Here::of(s);
    let (tell, told) = mpsc::channel::<Handle>();
    let nursery = here.run(move |n| async move {
        spawn(&n, Work::closure(|| ok(0)));
        tell.send(n).unwrap();
        ok(0)
    });
    let host = thread::spawn(move || drive(nursery));
    drive(told.recv().unwrap().closed());
    eventually("the nursery ends", || host.is_finished());
    value(host.join().unwrap());
}

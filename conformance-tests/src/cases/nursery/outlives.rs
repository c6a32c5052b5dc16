//! NU-1: no child outlives its nursery.

use std::{
    pin::Pin,
    task::{Poll, Waker},
    thread,
};

use fourway_core::{Shutdown, yield_now};

use crate::{
    Case,
    cases::table,
    nursery::{Value, Work},
    setup::Setup,
    util::{
        Counter, Gate, HandMade, OnDrop, drive, eventually, must, never, panic_quietly, poll_once,
    },
};

use super::{Here, MS, endless, fails, for_ever, ok, spawn, texts, trouble, value};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "NU-1.1", "it returns when all children have ended",
        "tokio's JoinSet, futures' join: what was spawned runs on", ended, extended;
        "NU-1.2", "it returns when all destructors of its children have run",
        "tokio 7825: told of the end while the destructor runs", destructors, extended;
        "NU-1.3", "it waits for running closures also if a child or the body failed or panicked",
        "the error comes first, and the thread writes on", also_on_failure, extended;
        "NU-1.4", "dropped before its first poll it has no children, and its body has not begun",
        "a future does nothing until it is polled", never_polled, extended;
        "NU-1.5", "of children that have ended it keeps nothing",
        "hickory 1818, sim-ln 221: a JoinSet that nobody empties grows for days", nothing_kept, extended;
        "NU-1.6", "children that the runtime destroys at its shutdown have ended, with an error",
        "a count that nobody takes down: the nursery waits for ever", shut_down, needs [Shutdown];
    ]
}

fn ended<S: Setup>(s: S) {
    let here = Here::of(s);
    for _ in 0..20 {
        let ended = Counter::new();
        let count = ended.clone();
        let nursery = here.run(|n| async move {
            for _ in 0..3 {
                let (task, closure) = (count.clone(), count.clone());
                let again = n.clone();
                spawn(
                    &n,
                    Work::task(async move {
                        yield_now().await;
                        // A grandchild, when the body may be over.
                        spawn(
                            &again,
                            Work::task(async move {
                                yield_now().await;
                                task.add();
                                ok(0)
                            }),
                        );
                        ok(0)
                    }),
                );
                spawn(
                    &n,
                    Work::closure(move || {
                        thread::sleep(MS);
                        closure.add();
                        ok(0)
                    }),
                );
            }
            ok(7)
        });
        assert_eq!(value(drive(nursery)), 7);
        assert_eq!(ended.get(), 6, "children that are still there");
    }
}

/// A destructor that takes its time, and counts then.
fn slow(destroyed: &Counter) -> Box<OnDrop<impl FnMut() + Send + use<>>> {
    let destroyed = destroyed.clone();
    Box::new(OnDrop(move || {
        thread::sleep(10 * MS);
        destroyed.add();
    }))
}

fn destructors<S: Setup>(s: S) {
    /// The destructor of a ready future, of a closure, of a cancelled future.
    #[derive(Clone, Copy)]
    enum Kind {
        Ready,
        Closure,
        Cancelled,
    }
    let here = Here::of(s);
    for kind in [Kind::Ready, Kind::Closure, Kind::Cancelled] {
        let destroyed = Counter::new();
        let on_drop = slow(&destroyed);
        let nursery = here.run(move |n| async move {
            let (begun, begins) = Gate::pair();
            let ready = matches!(kind, Kind::Ready);
            let child = match kind {
                Kind::Closure => Work::closure(move || {
                    let _captured = on_drop;
                    begun.open();
                    ok(0)
                }),
                Kind::Ready | Kind::Cancelled => Work::task(HandMade {
                    poll: move |_: &mut std::task::Context<'_>| {
                        begun.open();
                        if ready {
                            Poll::Ready(ok(0))
                        } else {
                            Poll::Pending
                        }
                    },
                    on_drop,
                }),
            };
            spawn(&n, child);
            begins.opened().await;
            if matches!(kind, Kind::Cancelled) {
                n.cancel();
            }
            ok(1)
        });
        assert_eq!(value(drive(nursery)), 1);
        assert_eq!(destroyed.get(), 1, "a destructor is still to run");
    }
}

fn also_on_failure<S: Setup>(s: S) {
    let here = Here::of(s);
    for way in 0..4 {
        let (begun, begins) = Gate::pair();
        let (go, goes) = Gate::pair();
        let ended = Counter::new();
        let count = ended.clone();
        let nursery = here.run(move |n| async move {
            spawn(
                &n,
                Work::closure(move || {
                    begun.open();
                    goes.wait();
                    count.add();
                    ok(0)
                }),
            );
            begins.opened().await;
            match way {
                0 => return fails("on purpose"),
                1 => panic_quietly("on purpose"),
                2 => spawn(&n, Work::task(async { fails("on purpose") })),
                _ => spawn(&n, Work::task(async { panic_quietly("on purpose") })),
            }
            for_ever().await
        });
        let over = Gate::new();
        let opens = over.clone();
        let host = thread::spawn(move || {
            let result = drive(nursery);
            opens.open();
            result
        });
        never("it returns before its closure has", || over.is_open());
        go.open();
        eventually("the nursery ends", || host.is_finished());
        let trouble = trouble(host.join().unwrap());
        assert_eq!(ended.get(), 1);
        assert!(texts(&trouble.failures)[0].ends_with("on purpose"));
    }
}

fn never_polled<S: Setup>(s: S) {
    let here = Here::of(s);
    let (ran, destroyed) = (Counter::new(), Counter::new());
    let (count, captured) = (ran.clone(), destroyed.on_drop());
    let nursery = here.run(|n| {
        count.add();
        spawn(
            &n,
            Work::closure(move || ok(count.add().try_into().unwrap())),
        );
        async move {
            let _captured = captured;
            ok(0)
        }
    });
    drop(nursery);
    assert_eq!(destroyed.get(), 1, "the body goes with the nursery");
    never("something has begun", || ran.get() > 0);
}

fn nothing_kept<S: Setup>(s: S) {
    let here = Here::of(s);
    let (all_out, gone) = (Gate::new(), Counter::new());
    let (go, count) = (all_out.clone(), gone.clone());
    let mut nursery = here.run(|n| async move {
        for _ in 0..50 {
            let (task, closure) = (count.on_drop(), count.on_drop());
            spawn(&n, Work::task(async { Ok(Value::new(task)) }));
            spawn(&n, Work::closure(|| Ok(Value::new(closure))));
        }
        go.opened().await;
        ok(0)
    });
    // It has no waiter meanwhile.
    let first = poll_once(&mut Pin::new(&mut nursery), Waker::noop());
    assert!(first.is_pending());
    eventually("values that nobody wants are dropped", || gone.get() == 100);
    all_out.open();
    value(drive(nursery));
}

fn shut_down<S: Setup>(s: S) {
    let rt = s.build();
    let here = Here::on(s, rt.clone());
    let (begun, destroyed) = (Gate::new(), Counter::new());
    let child = endless(&begun, &destroyed);
    let nursery = here.run_with(super::supervise(), |n| async move {
        spawn(&n, child);
        ok(0)
    });
    let host = thread::spawn(move || drive(nursery));
    begun.wait();
    assert!(rt.shutdown(must()).unwrap().is_clean());
    eventually("the nursery ends", || host.is_finished());
    let trouble = trouble(host.join().unwrap());
    assert_eq!(destroyed.get(), 1);
    assert_eq!(trouble.failures.len(), 1, "{trouble:?}");
}

//! NU-3, children until it is over: from wherever they are spawned.

use std::{
    future::pending,
    sync::{Arc, mpsc},
    task::Waker,
    thread,
};

use fourway_core::yield_now;

use crate::{
    Case,
    cases::table,
    nursery::{Kind, NotReady, Nursery, Refusal, Work},
    setup::Setup,
    util::{Counter, Gate, drive, eventually, never, panic_quietly, poll_once},
};

use super::{Here, MS, endless, fails, for_ever, ok, refused, spawn, taken, texts, trouble, value};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "NU-3.1", "children spawn siblings, also when the body is over",
        "a crawler finds the next page in the last one", siblings, extended;
        "NU-3.2", "once it is over, a child is refused, and given back unstarted",
        "trio: this nursery is not active any more", after_the_end, extended;
        "NU-3.3", "while it is being cancelled, a child is refused, and given back unstarted",
        "what is torn down must not grow", while_cancelling, extended;
        "NU-3.4", "spawned from another thread as it ends, a child is refused or waited for",
        "tokio's TaskTracker and others: looked first, counted then", race, extended;
        "NU-3.5", "a child that is started until it is ready gives its value, and goes on",
        "trio's start: a server that is up before its clients are", started, extended;
        "NU-3.6", "what fails before it is ready fails for its caller alone; ended, it says so",
        "anyio 706: the error twice; and a caller that waits for ever", not_ready, extended;
        "NU-3.7", "a caller that gives up cancels the child that is not ready, and nothing else",
        "anyio 685, 710: the whole group is cancelled", caller_gives_up, extended;
    ]
}

fn siblings<S: Setup>(s: S) {
    let here = Here::of(s);
    let ran = Counter::new();
    let count = ran.clone();
    let nursery = here.run(|n| async move {
        let (again, done) = (n.clone(), count.clone());
        spawn(
            &n,
            Work::task(async move {
                // The body is over long before.
                for _ in 0..20 {
                    yield_now().await;
                }
                let (deeper, last) = (again.clone(), done.clone());
                spawn(
                    &again,
                    Work::closure(move || {
                        let end = last.clone();
                        spawn(
                            &deeper,
                            Work::task(async move {
                                end.add();
                                ok(0)
                            }),
                        );
                        last.add();
                        ok(0)
                    }),
                );
                done.add();
                ok(0)
            }),
        );
        ok(0)
    });
    value(drive(nursery));
    assert_eq!(ran.get(), 3);
}

fn after_the_end<S: Setup>(s: S) {
    let here = Here::of(s);
    let (tell, told) = mpsc::channel();
    let nursery = here.run(move |n| async move {
        tell.send(n).unwrap();
        ok(0)
    });
    value(drive(nursery));
    let late = told.recv().unwrap();
    assert!(late.is_closed());
    let (ran, destroyed) = (Counter::new(), Counter::new());
    for in_line in [true, false] {
        let (count, captured) = (ran.clone(), destroyed.on_drop());
        let work = Work::closure(move || {
            let _captured = captured;
            count.add();
            ok(0)
        });
        let result = if in_line {
            late.spawn(work).map(drop)
        } else {
            late.try_spawn(work)
        };
        let (why, work) = refused(result);
        assert_eq!(why, Refusal::Closed);
        never("it is started", || ran.get() > 0);
        drop(work);
    }
    assert_eq!(destroyed.get(), 2, "the work was given back");
}

fn while_cancelling<S: Setup>(s: S) {
    let here = Here::of(s);
    let (ran, destroyed) = (Counter::new(), Counter::new());
    let (go, goes) = Gate::pair();
    let (tell, told) = mpsc::channel();
    let nursery = here.run(move |n| async move {
        let (running, runs) = Gate::pair();
        // Keeps the nursery open.
        spawn(
            &n,
            Work::closure(move || {
                running.open();
                goes.wait();
                ok(0)
            }),
        );
        runs.opened().await;
        n.cancel();
        tell.send(n).unwrap();
        ok(0)
    });
    let host = thread::spawn(move || drive(nursery));
    let n = told.recv().unwrap();
    let (count, captured) = (ran.clone(), destroyed.on_drop());
    let (why, work) = refused(n.spawn(Work::task(async move {
        let _captured = captured;
        count.add();
        ok(0)
    })));
    assert_eq!(why, Refusal::Cancelled);
    assert_eq!(destroyed.get(), 0, "the work is given back");
    drop(work);
    go.open();
    eventually("the nursery ends", || host.is_finished());
    value(host.join().unwrap());
    assert_eq!((ran.get(), destroyed.get()), (0, 1));
}

fn race<S: Setup>(s: S) {
    let here = Here::of(s);
    for _ in 0..30 {
        let (tell, told) = mpsc::channel::<Arc<dyn Nursery>>();
        let (accepted, ended) = (Counter::new(), Counter::new());
        let (count, done) = (accepted.clone(), ended.clone());
        let spawner = thread::spawn(move || {
            let n = told.recv().unwrap();
            for _ in 0..100 {
                let done = done.clone();
                let work = Work::task(async move {
                    done.add();
                    ok(0)
                });
                match n.spawn(work) {
                    Ok(_) => count.add(),
                    Err(refused) => return assert_eq!(refused.why, Refusal::Closed),
                };
                // Meanwhile it may be over.
                thread::sleep(MS / 10);
            }
        });
        let begun = accepted.clone();
        let nursery = here.run(move |n| async move {
            tell.send(n).unwrap();
            while begun.get() == 0 {
                yield_now().await;
            }
            ok(0)
        });
        value(drive(nursery));
        let ended_at_the_end = ended.get();
        eventually("the spawner has enough", || spawner.is_finished());
        spawner.join().unwrap();
        assert_eq!(
            ended_at_the_end,
            accepted.get(),
            "a child was taken and not waited for"
        );
    }
}

fn started<S: Setup>(s: S) {
    let here = Here::of(s);
    let finished = Counter::new();
    let count = finished.clone();
    let nursery = here.run(|n| async move {
        let (go, goes) = Gate::pair();
        let port = n
            .start(Box::new(move |ready| {
                Box::pin(async move {
                    yield_now().await;
                    ready(80).expect("somebody waits");
                    goes.opened().await;
                    count.add();
                    ok(0)
                })
            }))
            .await;
        go.open();
        ok(port.expect("it was ready"))
    });
    assert_eq!(value(drive(nursery)), 80);
    assert_eq!(finished.get(), 1, "it is a child from then on");
}

fn not_ready<S: Setup>(s: S) {
    let here = Here::of(s);
    let nursery = here.run(|n| async move {
        let failed = n.start(Box::new(|_ready| {
            Box::pin(async { fails("before it was ready") })
        }));
        match failed.await {
            Err(NotReady::Failed(failure)) => {
                assert_eq!(texts(&[failure]), ["before it was ready"]);
            }
            other => panic!("{other:?}"),
        }
        let panicked = n.start(Box::new(|_ready| {
            Box::pin(async { panic_quietly("so did it") })
        }));
        match panicked.await {
            Err(NotReady::Failed(failure)) => assert_eq!(texts(&[failure]), ["panic: so did it"]),
            other => panic!("{other:?}"),
        }
        let ended = n.start(Box::new(|_ready| Box::pin(async { ok(0) })));
        match ended.await {
            Err(NotReady::Ended) => {}
            other => panic!("{other:?}"),
        }
        ok(4)
    });
    // None of these belongs to the nursery.
    assert_eq!(value(drive(nursery)), 4);
    // After the body, all of these do.
    let nursery = here.run(|n| async move {
        let started = n.start(Box::new(|ready| {
            Box::pin(async move {
                let _ = ready(1);
                fails("afterwards")
            })
        }));
        // Perhaps the nursery has failed before it looks.
        drop(started.await);
        for_ever().await
    });
    let trouble = trouble(drive(nursery));
    assert_eq!(trouble.kind, Kind::Failed);
    assert_eq!(texts(&trouble.failures), ["afterwards"]);
}

fn caller_gives_up<S: Setup>(s: S) {
    let here = Here::of(s);
    let destroyed = Counter::new();
    let count = destroyed.clone();
    let nursery = here.run(|n| async move {
        let (begun, other) = (Gate::new(), Counter::new());
        spawn(&n, endless(&begun, &other));
        begun.opened().await;
        let (running, runs) = Gate::pair();
        let on_drop = count.on_drop();
        let mut start = n.start(Box::new(move |ready| {
            Box::pin(async move {
                let _on_drop = on_drop;
                running.open();
                pending::<()>().await;
                drop(ready);
                ok(0)
            })
        }));
        assert!(poll_once(&mut start, Waker::noop()).is_pending());
        runs.opened().await;
        drop(start);
        while count.get() == 0 {
            yield_now().await;
        }
        assert_eq!(other.get(), 0, "a sibling is cancelled");
        assert!(!n.token().is_cancelled(), "the nursery is cancelled");
        drop(taken(n.spawn(Work::task(async { ok(0) }))));
        n.cancel();
        ok(6)
    });
    assert_eq!(value(drive(nursery)), 6);
    assert_eq!(destroyed.get(), 1);
}

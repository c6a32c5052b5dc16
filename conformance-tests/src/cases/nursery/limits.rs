//! NU-5, limits, and places in line.

use std::{
    sync::{Arc, Mutex},
    task::Waker,
    thread,
};

use fourway_core::yield_now;

use crate::{
    Case,
    cases::table,
    nursery::{Refusal, Work},
    setup::Setup,
    util::{Counter, Gate, Gauge, drive, panic_quietly, poll_once},
};

use super::{Here, MS, fails, limit, ok, refused, spawn, supervise, taken, trouble, value};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "NU-5.1", "no more children run than the limit says, until their ends",
        "a permit that is given back when the child is first suspended", at_most, extended;
        "NU-5.2", "as many run as the limit says",
        "one place is kept for nobody", at_least, extended;
        "NU-5.3", "spawn waits for a place; try_spawn says full, and gives the child back",
        "a queue without an end behind a limit", full, extended;
        "NU-5.4", "a waiter that gives up passes its place on, also if it has been granted",
        "async-std and tokio semaphores of old; anyio 947: the place is lost", passes_on, extended;
        "NU-5.5", "places go round in the order in which they were asked for",
        "who comes last goes first", in_line, extended;
        "NU-5.6", "a higher limit starts those who wait",
        "they sleep until a child ends", raised, extended;
        "NU-5.7", "children that fail or panic leave their places",
        "the place goes with the unwinding", left_by_failures, extended;
    ]
}

fn at_most<S: Setup>(s: S) {
    let here = Here::of(s);
    let gauge = Gauge::default();
    let inside = gauge.clone();
    let nursery = here.run_with(limit(3), |n| async move {
        for i in 0..40 {
            let gauge = inside.clone();
            let work = if i % 3 == 0 {
                Work::closure(move || {
                    let _inside = gauge.enter();
                    thread::yield_now();
                    ok(0)
                })
            } else {
                Work::task(async move {
                    let _inside = gauge.enter();
                    for _ in 0..3 {
                        yield_now().await;
                    }
                    ok(0)
                })
            };
            spawn(&n, work);
        }
        ok(0)
    });
    value(drive(nursery));
    assert!(gauge.most() <= 3, "{} of 3", gauge.most());
}

fn at_least<S: Setup>(s: S) {
    let here = Here::of(s);
    let gauge = Gauge::default();
    let inside = gauge.clone();
    let nursery = here.run_with(limit(3), |n| async move {
        let (met, meet) = Gate::pair();
        for _ in 0..6 {
            let (gauge, met, meet) = (inside.clone(), met.clone(), meet.clone());
            spawn(
                &n,
                Work::task(async move {
                    let _inside = gauge.enter();
                    if gauge.now() == 3 {
                        met.open();
                    }
                    meet.opened().await;
                    ok(0)
                }),
            );
        }
        ok(0)
    });
    value(drive(nursery));
    assert_eq!(gauge.most(), 3);
}

/// A child that keeps its place until the gate is opened.
fn keeps_place(go: &Gate) -> Work {
    let go = go.clone();
    Work::task(async move {
        go.opened().await;
        ok(0)
    })
}

fn full<S: Setup>(s: S) {
    let here = Here::of(s);
    let ran = Counter::new();
    let count = ran.clone();
    let nursery = here.run_with(limit(1), |n| async move {
        let go = Gate::new();
        taken(n.spawn(keeps_place(&go))).await;
        let counting = |count: &Counter| {
            let count = count.clone();
            Work::closure(move || {
                count.add();
                ok(0)
            })
        };
        let (why, work) = refused(n.try_spawn(counting(&count)));
        assert_eq!(why, Refusal::Full);
        let mut waiting = taken(n.spawn(work));
        assert!(poll_once(&mut waiting, Waker::noop()).is_pending());
        go.open();
        waiting.await;
        ok(0)
    });
    value(drive(nursery));
    assert_eq!(ran.get(), 1);
}

fn passes_on<S: Setup>(s: S) {
    let here = Here::of(s);
    for granted in [false, true] {
        let nursery = here.run_with(limit(1), move |n| async move {
            let (go, ended) = (Gate::new(), Counter::new());
            let (gate, on_drop) = (go.clone(), ended.on_drop());
            taken(n.spawn(Work::task(async move {
                let _on_drop = on_drop;
                gate.opened().await;
                ok(0)
            })))
            .await;
            let mut gives_up = n.reserve();
            assert!(poll_once(&mut gives_up, Waker::noop()).is_pending());
            let mut next = n.reserve();
            assert!(poll_once(&mut next, Waker::noop()).is_pending());
            if !granted {
                drop(gives_up);
                go.open();
            } else {
                go.open();
                while ended.get() == 0 {
                    yield_now().await;
                }
                // The place is free, and most of the time the first in line has it.
                thread::sleep(5 * MS);
                drop(gives_up);
            }
            let place = next.await.expect("it has the place now");
            // An unused place is returned as well.
            drop(place);
            let place = n.reserve().await.expect("there is nobody else");
            taken(place(Work::task(async { ok(0) })));
            ok(0)
        });
        value(drive(nursery));
    }
}

fn in_line<S: Setup>(s: S) {
    let here = Here::of(s);
    let order = Arc::new(Mutex::new(Vec::new()));
    let told = order.clone();
    let nursery = here.run_with(limit(1), |n| async move {
        let go = Gate::new();
        spawn(&n, keeps_place(&go));
        for i in 0..6 {
            let told = told.clone();
            spawn(
                &n,
                Work::task(async move {
                    told.lock().unwrap().push(i);
                    ok(0)
                }),
            );
        }
        go.open();
        ok(0)
    });
    value(drive(nursery));
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
}

fn raised<S: Setup>(s: S) {
    let here = Here::of(s);
    let nursery = here.run_with(limit(1), |n| async move {
        let (go, ran) = (Gate::new(), Counter::new());
        spawn(&n, keeps_place(&go));
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let count = ran.clone();
            waiting.push(taken(n.spawn(Work::task(async move {
                count.add();
                ok(0)
            }))));
        }
        n.set_limit(3);
        for waiting in waiting {
            waiting.await;
        }
        while ran.get() < 2 {
            yield_now().await;
        }
        go.open();
        ok(0)
    });
    value(drive(nursery));
}

fn left_by_failures<S: Setup>(s: S) {
    let here = Here::of(s);
    let ran = Counter::new();
    let count = ran.clone();
    let settings = crate::nursery::Settings {
        limit: Some(1),
        ..supervise()
    };
    let nursery = here.run_with(settings, |n| async move {
        spawn(&n, Work::task(async { fails("task") }));
        spawn(&n, Work::closure(|| fails("closure")));
        spawn(&n, Work::task(async { panic_quietly("task") }));
        spawn(&n, Work::closure(|| panic_quietly("closure")));
        spawn(
            &n,
            Work::task(async move {
                count.add();
                ok(0)
            }),
        );
        ok(0)
    });
    let trouble = trouble(drive(nursery));
    assert_eq!((trouble.failures.len(), ran.get()), (4, 1));
}

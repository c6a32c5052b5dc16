//! NU-6, deadlines and shields.

use std::{pin::Pin, thread};

use fourway_core::{
    BlockOn, Timer,
    cancel::{self, CancellationToken, Reason},
};

use crate::{
    Case,
    cases::table,
    nursery::{Kind, Settings, Work},
    setup::Setup,
    util::{Counter, Gate, HandMade, OnDrop, drive, eventually, never},
};

use super::{Here, LONG, MS, endless, fails, for_ever, ok, spawn, timeout, trouble, value};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "NU-6.1", "a deadline cancels children and body, and is told apart",
        "a timeout that looks like any other error", cancels, extended;
        "NU-6.2", "it waits for the destructors and closures of those it has cancelled",
        "tokio's timeout around a JoinSet: aborted is not stopped", waits, extended;
        "NU-6.3", "a deadline that has cut nothing short is no error",
        "late, and complete", late, extended;
        "NU-6.4", "children are asked first, and have the grace period to end in",
        "a connection that could have said goodbye", asked_first, extended;
        "NU-6.5", "after the grace period they are dropped",
        "one that does not listen", then_dropped, extended;
        "NU-6.6", "a shielded section finishes, and nothing in it is asked to end",
        "trio's shield; a transaction that is torn apart", shielded, extended;
        "NU-6.7", "after its shielded section a child is dropped at its next await",
        "a shield is not a pardon", after_the_shield, extended;
        "NU-6.8", "a shield holds through five levels of async and sync code",
        "trio 2544, anyio 837: shields within shields", deep, extended;
    ]
}

/// A nursery within a token whose deadline the case triggers.
fn within(token: &CancellationToken) -> Settings {
    Settings {
        token: Some(token.clone()),
        ..Settings::default()
    }
}

fn cancels<S: Setup>(s: S) {
    let here = Here::of(s);
    let (begun, destroyed) = (Gate::new(), Counter::new());
    let child = endless(&begun, &destroyed);
    let nursery = here.run_with(timeout(20 * MS), |n| async move {
        // Refused and dropped if a slow machine lets the deadline pass before this.
        drop(n.spawn(child));
        for_ever().await
    });
    let trouble = trouble(drive(nursery));
    assert_eq!((trouble.kind, destroyed.get()), (Kind::Timeout, 1));
    assert!(trouble.failures.is_empty(), "{trouble:?}");
}

fn waits<S: Setup>(s: S) {
    let here = Here::of(s);
    let (go, goes) = Gate::pair();
    let ended = Counter::new();
    let (count, dropped) = (ended.clone(), ended.clone());
    let (running, runs) = Gate::pair();
    let token = CancellationToken::new();
    let nursery = here.run_with(within(&token), |n| async move {
        spawn(
            &n,
            Work::task(HandMade {
                poll: |_: &mut std::task::Context<'_>| std::task::Poll::Pending,
                on_drop: Box::new(OnDrop(move || {
                    thread::sleep(20 * MS);
                    dropped.add();
                })),
            }),
        );
        spawn(
            &n,
            Work::closure(move || {
                running.open();
                eventually("it is asked to end", cancel::is_cancelled);
                goes.wait();
                count.add();
                ok(0)
            }),
        );
        for_ever().await
    });
    let host = thread::spawn(move || drive(nursery));
    runs.wait();
    token.cancel_with(Reason::Deadline);
    never("it returns before its closure has", || host.is_finished());
    go.open();
    eventually("the nursery ends", || host.is_finished());
    let trouble = trouble(host.join().unwrap());
    assert_eq!((trouble.kind, ended.get()), (Kind::Timeout, 2));
}

fn late<S: Setup>(s: S) {
    let here = Here::of(s);
    let token = CancellationToken::new();
    let deadline = token.clone();
    let nursery = here.run_with(within(&token), |n| async move {
        spawn(
            &n,
            Work::closure(move || {
                deadline.cancel_with(Reason::Deadline);
                // It has ignored the request, and is complete.
                ok(0)
            }),
        );
        ok(2)
    });
    assert_eq!(value(drive(nursery)), 2);
}

fn asked_first<S: Setup>(s: S) {
    let here = Here::of(s);
    let said_goodbye = Counter::new();
    let rt = here.rt.clone();
    let count = said_goodbye.clone();
    let (running, runs) = Gate::pair();
    let token = CancellationToken::new();
    let settings = Settings {
        grace: LONG,
        ..within(&token)
    };
    let nursery = here.run_with(settings, |n| async move {
        spawn(
            &n,
            Work::task(async move {
                running.open();
                cancel::current().cancelled().await;
                // Time enough for the drop.
                rt.sleep(10 * MS).await;
                count.add();
                cancel::check()?;
                ok(0)
            }),
        );
        runs.opened().await;
        token.cancel_with(Reason::Deadline);
        cancel::current().cancelled().await;
        cancel::check()?;
        ok(0)
    });
    let trouble = trouble(drive(nursery));
    assert_eq!((trouble.kind, said_goodbye.get()), (Kind::Timeout, 1));
    assert!(trouble.failures.is_empty(), "{trouble:?}");
}

fn then_dropped<S: Setup>(s: S) {
    let here = Here::of(s);
    let (begun, destroyed) = (Gate::new(), Counter::new());
    let child = endless(&begun, &destroyed);
    let settings = Settings {
        grace: 5 * MS,
        ..timeout(MS)
    };
    let nursery = here.run_with(settings, |n| async move {
        spawn(&n, child);
        for_ever().await
    });
    let trouble = trouble(drive(nursery));
    assert_eq!((trouble.kind, destroyed.get()), (Kind::Timeout, 1));
}

fn shielded<S: Setup>(s: S) {
    let here = Here::of(s);
    let finished = Counter::new();
    let count = finished.clone();
    let shields = here.clone();
    let nursery = here.run(move |n| async move {
        let (inside, is_inside) = Gate::pair();
        let (go, goes) = Gate::pair();
        spawn(
            &n,
            Work::task(async move {
                let rt = shields.rt;
                let section = async move {
                    inside.open();
                    goes.opened().await;
                    rt.sleep(MS).await;
                    if !cancel::is_cancelled() {
                        count.add();
                    }
                };
                shields.nurseries.shield(Box::pin(section)).await;
                ok(0)
            }),
        );
        is_inside.opened().await;
        n.cancel();
        go.open();
        ok(0)
    });
    value(drive(nursery));
    assert_eq!(
        finished.get(),
        1,
        "the section was cut short, or asked to end"
    );
}

fn after_the_shield<S: Setup>(s: S) {
    let here = Here::of(s);
    let (finished, went_on, destroyed) = (Counter::new(), Counter::new(), Counter::new());
    let (count, on, on_drop) = (finished.clone(), went_on.clone(), destroyed.on_drop());
    let shields = here.nurseries;
    let nursery = here.run(move |n| async move {
        let (inside, is_inside) = Gate::pair();
        let (go, goes) = Gate::pair();
        spawn(
            &n,
            Work::task(async move {
                let _on_drop = on_drop;
                let section = async move {
                    inside.open();
                    goes.opened().await;
                    count.add();
                };
                shields.shield(Box::pin(section)).await;
                for_ever().await?;
                on.add();
                ok(0)
            }),
        );
        is_inside.opened().await;
        n.cancel();
        go.open();
        ok(0)
    });
    value(drive(nursery));
    assert_eq!((finished.get(), went_on.get(), destroyed.get()), (1, 0, 1));
}

fn deep<S: Setup>(s: S) {
    /// A nursery whose child is a closure that blocks on a nursery ...
    fn level(
        here: Here,
        depth: usize,
        inside: Gate,
        goes: Gate,
        count: Counter,
    ) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        Box::pin(async move {
            if depth == 0 {
                inside.open();
                goes.opened().await;
                here.rt.sleep(MS).await;
                if !cancel::is_cancelled() {
                    count.add();
                }
                return true;
            }
            let again = here.clone();
            let nursery = here.run(move |n| async move {
                spawn(
                    &n,
                    Work::closure(move || {
                        let rt = again.rt.clone();
                        let below = rt.block_on(level(again, depth - 1, inside, goes, count));
                        if below { ok(0) } else { fails("below") }
                    }),
                );
                ok(0)
            });
            nursery.await.is_ok()
        })
    }
    let here = Here::of(s);
    let finished = Counter::new();
    let count = finished.clone();
    let inner = here.clone();
    let nursery = here.run(move |n| async move {
        let (inside, is_inside) = Gate::pair();
        let (go, goes) = Gate::pair();
        spawn(
            &n,
            Work::task(async move {
                let shield = inner.nurseries;
                let levels = level(inner, 5, inside, goes, count);
                shield
                    .shield(Box::pin(async move {
                        assert!(levels.await, "a level was cut short");
                    }))
                    .await;
                ok(0)
            }),
        );
        is_inside.opened().await;
        n.cancel();
        go.open();
        ok(0)
    });
    value(drive(nursery));
    assert_eq!(finished.get(), 1);
}

//! NU-2, failures, and the policy.

use std::thread;

use fourway_core::{
    cancel::{self, CancellationToken},
    yield_now,
};

use crate::{
    Case,
    cases::table,
    nursery::{Failure, Kind, Settings, Work},
    setup::Setup,
    util::{Counter, Gate, drive, eventually, never},
};

use super::{
    Here, MS, endless, fails, for_ever, number, ok, spawn, supervise, texts, trouble, value,
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "NU-2.1", "the first failure cancels the siblings and the body, and is what is reported",
        "JoinSet, FuturesUnordered: the rest runs on until somebody looks", fails_fast, extended;
        "NU-2.2", "failures after the first one are reported with it, in their order",
        "try_join: the second error is lost", second_failure, extended;
        "NU-2.3", "children that are cancelled are counted, and have not failed",
        "tokio's JoinError: a cancelled sibling looks like one more failure", not_failures, extended;
        "NU-2.4", "a body that fails cancels its children, and its failure is the first",
        "a body is one of them", body_fails, extended;
        "NU-2.5", "with supervision a failure leaves the siblings alone, and is reported in the end",
        "Kotlin's supervisorScope", supervised, extended;
        "NU-2.6", "the first success gives its value, and cancels the rest",
        "trio 1089 and others: the losers of a race run on", first_success, extended;
        "NU-2.7", "without a success there are all failures; without a child an error of its own",
        "a race of nobody that hangs", no_success, extended;
        "NU-2.8", "collected values come in the order of spawning",
        "JoinSet::join_all: in the order in which they ended", in_order, extended;
        "NU-2.9", "a nursery that cancels itself gives what its body gave",
        "trio: cancel_scope.cancel() is no error", cancels_itself, extended;
        "NU-2.10", "cancelled from outside it says so, and that is no failure",
        "who cancelled, and who failed, are two questions", from_outside, extended;
    ]
}

fn fails_fast<S: Setup>(s: S) {
    let here = Here::of(s);
    let (begun, destroyed, asked) = (Gate::new(), Counter::new(), Counter::new());
    let (opens, count, looked) = (begun.clone(), destroyed.clone(), asked.clone());
    let nursery = here.run(|n| async move {
        spawn(&n, endless(&opens, &count));
        opens.opened().await;
        let (running, runs) = Gate::pair();
        spawn(
            &n,
            Work::closure(move || {
                running.open();
                eventually("the closure is asked to end", cancel::is_cancelled);
                looked.add();
                ok(0)
            }),
        );
        runs.opened().await;
        spawn(&n, Work::task(async { fails("first") }));
        for_ever().await
    });
    let trouble = trouble(drive(nursery));
    assert_eq!(
        (trouble.kind, destroyed.get(), asked.get()),
        (Kind::Failed, 1, 1)
    );
    assert_eq!(texts(&trouble.failures), ["first"]);
}

fn second_failure<S: Setup>(s: S) {
    let here = Here::of(s);
    let nursery = here.run(|n| async move {
        let (running, runs) = Gate::pair();
        spawn(
            &n,
            Work::closure(move || {
                running.open();
                eventually("the closure is asked to end", cancel::is_cancelled);
                fails("second")
            }),
        );
        runs.opened().await;
        spawn(&n, Work::task(async { fails("first") }));
        ok(0)
    });
    let trouble = trouble(drive(nursery));
    assert_eq!(texts(&trouble.failures), ["first", "second"]);
}

fn not_failures<S: Setup>(s: S) {
    let here = Here::of(s);
    let nursery = here.run(|n| async move {
        let (begun, destroyed) = (Gate::new(), Counter::new());
        spawn(&n, endless(&begun, &destroyed));
        begun.opened().await;
        let (running, runs) = Gate::pair();
        spawn(
            &n,
            Work::closure(move || {
                running.open();
                loop {
                    cancel::check()?;
                    thread::sleep(MS);
                }
            }),
        );
        runs.opened().await;
        spawn(&n, Work::task(async { fails("first") }));
        ok(0)
    });
    let trouble = trouble(drive(nursery));
    assert_eq!(texts(&trouble.failures), ["first"]);
    assert_eq!(trouble.cancelled, 2, "cancellations are counted");
}

fn body_fails<S: Setup>(s: S) {
    let here = Here::of(s);
    let destroyed = Counter::new();
    let count = destroyed.clone();
    // Also if failures of children are ignored.
    for settings in [Settings::default(), supervise()] {
        let count = count.clone();
        let nursery = here.run_with(settings, |n| async move {
            let begun = Gate::new();
            spawn(&n, endless(&begun, &count));
            begun.opened().await;
            let (running, runs) = Gate::pair();
            spawn(
                &n,
                Work::closure(move || {
                    running.open();
                    eventually("the closure is asked to end", cancel::is_cancelled);
                    fails("child")
                }),
            );
            runs.opened().await;
            fails("body")
        });
        let trouble = trouble(drive(nursery));
        assert_eq!(trouble.kind, Kind::Failed);
        assert_eq!(texts(&trouble.failures), ["body", "child"]);
    }
    assert_eq!(destroyed.get(), 2);
}

fn supervised<S: Setup>(s: S) {
    let here = Here::of(s);
    let finished = Counter::new();
    let count = finished.clone();
    let (go, goes) = Gate::pair();
    let failed = Counter::new();
    let told = failed.clone();
    let nursery = here.run_with(supervise(), |n| async move {
        let done = count.clone();
        spawn(
            &n,
            Work::task(async move {
                goes.opened().await;
                done.add();
                ok(0)
            }),
        );
        spawn(
            &n,
            Work::task(async move {
                let _told = told.on_drop();
                fails("task")
            }),
        );
        eventually_async(&failed, 1).await;
        let told = failed.on_drop();
        spawn(
            &n,
            Work::closure(move || {
                let _told = told;
                fails("closure")
            }),
        );
        eventually_async(&failed, 2).await;
        // Both have failed, and their siblings run.
        for _ in 0..20 {
            yield_now().await;
        }
        go.open();
        count.add();
        ok(0)
    });
    let trouble = trouble(drive(nursery));
    assert_eq!(finished.get(), 2, "the siblings and the body finish");
    assert_eq!(trouble.kind, Kind::Failed);
    let mut all = texts(&trouble.failures);
    all.sort_unstable();
    assert_eq!(all, ["closure", "task"]);
    assert_eq!(trouble.cancelled, 0);
}

async fn eventually_async(counter: &Counter, count: usize) {
    while counter.get() < count {
        yield_now().await;
    }
}

fn first_success<S: Setup>(s: S) {
    let here = Here::of(s);
    let (begun, destroyed) = (Gate::new(), Counter::new());
    let begins = begun.clone();
    let children = vec![
        endless(&begun, &destroyed),
        Work::task(async { fails("one that has no luck") }),
        Work::task(async move {
            begins.opened().await;
            ok(5)
        }),
        Work::closure(|| {
            eventually("the losers are asked to end", cancel::is_cancelled);
            fails("too late")
        }),
    ];
    let nursery = here
        .nurseries
        .first_success(&here.rt, Settings::default(), children);
    assert_eq!(value(drive(nursery)), 5);
    assert_eq!(destroyed.get(), 1, "a loser is still there");
}

fn no_success<S: Setup>(s: S) {
    let here = Here::of(s);
    let children = vec![
        Work::task(async { fails("task") }),
        Work::closure(|| fails("closure")),
    ];
    let first_success = |children| {
        let settings = Settings::default();
        trouble(drive(
            here.nurseries.first_success(&here.rt, settings, children),
        ))
    };
    let all = first_success(children);
    assert_eq!(all.kind, Kind::Failed);
    let mut said = texts(&all.failures);
    said.sort_unstable();
    assert_eq!(said, ["closure", "task"]);
    let none = first_success(Vec::new());
    assert_eq!(none.kind, Kind::Empty);
}

fn in_order<S: Setup>(s: S) {
    let here = Here::of(s);
    let (go, goes) = Gate::pair();
    let children = vec![
        Work::task(async move {
            goes.opened().await;
            ok(1)
        }),
        Work::closure(move || {
            go.open();
            thread::sleep(MS);
            ok(2)
        }),
        Work::task(async { ok(3) }),
    ];
    let collect = here
        .nurseries
        .collect(&here.rt, Settings::default(), children);
    let values = drive(collect).expect("nothing has failed");
    let numbers: Vec<u32> = values.into_iter().map(number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

fn cancels_itself<S: Setup>(s: S) {
    let here = Here::of(s);
    let (begun, destroyed) = (Gate::new(), Counter::new());
    let child = endless(&begun, &destroyed);
    let nursery = here.run(|n| async move {
        spawn(&n, child);
        begun.opened().await;
        n.cancel();
        ok(8)
    });
    assert_eq!(value(drive(nursery)), 8);
    assert_eq!(destroyed.get(), 1);
}

fn from_outside<S: Setup>(s: S) {
    let here = Here::of(s);
    let token = CancellationToken::new();
    let (begun, destroyed) = (Gate::new(), Counter::new());
    let child = endless(&begun, &destroyed);
    let settings = Settings {
        token: Some(token.clone()),
        ..Settings::default()
    };
    let nursery = here.run_with(settings, |n| async move {
        spawn(&n, child);
        for_ever().await
    });
    let host = thread::spawn(move || drive(nursery));
    begun.wait();
    never("the nursery ends by itself", || host.is_finished());
    token.cancel();
    eventually("the nursery ends", || host.is_finished());
    let trouble = trouble(host.join().unwrap());
    assert_eq!((trouble.kind, destroyed.get()), (Kind::Cancelled, 1));
    assert!(
        !trouble
            .failures
            .iter()
            .any(|one| matches!(one, Failure::Error(_) | Failure::Join(_))),
        "{trouble:?}"
    );
}

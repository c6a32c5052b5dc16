//! NU-4, a panic cancels when it happens.

use std::{pin::Pin, task::Waker};

use crate::{
    Case,
    cases::table,
    nursery::{Kind, Work},
    setup::Setup,
    util::{Counter, Gate, OnDrop, drive, eventually, panic_quietly, poll_once},
};

use super::{Failure, Here, endless, for_ever, ok, spawn, supervise, texts, trouble};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "NU-4.1", "a panic cancels when it happens, and not when somebody looks",
        "JoinSet: siblings run on until join_next is called", at_once, extended;
        "NU-4.2", "the payload of a child's panic reaches the parent",
        "async-scoped, rayon and others: some panic or other", payload, extended;
        "NU-4.3", "a panic of the body is a failure like a child's, and the children are waited for",
        "it unwinds past the children, and they run on", of_the_body, extended;
        "NU-4.4", "a destructor that panics as its child is cancelled has failed",
        "natively it is swallowed on Tokio", of_a_destructor, extended;
    ]
}

fn at_once<S: Setup>(s: S) {
    let here = Here::of(s);
    for closure in [false, true] {
        let (begun, destroyed) = (Gate::new(), Counter::new());
        let (go, goes) = Gate::pair();
        let sibling = endless(&begun, &destroyed);
        let mut nursery = here.run(move |n| async move {
            spawn(&n, sibling);
            spawn(
                &n,
                if closure {
                    Work::closure(move || {
                        goes.wait();
                        panic_quietly("on purpose")
                    })
                } else {
                    Work::task(async move {
                        goes.opened().await;
                        panic_quietly("on purpose")
                    })
                },
            );
            for_ever().await
        });
        let first = poll_once(&mut Pin::new(&mut nursery), Waker::noop());
        assert!(first.is_pending());
        begun.wait();
        go.open();
        // The nursery is not polled.
        eventually("the sibling is cancelled", || destroyed.get() == 1);
        let trouble = trouble(drive(nursery));
        assert_eq!(texts(&trouble.failures), ["panic: on purpose"]);
    }
}

/// The panic payload.
struct Thrown(u32);

fn payload<S: Setup>(s: S) {
    let here = Here::of(s);
    let nursery = here.run_with(supervise(), |n| async move {
        spawn(
            &n,
            Work::task(async { std::panic::resume_unwind(Box::new(Thrown(1))) }),
        );
        spawn(
            &n,
            Work::closure(|| std::panic::resume_unwind(Box::new(Thrown(2)))),
        );
        ok(0)
    });
    let trouble = trouble(drive(nursery));
    assert_eq!(trouble.kind, Kind::Failed);
    let mut thrown: Vec<u32> = trouble
        .failures
        .into_iter()
        .map(|failure| match failure {
            Failure::Join(error) if error.is_panic() => {
                let payload = error.into_panic();
                payload.downcast::<Thrown>().expect("what was thrown").0
            }
            other => panic!("not a panic: {other:?}"),
        })
        .collect();
    thrown.sort_unstable();
    assert_eq!(thrown, [1, 2]);
}

fn of_the_body<S: Setup>(s: S) {
    let here = Here::of(s);
    let destroyed = Counter::new();
    let count = destroyed.clone();
    let nursery = here.run(|n| async move {
        let begun = Gate::new();
        spawn(&n, endless(&begun, &count));
        begun.opened().await;
        panic_quietly("the body")
    });
    let trouble = trouble(drive(nursery));
    assert_eq!(trouble.kind, Kind::Failed);
    assert_eq!(texts(&trouble.failures), ["panic: the body"]);
    assert_eq!(destroyed.get(), 1);
    // Before it has given a future.
    let nursery =
        here.run(|_| -> std::future::Ready<crate::nursery::Output> { panic_quietly("at once") });
    let trouble = super::trouble(drive(nursery));
    assert_eq!(texts(&trouble.failures), ["panic: at once"]);
}

fn of_a_destructor<S: Setup>(s: S) {
    let here = Here::of(s);
    let nursery = here.run(|n| async move {
        let (begun, begins) = Gate::pair();
        spawn(
            &n,
            Work::task(async move {
                let _bomb = OnDrop(|| panic_quietly("a destructor"));
                begun.open();
                for_ever().await
            }),
        );
        begins.opened().await;
        n.cancel();
        ok(0)
    });
    let trouble = trouble(drive(nursery));
    assert_eq!(texts(&trouble.failures), ["panic: a destructor"]);
}

//! CX-3, values travel with the work: into the children of nurseries.

use std::{pin::Pin, task::Waker, thread};

use fourway_core::{
    BlockOn,
    cancel::{self, CancellationToken, Reason},
    values::{Key, Values},
};

use crate::{
    Case,
    cases::table,
    nursery::{Kind, Settings, Work},
    setup::Setup,
    util::{Counter, Gate, drive, eventually, poll_once},
};

use super::{Here, LONG, endless, for_ever, ok, spawn, trouble, value};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "CX-3.8", "values travel into the children of a nursery, and nothing comes back",
        "a request's id that its helpers do not know", values, extended;
        "CX-3.9", "the token travels into tasks, closures and re-entrant calls of a nursery",
        "a token that must be passed through everything", token, extended;
        "CX-3.10", "a nursery within another is cancelled with it, and has its deadline",
        "a scope that does not know of the one around it", nested, extended;
    ]
}

static REQUEST: Key<u32> = Key::new("request");

fn values<S: Setup>(s: S) {
    let here = Here::of(s);
    let seen = Counter::new();
    let count = seen.clone();
    let nursery = here.run(|n| async move {
        for closure in [false, true] {
            let count = count.clone();
            let look = move || {
                if REQUEST.get() == Some(7) {
                    count.add();
                }
                // Its own value, as long as it runs.
                Values::current().with(&REQUEST, 8).scope(|| ok(0))
            };
            let work = if closure {
                Work::closure(look)
            } else {
                Work::task(async move { look() })
            };
            spawn(&n, work);
        }
        ok(0)
    });
    let around = Values::default().with(&REQUEST, 7);
    value(drive(around.scope_future(nursery)));
    assert_eq!(seen.get(), 2, "a child does not see the value");
    assert_eq!(REQUEST.get(), None);
}

fn token<S: Setup>(s: S) {
    let here = Here::of(s);
    let rt = here.rt.clone();
    let (tell, told) = std::sync::mpsc::channel();
    let nursery = here.run(|n| async move {
        let in_task = tell.clone();
        spawn(
            &n,
            Work::task(async move {
                in_task.send(cancel::try_current()).unwrap();
                ok(0)
            }),
        );
        let in_closure = tell.clone();
        spawn(
            &n,
            Work::closure(move || {
                in_closure.send(cancel::try_current()).unwrap();
                rt.block_on(async { in_closure.send(cancel::try_current()) })
                    .unwrap();
                ok(0)
            }),
        );
        tell.send(cancel::try_current()).unwrap();
        tell.send(Some(n.token())).unwrap();
        drop(tell);
        n.closed().await;
        ok(0)
    });
    let mut nursery = nursery;
    assert!(poll_once(&mut Pin::new(&mut nursery), Waker::noop()).is_pending());
    let mut tokens = Vec::new();
    while let Ok(token) = told.recv() {
        tokens.push(token.expect("there is a current token"));
    }
    assert_eq!(tokens.len(), 5);
    drop(nursery);
    for token in tokens {
        assert!(token.is_cancelled(), "not the nursery's token");
    }
    assert!(cancel::try_current().is_none(), "it leaks back");
}

fn nested<S: Setup>(s: S) {
    let here = Here::of(s);
    for by_deadline in [false, true] {
        let (begun, destroyed) = (Gate::new(), Counter::new());
        let child = endless(&begun, &destroyed);
        let token = CancellationToken::new();
        let settings = Settings {
            token: Some(token.clone()),
            timeout: by_deadline.then_some(LONG),
            ..Settings::default()
        };
        let inner = here.clone();
        let nursery = here.run_with(settings, move |n| async move {
            spawn(
                &n,
                Work::closure(move || {
                    let nursery = inner.run(move |n| async move {
                        let has_deadline = n.token().deadline().is_some();
                        assert_eq!(has_deadline, by_deadline, "the deadline");
                        spawn(&n, child);
                        for_ever().await
                    });
                    let rt = inner.rt.clone();
                    let trouble = trouble(rt.block_on(nursery));
                    let kind = if by_deadline {
                        Kind::Timeout
                    } else {
                        Kind::Cancelled
                    };
                    assert_eq!(trouble.kind, kind);
                    ok(0)
                }),
            );
            for_ever().await
        });
        let host = thread::spawn(move || drive(nursery));
        begun.wait();
        if by_deadline {
            token.cancel_with(Reason::Deadline);
        } else {
            token.cancel();
        }
        eventually("both end", || host.is_finished());
        let trouble = trouble(host.join().unwrap());
        assert!(trouble.failures.is_empty(), "{trouble:?}");
        assert_eq!(destroyed.get(), 1);
    }
}

//! CX-3, values travel with the work.

use std::{
    future::{pending, ready},
    sync::mpsc,
    task::Poll,
};

use fourway_core::{
    AnyRuntime, BlockOn, Call, Offload, Runtime, Spawner, Task,
    layer::Propagate,
    values::{Key, Values},
    yield_now,
};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Gate, HandMade, OnDrop, at_thread_end, on_thread, panic_quietly, receive},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "CX-3.1", "values are visible in tasks, closures and calls, at every poll",
        "delta-kernel-rs 1422: trace context lost across spawn and offload", values_visible;
        "CX-3.2", "values are visible in re-entrant calls, to any depth",
        "request ids belong into nested work as well", values_nested;
        "CX-3.3", "values do not leak back or sideways",
        "anyio tests it: the worker's change is not in the caller", values_stay;
        "CX-3.4", "a pooled thread keeps nothing of earlier work, panics included",
        "trio 3472: a pooled thread leaked an earlier context", values_forgotten;
        "CX-3.5", "values are visible while a task is destroyed",
        "clean-up wants to log the request id too", values_in_drop;
        "CX-3.6", "a refused closure comes back from a propagating runtime as it was",
        "the wrapper's own closure is not the user's", values_refused;
        "CX-3.7", "work of a propagating runtime that asks for the current one finds that",
        "what a library starts by itself lost the request id", layer_found;
        "CX-3.11", "a scope of values works in the destructor of a thread-local",
        "what a thread does last wants to log the request id too", values_at_thread_end;
    ]
}

static REQUEST: Key<u32> = Key::new("request");

static OTHER: Key<&str> = Key::new("other");

fn with<T>(request: u32, f: impl FnOnce() -> T) -> T {
    Values::current().with(&REQUEST, request).scope(f)
}

fn values_visible<S: Setup>(s: S) {
    let rt = Propagate::new(s.build());
    let inner = rt.clone();
    let task = with(1, || {
        rt.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..3 {
                seen.push(REQUEST.get());
                yield_now().await;
                seen.push(REQUEST.get());
                inner.offload(|| ()).await.unwrap();
            }
            seen
        })
    });
    // Joined, and so woken, where there are no values.
    assert_eq!(rt.block_on(task).unwrap(), [Some(1); 6]);
    let closure = with(2, || rt.offload(|| REQUEST.get()));
    assert_eq!(rt.block_on(closure).unwrap(), Some(2));
    let closure = with(3, || rt.try_offload(|| REQUEST.get()).expect("no bound"));
    assert_eq!(rt.block_on(closure).unwrap(), Some(3));
    let calls = with(4, || {
        let call = rt.call(async { REQUEST.get() }).spawn();
        (call, rt.call_blocking(|| REQUEST.get()).spawn())
    });
    assert_eq!(rt.block_on(calls.0).unwrap(), Some(4));
    assert_eq!(rt.block_on(calls.1).unwrap(), Some(4));
    let root = with(5, || rt.block_on(async { REQUEST.get() }));
    assert_eq!(root, Some(5));
    let in_place = with(6, || rt.block_in_place(|| REQUEST.get()));
    assert_eq!(in_place, Ok(Some(6)));
    let waited = with(7, || rt.call_blocking(|| REQUEST.get()).wait());
    assert_eq!(waited, Some(7));
}

fn values_nested<S: Setup>(s: S) {
    fn descend<R: Runtime>(rt: R, depth: u32) -> u32 {
        if depth == 0 {
            return REQUEST.get().unwrap_or_default();
        }
        let inner = rt.clone();
        let task = rt.spawn(async move {
            let again = inner.clone();
            inner
                .offload(move || descend(again, depth - 1))
                .await
                .unwrap()
        });
        rt.block_on(task).unwrap()
    }
    let rt = Propagate::new(s.build_with(|config| config.offload_limit = 1));
    let inner = rt.clone();
    assert_eq!(with(9, || descend(inner, 5)), 9);
    let inner = rt.clone();
    let closure = with(10, || rt.offload(move || descend(inner, 3)));
    assert_eq!(rt.block_on(closure).unwrap(), 10);
    assert_eq!(REQUEST.get(), None);
}

fn values_stay<S: Setup>(s: S) {
    let rt = Propagate::new(s.build());
    with(1, || {
        // Another value inside of the work,
        let inner = rt.clone();
        let task = rt.spawn(async move {
            let below = with(2, || inner.offload(|| with(3, || REQUEST.get())));
            let seen = Values::current()
                .with(&REQUEST, 4)
                .with(&OTHER, "inside")
                .scope_future(async {
                    yield_now().await;
                    (REQUEST.get(), OTHER.get())
                })
                .await;
            (below.await.unwrap(), seen, REQUEST.get(), OTHER.get())
        });
        let seen = rt.block_on(task).unwrap();
        assert_eq!(seen, (Some(3), (Some(4), Some("inside")), Some(1), None));
        // is not seen outside of it, nor by siblings.
        assert_eq!((REQUEST.get(), OTHER.get()), (Some(1), None));
        let sibling = rt.spawn(async { (REQUEST.get(), OTHER.get()) });
        assert_eq!(rt.block_on(sibling).unwrap(), (Some(1), None));
    });
    // The values captured at the spawn count, whatever follows.
    let (go, gate) = Gate::pair();
    let early = with(5, || {
        rt.spawn(async move {
            gate.opened().await;
            REQUEST.get()
        })
    });
    with(6, || {
        go.open();
        assert_eq!(rt.block_on(early).unwrap(), Some(5));
        assert_eq!(REQUEST.get(), Some(6));
    });
    assert_eq!(REQUEST.get(), None);
}

fn values_forgotten<S: Setup>(s: S) {
    // One thread for each kind of work, so that it is used again.
    let plain = s.build_with(|config| {
        config.workers = 1;
        config.offload_limit = 1;
    });
    let rt = Propagate::new(plain.clone());
    for n in 0..10 {
        let panics = n % 2 == 0;
        let closure = with(n, || {
            rt.offload(move || {
                if panics {
                    panic_quietly("on purpose");
                }
                REQUEST.get()
            })
        });
        assert_eq!(rt.block_on(closure).is_err(), panics);
        let task = with(n, || {
            rt.spawn(async move {
                yield_now().await;
                if panics {
                    panic_quietly("on purpose");
                }
                REQUEST.get()
            })
        });
        assert_eq!(rt.block_on(task).is_err(), panics);
        for rt in [rt.get_ref(), &plain] {
            let closure = rt.offload(|| Values::current().is_empty());
            assert!(rt.block_on(closure).unwrap());
            let task = rt.spawn(async { Values::current().is_empty() });
            assert!(rt.block_on(task).unwrap());
        }
        assert_eq!(rt.block_on(rt.offload(|| REQUEST.get())).unwrap(), None);
        assert_eq!(
            rt.block_on(rt.spawn(async { REQUEST.get() })).unwrap(),
            None
        );
    }
}

fn values_in_drop<S: Setup>(s: S) {
    let rt = Propagate::new(s.build());
    let (tell, told) = mpsc::channel();
    let tells = move || {
        let tell = tell.clone();
        OnDrop(move || {
            let _ = tell.send(REQUEST.get());
        })
    };
    // Ready,
    let poll = |_: &mut std::task::Context<'_>| Poll::Ready(());
    let on_drop = tells();
    let task = with(1, || rt.spawn(HandMade { poll, on_drop }));
    rt.block_on(task).unwrap();
    assert_eq!(receive(&told), Some(1));
    // cancelled while suspended,
    let value = tells();
    let (started, gate) = Gate::pair();
    let task = with(2, || {
        rt.spawn(async move {
            let _value = value;
            started.open();
            pending::<()>().await;
        })
    });
    gate.wait();
    assert!(rt.block_on(task.cancel()).unwrap_err().is_cancelled());
    assert_eq!(receive(&told), Some(2));
    // a closure's captures.
    let value = tells();
    let closure = with(3, || rt.offload(move || drop(value)));
    rt.block_on(closure).unwrap();
    assert_eq!(receive(&told), Some(3));
}

fn layer_found<S: Setup>(s: S) {
    fn child() -> impl Future<Output = Option<u32>> {
        let found = AnyRuntime::current().expect("this is work of a runtime");
        let task = found.spawn(async { REQUEST.get() });
        async move { task.await.unwrap() }
    }
    let rt = Propagate::new(s.build());
    let spawned = with(1, || rt.spawn(async { child().await }));
    assert_eq!(rt.block_on(spawned).unwrap(), Some(1));
    let inner = rt.clone();
    let offloaded = with(2, || rt.offload(move || inner.block_on(child())));
    assert_eq!(rt.block_on(offloaded).unwrap(), Some(2));
    let root = with(3, || rt.block_on(async { child().await }));
    assert_eq!(root, Some(3));
}

fn values_at_thread_end<S: Setup>(s: S) {
    let rt = s.build();
    // Thread-locals are destroyed in the order of their first use, or in the reverse: so the values
    // are first used before the local whose destructor asks, and after it.
    for used_before in [true, false] {
        let (tell, told) = mpsc::channel();
        let rt = rt.clone();
        on_thread(move || {
            let use_it = || with(1, || rt.block_on(rt.spawn(ready(()))).unwrap());
            if used_before {
                use_it();
            }
            at_thread_end(move || {
                let seen = with(2, || {
                    (REQUEST.get(), with(3, || REQUEST.get()), REQUEST.get())
                });
                let _ = tell.send((seen, REQUEST.get()));
            });
            if !used_before {
                use_it();
            }
        });
        assert_eq!(receive(&told), ((Some(2), Some(3), Some(2)), None));
    }
}

fn values_refused<S: Setup>(s: S) {
    let rt = Propagate::new(s.build_with(|config| {
        config.offload_limit = 1;
        config.offload_queue = Some(0);
    }));
    let (go, gate) = Gate::pair();
    let running = rt.try_offload(move || gate.wait()).expect("a free slot");
    let drops = Counter::new();
    let value = drops.on_drop();
    let refused = with(1, || {
        rt.try_offload(move || {
            drop(value);
            REQUEST.get()
        })
    });
    let refused = refused.err().expect("full");
    assert!(refused.is_full());
    assert_eq!(drops.get(), 0);
    let closure = refused.into_inner();
    // The user runs it: it sees the values that are current here.
    assert_eq!(with(2, closure), Some(2));
    assert_eq!(drops.get(), 1);
    go.open();
    rt.block_on(running).unwrap();
}

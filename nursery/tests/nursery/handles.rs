//! A nursery's handle takes what the nursery takes, as long as it is open.

use std::{
    collections::BTreeSet,
    future::{Future, IntoFuture, poll_fn},
    pin::pin,
    sync::OnceLock,
    task::Poll,
};

use fourway_core::Runtime;
use fourway_nursery::{Nursery, NurseryHandle};
use fourway_testing::{Counter, Gate, each, run};

use super::forever;

/// The public methods that a file defines.
fn methods(source: &str) -> BTreeSet<&str> {
    // Indented: of a type.
    let methods = source
        .lines()
        .filter_map(|line| line.strip_prefix("    pub fn "));
    methods
        .filter_map(|rest| rest.split(['<', '(']).next())
        .collect()
}

#[test]
fn a_handle_has_the_methods_of_the_nursery() {
    let of_nursery = methods(include_str!("../../src/nursery.rs"));
    let of_handle = methods(include_str!("../../src/nursery_handle.rs"));
    let only = |left: &BTreeSet<&'static str>, right: &BTreeSet<&'static str>| -> Vec<&str> {
        left.difference(right).copied().collect()
    };
    assert!(of_nursery.contains("try_call"), "{of_nursery:?}");
    // Those open a nursery, are for the body that reads, or need no nursery; a handle is cloned.
    let missing = ["builder", "handle", "results", "shield"];
    assert_eq!(only(&of_nursery, &of_handle), missing);
    assert_eq!(only(&of_handle, &of_nursery), ["closed", "is_closed"]);
}

#[test]
fn a_handle_takes_calls_until_the_nursery_is_over() {
    each(|rt| {
        let dropped = Counter::default();
        let mut kept = None;
        let output = run(&rt, async {
            Nursery::builder(&rt)
                .limit(1)
                .run(async |n| {
                    let n = n.handle();
                    assert_eq!((n.len(), n.is_empty()), (1, false));
                    let loaded = n.call_handle(rt.call(async { Ok(1) })).unwrap();
                    let sum = loaded.await.unwrap();
                    let counted = n.call_handle(rt.call_blocking(|| Ok(2))).unwrap();
                    let sum = sum + counted.await.unwrap();
                    n.spawn(forever()).unwrap().await;
                    let refused = n.try_call(rt.call(async { Ok(()) })).unwrap_err();
                    assert!(refused.is_full());
                    n.cancel();
                    kept = Some(n);
                    Ok::<_, String>(sum)
                })
                .await
        });
        assert_eq!(output.unwrap(), 3);
        let n = kept.unwrap();
        run(&rt, n.closed());
        assert_eq!((n.len(), n.is_empty()), (0, true));

        // The call comes back unused: it can be made elsewhere.
        let on_drop = dropped.on_drop();
        let call = n.runtime().call(async move {
            let _on_drop = on_drop;
            Ok::<_, String>(4)
        });
        let refused = n.try_call(call).unwrap_err();
        assert!(refused.is_closed());
        let refused = n.call_handle(refused.into_inner()).unwrap_err();
        assert!(refused.is_closed());
        assert_eq!(dropped.get(), 0);
        assert_eq!(run(&rt, refused.into_inner().into_future()).unwrap(), 4);
    });
}

/// The body of the call is all that there is: no child any more, and the nursery is open.
#[test]
fn a_nursery_is_not_empty_while_the_body_of_a_cancelled_call_runs() {
    each(|rt| {
        let (kept, go) = (OnceLock::new(), Gate::default());
        run(&rt, async {
            let mut nursery = pin!(Nursery::builder(&rt).run(async |n| {
                let n = kept.get_or_init(|| n.handle());
                let begun = Gate::default();
                let (is_there, gate) = (begun.clone(), go.clone());
                n.call(rt.call_blocking(move || {
                    is_there.open();
                    gate.wait();
                    Ok::<_, String>(())
                }))
                .unwrap();
                begun.pass().await;
                n.cancel();
                Ok(())
            }));
            poll_fn(|cx| {
                assert!(nursery.as_mut().poll(cx).is_pending());
                if kept.get().map(NurseryHandle::len) == Some(0) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            let n = kept.get().unwrap();
            assert_eq!((n.is_empty(), n.is_closed()), (false, false));
            go.open();
            nursery.await.unwrap();
            n.closed().await;
            assert_eq!((n.is_empty(), n.is_closed()), (true, true));
        });
    });
}

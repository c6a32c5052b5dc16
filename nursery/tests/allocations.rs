//! The allocations of children, counted exactly, as the guide states them. One test, on a runtime
//! that its thread drives, so that no other code is counted.

use std::{
    convert::Infallible,
    future::{Future, pending},
};

use fourway_core::{
    Offload, Runtime, Spawner, Task,
    cancel::{self, CancellationToken},
    values::{Key, Values},
    yield_now,
};
use fourway_nursery::{Nursery, NurseryError, nursery, scope};
use fourway_testing::Counting;
use fourway_tokio::Tokio;

#[global_allocator]
static COUNTING: Counting = Counting;

type Done = Result<(), Infallible>;

/// Allocations in 100 rounds, after 200 in which lists grow to what they need.
async fn steady<F: Future>(mut round: impl FnMut() -> F) -> usize {
    for _ in 0..200 {
        round().await;
    }
    let before = Counting::of_this_thread();
    for _ in 0..100 {
        round().await;
    }
    Counting::of_this_thread() - before
}

/// Lets the spawned children run to their end; the body stays, and a child that waits.
async fn settle<R: Runtime>(n: &Nursery<R, Infallible>) {
    while n.len() > 2 {
        yield_now().await;
    }
}

#[test]
fn a_child_allocates_what_a_task_does_and_one_block_for_a_handle() {
    static KEY: Key<u32> = Key::new("key");
    let native = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let rt = Tokio::from_handle(native.handle().clone());
    native.block_on(async {
        let bare = steady(|| {
            rt.spawn(async { Done::Ok(()) }).detach();
            yield_now()
        })
        .await;
        let bare_closure = steady(|| async {
            rt.offload(|| ()).await.unwrap();
        })
        .await;
        let token = CancellationToken::new();
        let values = token.attach(Values::current().with(&KEY, 7));
        let result: Result<(), NurseryError<Infallible>> = values
            .scope_future(nursery(&rt, async |n| {
                // The list of waiters gives its memory back when it is empty.
                n.spawn(pending::<Done>());
                let child = steady(async || {
                    n.spawn(async { Done::Ok(()) });
                    settle(n).await;
                })
                .await;
                assert_eq!(child, bare, "a child without a handle, 100 times");

                let suspended = steady(async || {
                    n.spawn(async {
                        yield_now().await;
                        Done::Ok(())
                    });
                    settle(n).await;
                })
                .await;
                assert_eq!(suspended, bare, "one that is suspended, 100 times");

                let without = n.without_context();
                let without = steady(async || {
                    without.spawn(async { Done::Ok(()) });
                    settle(n).await;
                })
                .await;
                assert_eq!(without, bare, "one without context, 100 times");

                // A child spawns others as the body does, with the same context.
                let handle = n.handle();
                let of_child = n.spawn_handle(async move {
                    let of_child = steady(|| {
                        let spawned = handle.spawn(async { Done::Ok(()) });
                        assert!(spawned.is_ok());
                        yield_now()
                    });
                    Ok(of_child.await)
                });
                let of_child = of_child.await.unwrap();
                assert_eq!(of_child, bare, "a child of a child, 100 times");

                static OTHER: Key<u32> = Key::new("other");
                let added = steady(async || {
                    let values = Values::current().with(&OTHER, 7);
                    values.scope(|| n.spawn(async { Done::Ok(()) }));
                    settle(n).await;
                })
                .await;
                assert_eq!(added, bare + 100, "the value's own, 100 times");

                // Without the body's context, as from another thread through a handle.
                let from_outside = steady(async || {
                    Values::default().scope(|| n.spawn(async { Done::Ok(()) }));
                    settle(n).await;
                })
                .await;
                assert_eq!(from_outside, bare + 100, "from outside, 100 times");

                let handle = steady(async || {
                    n.spawn_handle(async { Ok(1) }).await.unwrap();
                    settle(n).await;
                })
                .await;
                assert_eq!(handle, bare + 100, "one with a handle, 100 times");

                let mut results = n.results();
                let result = steady(|| {
                    results.spawn(async { Ok(1) });
                    let next = results.try_next();
                    assert!(next.is_none_or(|result| result.is_ok()));
                    settle(n)
                })
                .await;
                assert_eq!(result, bare, "a result, 100 times");

                let closure = steady(async || {
                    n.offload(|| Done::Ok(()));
                    settle(n).await;
                })
                .await;
                // The pool may have started a thread meanwhile: less than one allocation for each
                // closure.
                assert!(
                    closure < bare_closure + 100,
                    "a closure, 100 times: {closure}, bare {bare_closure}"
                );

                let call = steady(async || {
                    n.call(n.runtime().call(async { Done::Ok(()) }));
                    settle(n).await;
                })
                .await;
                assert_eq!(call, bare + 100, "a call, 100 times");
                n.cancel();
                Ok(())
            }))
            .await;
        result.unwrap();

        // Its state and one entry among the values, which most never make a token for.
        let nurseries = steady(async || {
            let ended = nursery(&rt, async |n| {
                n.spawn(async { Done::Ok(()) });
                cancel::check().expect("not cancelled");
                Ok(())
            });
            ended.await.expect("nothing fails");
        })
        .await;
        assert_eq!(nurseries, bare + 200, "a nursery of one child, 100 times");

        let result: Result<(), NurseryError<Infallible>> = scope(async |s| {
            let scoped = steady(|| {
                s.spawn(async { Done::Ok(()) });
                yield_now()
            })
            .await;
            assert_eq!(scoped, 100, "a future in a scope, 100 times");
            Ok(())
        })
        .await;
        result.unwrap();
    });
}

//! Children without context, in every form of a nursery.

use fourway_core::{
    cancel::{self, Reason},
    values::{Key, Values},
};
use fourway_nursery::{Nursery, SyncNursery, nursery};
use fourway_testing::{Counter, Gate, each, poll_once, run};

use crate::{Result, forever};

static KEY: Key<u32> = Key::new("key");

/// The context that a child finds: the value, and whether there is a token.
type Found = (Option<u32>, bool);

const ALL: Found = (Some(7), true);
const NOTHING: Found = (None, false);

fn found() -> std::result::Result<Found, String> {
    Ok((KEY.get(), cancel::try_current().is_some()))
}

#[test]
fn nurseries_that_are_owned_spawn_them_too() {
    each(|rt| {
        let builder = Nursery::<_, String>::builder(&rt);
        let owned = builder.run_owned(|n| async move {
            let without = n.without_context();
            let children = [
                n.spawn_handle(async { found() }).unwrap(),
                without.spawn_handle(async { found() }).unwrap(),
                without.offload_handle(found).unwrap(),
                n.named("name")
                    .without_context()
                    .offload_handle(found)
                    .unwrap(),
            ];
            let mut all = Vec::new();
            for child in children {
                all.push(child.await.unwrap());
            }
            Ok(all)
        });
        let values = Values::current().with(&KEY, 7);
        let all = run(&rt, values.scope_future(owned)).unwrap();
        assert_eq!(all, [ALL, NOTHING, NOTHING, NOTHING]);
    });
}

#[test]
fn and_those_that_collect() {
    each(|rt| {
        let builder = Nursery::<_, String>::builder(&rt);
        let collected = builder.try_collect(async |n| {
            n.spawn(async { found() });
            n.without_context().spawn(async { found() });
            Ok(())
        });
        let values = Values::current().with(&KEY, 7);
        let all = run(&rt, values.clone().scope_future(collected)).unwrap();
        assert_eq!(all, [ALL, NOTHING]);

        let first = Nursery::<_, String>::builder(&rt).first_success(async |n| {
            n.without_context().offload(found);
            Ok(())
        });
        assert_eq!(run(&rt, values.scope_future(first)).unwrap(), NOTHING);
    });
}

#[test]
fn and_sync_ones() {
    each(|rt| {
        let values = Values::current().with(&KEY, 7);
        let all = values.clone().scope(|| {
            SyncNursery::<String>::builder(&rt).try_collect(|n| {
                n.spawn(found);
                n.without_context().spawn(found);
                let other = Values::current().with(&KEY, 8);
                other.scope(|| n.spawn(found));
                Ok(())
            })
        });
        assert_eq!(all.unwrap(), [ALL, NOTHING, (Some(8), true)]);
        let both = values.scope(|| {
            SyncNursery::<String>::builder(&rt).run(|n| {
                let without = n.without_context();
                let child = without.spawn_handle(|| {
                    // The inner nursery still belongs to the child.
                    let inner = Nursery::<_, String>::builder(&rt).run(async |_| found());
                    Ok((
                        found()?,
                        run(&rt, inner).map_err(|error| error.to_string())?,
                    ))
                });
                Ok((n.spawn_handle(found).join().unwrap(), child.join().unwrap()))
            })
        });
        assert_eq!(both.unwrap(), (ALL, (NOTHING, (None, true))));
    });
}

/// Without a token around it, a nursery makes its own for the first who asks: a child, here, while
/// the nursery's future waits in its body or for its children.
#[test]
fn a_token_that_is_first_asked_for_by_a_child_cancels_the_nursery() {
    each(|rt| {
        for in_its_body in [true, false] {
            let (asked, dropped) = (Gate::default(), Counter::default());
            let mut nursery = Box::pin(nursery(&rt, async |n| {
                assert!(!cancel::is_cancelled() && cancel::check().is_ok());
                let (asked, on_drop) = (asked.clone(), dropped.on_drop());
                n.spawn(async move {
                    asked.pass().await;
                    let token = cancel::current();
                    assert!(cancel::try_current().unwrap().is_same(&token));
                    assert!(!cancel::is_cancelled());
                    token.cancel_with("enough");
                    assert!(cancel::is_cancelled());
                    let _on_drop = on_drop;
                    forever().await
                });
                if in_its_body { forever().await } else { Ok(()) }
            }));
            let result: Result<()> = run(&rt, async {
                assert!(poll_once(nursery.as_mut()).await.is_pending());
                asked.open();
                nursery.await
            });
            let error = result.unwrap_err();
            assert_eq!(error.reason(), Some(&Reason::from("enough")));
            assert_eq!(dropped.get(), 1);
        }
    });
}

/// What is asked through the nursery and what work finds among its values is one token, whoever asks
/// first, and also if the nursery is over by then.
#[test]
fn the_token_of_a_nursery_is_one_whoever_asks_first() {
    each(|rt| {
        for body_first in [true, false] {
            let mut of_body = None;
            let result: Result<Values> = run(
                &rt,
                nursery(&rt, async |n| {
                    if body_first {
                        of_body = Some(n.token().clone());
                    }
                    let found = n.spawn_handle(async { Ok(cancel::current()) });
                    assert!(found.await.unwrap().is_same(n.token()));
                    let other =
                        Values::default().scope(|| n.spawn_handle(async { Ok(cancel::current()) }));
                    assert!(other.await.unwrap().is_same(n.token()));
                    assert!(cancel::current().is_same(n.token()));
                    Ok(Values::current())
                }),
            );
            let values = result.unwrap();
            if let Some(token) = of_body {
                assert!(values.scope(cancel::current).is_same(&token));
            }
        }
        // Nobody has asked, and nobody is left to make it: a fresh one.
        let result: Result<Values> = run(&rt, nursery(&rt, async |_| Ok(Values::current())));
        let values = result.unwrap();
        let token = values.clone().scope(cancel::current);
        assert!(!token.is_cancelled());
        assert!(values.scope(cancel::current).is_same(&token));
    });
}

/// Work that has kept the values of a nursery that was dropped half-way finds it cancelled.
#[test]
fn values_of_a_nursery_that_was_dropped_are_cancelled() {
    each(|rt| {
        let mut kept = None;
        run(&rt, async {
            let mut nursery = Box::pin(nursery(&rt, async |_| {
                kept = Some(Values::current());
                forever().await
            }));
            assert!(poll_once(nursery.as_mut()).await.is_pending());
        });
        let values = kept.unwrap();
        let reason = values.clone().scope(|| cancel::current().reason());
        assert_eq!(reason, Some(Reason::Dropped));
        assert!(values.scope(cancel::is_cancelled));
    });
}

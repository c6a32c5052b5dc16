//! Children into which nothing travels, in every form of a nursery.

use fourway_core::{
    cancel,
    values::{Key, Values},
};
use fourway_nursery::{Nursery, SyncNursery};
use fourway_testing::{each, run};

static KEY: Key<u32> = Key::new("key");

/// What there is of context: the value, and whether there is a token.
type Found = (Option<u32>, bool);

const ALL: Found = (Some(7), true);
const NOTHING: Found = (None, false);

fn found() -> Result<Found, String> {
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
                    // A nursery in it is the child's all the same.
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

//! What destructors may do in a nursery: the table of the guide, where the suite has no case for it.

use std::{future::ready, time::Duration};

use fourway_core::{
    AnyRuntime, BlockOn, Offload, Spawner, Task,
    cancel::{self, Reason},
    values::{Key, Values},
};
use fourway_nursery::{Nursery, NurseryHandle, SyncNursery};
use fourway_testing::{Counter, Gate, each, run};

use super::{Result, forever};

struct AtDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

static REQUEST: Key<u32> = Key::new("request");

/// What it may do wherever it runs.
fn anywhere(rt: &AnyRuntime, done: &Counter) {
    assert_eq!(REQUEST.get(), Some(7), "the child's values");
    let (spawned, offloaded) = (done.clone(), done.clone());
    rt.spawn(async move { spawned.add() }).detach();
    rt.offload(move || offloaded.add()).detach();
}

/// What it may do on a thread that runs async code, which has cancelled the child.
fn in_async_code(n: &NurseryHandle<AnyRuntime, String>, rt: &AnyRuntime, done: &Counter) {
    let reason = cancel::try_current().and_then(|token| token.reason());
    assert_eq!(reason, Some(Reason::NotNeeded), "the child's token");
    let refused = n.spawn(async { Ok(()) }).unwrap_err();
    assert!(refused.is_cancelled(), "the child is given back");
    assert!(rt.try_block_on(ready(())).unwrap_err().is_nested());
    assert!(cancel::try_sleep(Duration::ZERO).unwrap_err().is_nested());
    anywhere(rt, done);
    done.add();
}

#[test]
fn the_destructor_of_a_cancelled_child_asks_spawns_and_is_not_let_block() {
    each(|rt| {
        let done = Counter::default();
        let ended: Result<()> = run(&rt, async {
            let nursery = Nursery::builder(&rt);
            let body = nursery.run(async |n| {
                let begun = Gate::default();
                let (n, rt, done, is_there) = (n.handle(), rt.clone(), done.clone(), begun.clone());
                let inner = n.clone();
                let at_drop = AtDrop(move || in_async_code(&inner, &rt, &done));
                let child = async move {
                    let _at_drop = at_drop;
                    is_there.open();
                    forever().await
                };
                let values = Values::current().with(&REQUEST, 7);
                values.scope(|| drop(n.spawn(child).unwrap()));
                begun.pass().await;
                n.cancel();
                Ok(())
            });
            body.await
        });
        // A destructor that panics is a failure.
        ended.unwrap();
        fourway_testing::eventually("all that it has started", || done.get() == 3);
    });
}

/// The thread that cancels drops it (OF-3, cancelled closures).
#[test]
fn the_captures_of_a_closure_that_never_started_are_not_let_block_in_async_code() {
    each(|rt| {
        let done = Counter::default();
        let ended: Result<()> = run(&rt, async {
            let nursery = Nursery::builder(&rt).limit(1);
            let body = nursery.run(async |n| {
                n.spawn(forever());
                let (handle, rt, counted) = (n.handle(), rt.clone(), done.clone());
                let at_drop = AtDrop(move || in_async_code(&handle, &rt, &counted));
                let in_line = move || -> std::result::Result<(), String> {
                    let _at_drop = at_drop;
                    unreachable!("there is no place for it")
                };
                let values = Values::current().with(&REQUEST, 7);
                values.scope(|| drop(n.offload(in_line)));
                let before = done.get();
                n.cancel();
                assert!(done.get() > before, "by the thread that cancels");
                Ok(())
            });
            body.await
        });
        ended.unwrap();
        fourway_testing::eventually("all that it has started", || done.get() == 3);
    });
}

#[test]
fn destructors_in_closures_and_threads_of_children_may_block() {
    each(|rt| {
        let done = Counter::default();
        let at_drop = || {
            let (rt, done) = (rt.clone(), done.clone());
            AtDrop(move || {
                assert_eq!(rt.block_on(async { 1 }), 1);
                assert_eq!(rt.offload(|| 2).wait().unwrap(), 2);
                assert_eq!(cancel::sleep(Duration::ZERO), Ok(()));
                anywhere(&rt, &done);
                done.add();
            })
        };
        let ended: Result<()> = run(&rt, async {
            let nursery = Nursery::builder(&rt);
            let body = nursery.run(async |n| {
                let at_drop = at_drop();
                let values = Values::current().with(&REQUEST, 7);
                drop(values.scope(|| {
                    n.offload(move || {
                        let _at_drop = at_drop;
                        Ok(())
                    })
                }));
                Ok(())
            });
            body.await
        });
        ended.unwrap();
        let ended: Result<()> = SyncNursery::builder(&rt).run(|n| {
            let at_drop = at_drop();
            Values::current().with(&REQUEST, 7).scope(|| {
                n.spawn(move || {
                    let _at_drop = at_drop;
                    Ok(())
                });
            });
            Ok(())
        });
        ended.unwrap();
        fourway_testing::eventually("all that they have started", || done.get() == 6);
    });
}

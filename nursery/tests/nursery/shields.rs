//! Nurseries on every runtime: sections that finish first.

use std::{future::pending, time::Duration};

use fourway_core::{
    AnyRuntime, Timer,
    cancel::{self, Reason},
    yield_now,
};
use fourway_nursery::{Nursery, nursery, shield};
use fourway_testing::{Counter, Gate, each, run};

use crate::{Result, forever};

#[test]
fn a_shield_finishes_first() {
    each(|rt| {
        let finished = Counter::default();
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                let (in_shield, finished) = (Gate::default(), finished.clone());
                let (rt, entered) = (n.runtime().clone(), in_shield.clone());
                n.spawn(async move {
                    shield(async {
                        entered.open();
                        rt.sleep(Duration::from_millis(10)).await;
                        assert!(cancel::check().is_ok());
                        finished.add();
                    })
                    .await;
                    // And here it ends.
                    forever().await
                });
                in_shield.pass().await;
                Err("body".to_owned())
            }),
        );
        assert_eq!((finished.get(), result.unwrap_err().cancelled()), (1, 1));
    });
}

#[test]
fn a_shield_holds_through_five_levels_of_sync_and_async() {
    fn nest(rt: &AnyRuntime, level: u32, in_shield: Gate, finished: Counter) -> Result<()> {
        use fourway_core::BlockOn;
        rt.block_on(async {
            nursery(rt, async |n| {
                let (rt, finished) = (n.runtime().clone(), finished.clone());
                if level > 0 {
                    n.offload(move || {
                        nest(&rt, level - 1, in_shield, finished).map_err(|e| e.to_string())
                    });
                } else {
                    n.spawn(async move {
                        in_shield.open();
                        rt.sleep(Duration::from_millis(10)).await;
                        cancel::check().map_err(|e| e.to_string())?;
                        finished.add();
                        Ok(())
                    });
                }
                Ok(())
            })
            .await
        })
    }
    each(|rt| {
        let finished = Counter::default();
        let builder = Nursery::builder(&rt);
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                let (in_shield, finished, inner) =
                    (Gate::default(), finished.clone(), n.runtime().clone());
                let entered = in_shield.clone();
                n.spawn(async move {
                    shield(async move {
                        let rt = inner.clone();
                        fourway_core::Offload::offload(&inner, move || {
                            nest(&rt, 2, entered, finished)
                        })
                        .await
                    })
                    .await
                    .unwrap()
                    .map_err(|e| e.to_string())
                });
                in_shield.pass().await;
                n.token().cancel_with(Reason::Shutdown);
                pending().await
            }),
        );
        assert_eq!(result.unwrap_err().reason(), Some(&Reason::Shutdown));
        assert_eq!(
            finished.get(),
            1,
            "the token inside of the shield does not leave it with a closure"
        );
    });
}

#[test]
fn a_body_that_leaves_its_shield_when_it_is_to_be_dropped_is_dropped() {
    each(|rt| {
        let finished = Counter::default();
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                n.spawn(async { Err::<(), _>("child".to_owned()) });
                n.shield(async {
                    n.token().cancelled().await;
                    for _ in 0..3 {
                        yield_now().await;
                    }
                    finished.add();
                })
                .await;
                pending().await
            }),
        );
        assert_eq!(result.unwrap_err().failures().len(), 1);
        assert_eq!(finished.get(), 1);
    });
}

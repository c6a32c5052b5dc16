//! Nurseries on every runtime: deadlines, grace periods, and cancellations from outside.

use std::{future::pending, time::Duration};

use fourway_core::{
    cancel::{self, CancellationToken, Reason},
    yield_now,
};
use fourway_nursery::{Nursery, nursery};
use fourway_testing::{AGES, Counter, each, run};

use crate::{Result, forever};

#[test]
fn a_deadline_cancels_waits_and_is_told_apart() {
    each(|rt| {
        let dropped = Counter::default();
        let builder = Nursery::builder(&rt).timeout(Duration::from_millis(10));
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                let on_drop = dropped.on_drop();
                n.spawn(async move {
                    let _on_drop = on_drop;
                    forever().await
                });
                let on_drop = dropped.on_drop();
                n.offload(move || {
                    let _on_drop = on_drop;
                    let slept = cancel::sleep(AGES);
                    assert!(slept.unwrap_err().is_deadline());
                    Ok(())
                });
                Ok(())
            }),
        );
        let error = result.unwrap_err();
        assert!(error.is_timeout() && !error.is_cancelled());
        assert_eq!((dropped.get(), error.failures().len()), (2, 0));

        // Inherited, also by the one inside, which is no more than cut short.
        let builder = Nursery::builder(&rt).timeout(Duration::from_millis(10));
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                let rt = n.runtime().clone();
                n.spawn(async move {
                    let inner: Result<()> = nursery(&rt, async |_| pending().await).await;
                    inner.map_err(|error| error.to_string())
                });
                Ok(())
            }),
        );
        assert!(result.unwrap_err().is_timeout());
    });
}

#[test]
fn what_is_done_before_the_deadline_is_not_lost_to_it() {
    each(|rt| {
        let builder = Nursery::builder(&rt)
            .timeout(Duration::from_millis(5))
            .grace(AGES);
        let result: Result<u32> = run(
            &rt,
            builder.run(async |n| {
                let token = n.token().clone();
                n.spawn(async move {
                    token.cancelled().await;
                    Ok(())
                });
                n.token().cancelled().await;
                Ok(1)
            }),
        );
        assert_eq!(result.unwrap(), 1);
    });
}

#[test]
fn grace_asks_first_and_drops_then() {
    each(|rt| {
        let (asked, dropped) = (Counter::default(), Counter::default());
        // As long as it takes.
        let result: Result<()> = run(
            &rt,
            Nursery::builder(&rt).grace(AGES).run(async |n| {
                let asked = asked.clone();
                n.spawn(async move {
                    cancel::current().cancelled().await;
                    yield_now().await;
                    asked.add();
                    Ok(())
                });
                Err("body".to_owned())
            }),
        );
        assert_eq!((asked.get(), result.unwrap_err().cancelled()), (1, 0));
        // Not for ever.
        let builder = Nursery::builder(&rt).grace(Duration::from_millis(5));
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                let on_drop = dropped.on_drop();
                n.spawn(async move {
                    let _on_drop = on_drop;
                    forever().await
                });
                Err("body".to_owned())
            }),
        );
        assert_eq!((dropped.get(), result.unwrap_err().cancelled()), (1, 1));
    });
}

#[test]
fn a_cancelled_scope_around_cancels_it() {
    each(|rt| {
        let token = CancellationToken::new();
        let result: Result<()> = run(
            &rt,
            token.scope_future(async {
                nursery(&rt, async |n| {
                    assert!(!n.token().is_same(&token));
                    n.spawn(pending::<std::result::Result<(), String>>());
                    token.cancel_with(Reason::Shutdown);
                    pending().await
                })
                .await
            }),
        );
        let error = result.unwrap_err();
        assert_eq!(
            (error.is_cancelled(), error.reason()),
            (true, Some(&Reason::Shutdown))
        );
    });
}

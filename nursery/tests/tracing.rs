//! The span that is current where a child is spawned is current in the child.

use fourway_core::{AnyRuntime, BlockOn, Runtime, call::Call, yield_now};
use fourway_nursery::{NurseryError, Started, SyncNursery, nursery, sync_nursery};
use fourway_testing::{Counter, each, run};
use tracing::{Instrument, Span, info_span};

type Result<T = ()> = std::result::Result<T, NurseryError<String>>;

/// The name of the current span.
fn span() -> Option<&'static str> {
    Span::current().metadata().map(|span| span.name())
}

/// Counts if the current span is `request`.
fn look(seen: &Counter) -> impl FnOnce() -> std::result::Result<(), String> + Send + use<> {
    let seen = seen.clone();
    move || {
        assert_eq!(span(), Some("request"));
        seen.add();
        Ok(())
    }
}

async fn looks(seen: Counter, rt: AnyRuntime) -> std::result::Result<(), String> {
    look(&seen)()?;
    yield_now().await;
    look(&seen)()?;
    // A call that is awaited here, and one below that blocks.
    rt.call_blocking(look(&seen)).await?;
    let (again, seen_) = (rt.clone(), seen.clone());
    rt.call_blocking(move || again.block_on(async move { look(&seen_)() }))
        .then(move |_| rt.call_blocking(look(&seen)))
        .await
}

#[test]
fn the_span_goes_into_every_kind_of_child_and_leaks_nowhere() {
    tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
    each(|rt| {
        let seen = Counter::default();
        let result: Result = run(
            &rt,
            nursery(&rt, async |n| {
                let rt = n.runtime();
                info_span!("request").in_scope(|| {
                    n.spawn(looks(seen.clone(), rt.clone()));
                    n.offload(look(&seen));
                    n.call(rt.call_blocking(look(&seen)));
                });
                let started = n
                    .start(async |started: Started<Option<&str>>| {
                        let _ = started.ready(span());
                        Ok(())
                    })
                    .instrument(info_span!("started"));
                assert_eq!(started.await.unwrap(), Some("started"));
                let without = n.without_context();
                let unseen =
                    info_span!("request").in_scope(|| without.spawn_handle(async { Ok(span()) }));
                assert_eq!(unseen.await.unwrap(), None);
                assert_eq!(n.offload_handle(|| Ok(span())).await.unwrap(), None);
                Ok(())
            }),
        );
        result.unwrap();
        assert_eq!(seen.get(), 7);

        let seen = Counter::default();
        let result: Result = info_span!("request").in_scope(|| {
            sync_nursery(&rt, |n| {
                n.spawn(look(&seen));
                Ok(())
            })
        });
        result.unwrap();
        let look_ = look(&seen);
        let offloaded = SyncNursery::builder(&rt).offloaded(move |n| {
            n.spawn(look_);
            Ok(())
        });
        let result: Result = run(&rt, offloaded.instrument(info_span!("request")));
        result.unwrap();
        assert_eq!((seen.get(), span()), (2, None));
    });
}

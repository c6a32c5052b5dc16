//! Work is in its span on every runtime.

use std::{
    fmt,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
};

use fourway_core::{AnyRuntime, prelude::*, yield_now};
use fourway_interop::tracing::Traced;
use tracing::{
    Dispatch, Event, Subscriber,
    field::{Field, Visit},
    info, info_span,
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::filter_fn,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
};

on_every_runtime!(
    work_is_in_its_span,
    spans_end_with_their_work,
    filtered_out_it_stays_with_its_parent,
    goes_on_through_current
);

/// Logs events by the names of their spans.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn contains(&self, line: &str) -> bool {
        self.0.lock().unwrap().iter().any(|logged| logged == line)
    }

    #[track_caller]
    fn assert(&self, line: &str) {
        assert!(
            self.contains(line),
            "{line} is not in {:?}",
            self.0.lock().unwrap()
        );
    }

    fn push(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

/// The fields that the tests look at.
#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(field.name(), "task.name" | "message") {
            self.0 += &format!(" {value:?}");
        }
        if field.name() == "loc.file" {
            let file = format!("{value:?}");
            assert!(file.contains("interop"), "{file}: not the caller's");
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let span = cx.span(id).unwrap();
        let parent = span.parent().map_or("-", |parent| parent.name());
        self.push(format!("{} in {parent}{}", span.name(), fields.0));
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let names = cx.event_scope(event).into_iter().flatten();
        let names: Vec<_> = names.map(|span| span.name()).collect();
        self.push(format!("event{} in {}", fields.0, names.join(" < ")));
    }

    fn on_close(&self, id: Id, cx: Context<'_, S>) {
        self.push(format!("{} ends", cx.span(&id).unwrap().name()));
    }
}

/// A subscriber for this test, on this thread; see [`dispatched`] for others.
fn logging(layer: impl FnOnce(Log) -> Dispatch, test: impl FnOnce(&Log)) {
    // All subscribers share the cached filter result of each call site, and the filters of layers
    // conflict with that while subscribers come and go.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let log = Log::default();
    tracing::dispatcher::with_default(&layer(log.clone()), || test(&log));
}

fn all(log: Log) -> Dispatch {
    Dispatch::new(Registry::default().with(log))
}

/// Events on other threads go to the subscriber of the thread that started the work.
fn dispatched<F: Future>(future: F) -> impl Future<Output = F::Output> {
    use tracing::instrument::WithSubscriber as _;
    future.with_current_subscriber()
}

fn work_is_in_its_span(rt: impl Runtime) {
    let rt = Traced::new(rt);
    logging(all, |log| {
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let request = info_span!("request").entered();
        let task = rt.spawn_named(
            "greeter",
            dispatched(async {
                yield_now().await;
                info!("hello");
            }),
        );
        let inner = dispatch.clone();
        let closure = rt.offload(move || {
            tracing::dispatcher::with_default(&inner, || info!("from a pool"));
        });
        let tried = rt.try_offload(move || {
            tracing::dispatcher::with_default(&dispatch, || info!("tried"));
        });
        rt.block_on(async {
            info!("blocked");
            task.await.unwrap();
            closure.await.unwrap();
            tried.unwrap().await.unwrap();
        });
        drop(request);
        log.assert("task in request \"greeter\"");
        log.assert("event hello in task < request");
        log.assert("closure in request");
        log.assert("block_on in request");
        log.assert("event blocked in block_on < request");
    });
}

fn spans_end_with_their_work(rt: impl Runtime) {
    let rt = Traced::new(rt);
    logging(all, |log| {
        let task = rt.spawn(dispatched(pending::<()>()));
        assert!(!log.contains("task ends"));
        let error = rt.block_on(task.cancel()).unwrap_err();
        assert!(error.is_cancelled());
        log.assert("task ends");
    });
}

fn filtered_out_it_stays_with_its_parent(rt: impl Runtime) {
    let rt = Traced::new(rt);
    let without_ours = |log: Log| {
        let filter = filter_fn(|data| data.target() != "fourway");
        Dispatch::new(Registry::default().with(log.with_filter(filter)))
    };
    logging(without_ours, |log| {
        let request = info_span!("request").entered();
        let task = rt.spawn(dispatched(async { info!("hello") }));
        rt.block_on(task).unwrap();
        drop(request);
        log.assert("event hello in request");
    });
}

fn goes_on_through_current(rt: impl Runtime) {
    let rt = Traced::new(rt);
    logging(all, |log| {
        let task = rt.spawn(dispatched(async {
            let here = AnyRuntime::current().expect("a task is in a runtime");
            here.spawn_named("inner", async {}).await.unwrap();
            here.offload(|| ()).await.unwrap();
        }));
        rt.block_on(task).unwrap();
        log.assert("task in task \"inner\"");
        log.assert("closure in task");
    });
}

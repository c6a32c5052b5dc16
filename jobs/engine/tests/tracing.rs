//! The events of a handler are in the span of its attempt.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use fourway_core::Call;
use fourway_jobs_engine::{
    BoxError, Handlers, JobClient, JobKind, KindContext, KindJob, MemoryEngine, Retry, Worker,
};
use fourway_testing::{each, run};
use tracing::{
    Event, Id, Span, Subscriber,
    field::{Field, Visit},
    info,
    span::Attributes,
};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt},
    registry::LookupSpan,
};

struct Awaited;
struct Blocking;

impl JobKind for Awaited {
    const NAME: &'static str = "future";
    type Args = ();
    type Output = ();

    fn retry() -> Retry {
        Retry::attempts(2).pause(std::time::Duration::ZERO)
    }
}

impl JobKind for Blocking {
    const NAME: &'static str = "closure";
    type Args = ();
    type Output = ();
}

/// The fields of the span around each event.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let scope = context.event_scope(event).into_iter();
        let around = scope.flat_map(|scope| scope.from_root());
        let around: String = around
            .map(|span| {
                let extensions = span.extensions();
                format!("{}{}", span.name(), extensions.get::<Fields>().unwrap().0)
            })
            .collect();
        self.0.lock().unwrap().push(around);
    }
}

#[test]
fn each_attempt_runs_in_a_span() {
    let seen = Seen::default();
    let subscriber = tracing_subscriber::registry().with(seen.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    each(|rt| {
        let engine = Arc::new(MemoryEngine::new(&rt));
        let client = JobClient::new(&rt, engine.clone());
        let handlers = Handlers::new()
            .on(Awaited, |job: KindContext, ()| async move {
                info!("here");
                assert_eq!(job.span(), Span::current());
                (job.attempt() == 2).then_some(()).ok_or("once more")
            })
            .on_blocking(Blocking, |_, ()| {
                info!("here");
                Ok::<_, BoxError>(())
            });
        let _worker = Worker::builder(&rt, engine).handlers(handlers).start();
        seen.0.lock().unwrap().clear();
        let future = client.submit_job(KindJob::new(Awaited, ()).max_attempts(2));
        let future = future.wait().unwrap();
        run(&rt, future.output()).unwrap();
        let closure = client.submit(Blocking, ()).wait().unwrap();
        run(&rt, closure.output()).unwrap();
        let spans = std::mem::take(&mut *seen.0.lock().unwrap());
        let span =
            |id, kind, attempt| format!("job job.id={id} job.kind={kind:?} job.attempt={attempt}");
        let expected = [
            span(future.id(), "future", 1),
            span(future.id(), "future", 2),
            span(closure.id(), "closure", 1),
        ];
        assert_eq!(spans, expected);
    });
}

//! Attempts run in spans, and their events show from which request they come.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use fourway_core::{Call, Runtime, yield_now};
use fourway_jobs::{Job, JobContext, JobManager, JobState, Retry};
use fourway_testing::{Counter, Gate, each, eventually};
use tracing::{
    Event, Id, Span, Subscriber,
    dispatcher::with_default as with_dispatch,
    field::{Field, Visit},
    info, info_span,
    span::Attributes,
    subscriber::with_default,
};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt},
    registry::LookupSpan,
};

/// The fields of the spans around an event, the outermost first.
type Around = Vec<(&'static str, BTreeMap<&'static str, String>)>;

#[derive(Clone, Default)]
struct Seen {
    events: Arc<Mutex<Vec<(String, Around)>>>,
    /// Spans `request` that have closed.
    closed: Counter,
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let span = context.span(id).unwrap();
        span.extensions_mut().insert(fields);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let scope = context.event_scope(event).into_iter();
        let around = scope.flat_map(|scope| scope.from_root()).map(|span| {
            let fields = span.extensions().get::<Fields>().unwrap().0.clone();
            (span.name(), fields)
        });
        let message = fields.0.remove("message").unwrap_or_default();
        self.events
            .lock()
            .unwrap()
            .push((message, around.collect()));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if context.span(&id).unwrap().name() == "request" {
            self.closed.add();
        }
    }
}

impl Seen {
    /// The spans around the events with that message, which are forgotten.
    fn take(&self, message: &str) -> Vec<Around> {
        let mut events = self.events.lock().unwrap();
        let all = std::mem::take(&mut *events).into_iter();
        let (found, others): (Vec<_>, Vec<_>) = all.partition(|(said, _)| said == message);
        *events = others;
        found.into_iter().map(|(_, around)| around).collect()
    }
}

#[test]
fn each_attempt_runs_in_a_span_of_its_request() {
    let seen = Seen::default();
    let subscriber = tracing_subscriber::registry().with(seen.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(4).build();
        let closed = seen.closed.get();
        let request = info_span!("request");
        let ids = request.in_scope(|| {
            let future = jobs.submit(async {
                info!("here");
                yield_now().await;
                info!("here");
            });
            let closure = Job::new(|| info!("here")).name("copy").class("files");
            let again = Job::task(|job: JobContext| async move {
                info!("here");
                assert_eq!(job.span(), Span::current());
                (job.attempt() == 2).then_some(()).ok_or("once more")
            });
            let again = again.retry(Retry::attempts(2).pause(Duration::from_millis(1)));
            let inner = rt.clone();
            let call = jobs.submit(rt.call_with(async move || {
                info!("here");
                // On the pool, in a closure of the call's own.
                let body = || {
                    JobContext::current()
                        .unwrap()
                        .span()
                        .in_scope(|| info!("here"))
                };
                inner.call_blocking(body).await;
            }));
            [
                future.unwrap().id(),
                jobs.submit(closure).unwrap().id(),
                jobs.submit(again).unwrap().id(),
                call.unwrap().id(),
            ]
        });
        drop(request);
        for id in ids {
            jobs.wait(id).wait().unwrap();
        }
        let around = seen.take("here");
        assert_eq!(around.len(), 7);
        for around in &around {
            let names: Vec<_> = around.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, ["request", "job"], "{around:?}");
        }
        let of = |id: &dyn fmt::Display| {
            let id = id.to_string();
            let of = around.iter().map(|around| &around[1].1);
            of.filter(|job| job["job.id"] == id).collect::<Vec<_>>()
        };
        let closure = of(&ids[1]);
        assert_eq!(closure[0]["job.name"], "\"copy\"");
        assert_eq!(closure[0]["job.class"], "\"files\"");
        let attempts: Vec<_> = of(&ids[2]).iter().map(|job| &job["job.attempt"]).collect();
        assert_eq!(attempts, ["1", "2"]);
        // Although the jobs are still known.
        eventually("the request's span is closed", || {
            seen.closed.get() == closed + 1
        });
        assert!(jobs.status(ids[0]).is_ok());
    });
    a_job_without_a_request_has_its_own_span(&seen);
    the_request_may_be_of_another_subscriber();
    a_panic_of_the_subscriber_is_not_the_jobs();
    a_job_that_runs_again_after_its_end_has_no_request(&seen);
    a_span_that_is_not_there_is_no_request(&seen);
}

fn the_request_may_be_of_another_subscriber() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let seen = Seen::default();
        let id = with_default(tracing_subscriber::registry().with(seen.clone()), || {
            // So that the workers' subscriber does not know the request's id.
            let _others: Vec<_> = (0..100).map(|_| info_span!("other")).collect();
            let job = || {
                let span = JobContext::current().unwrap().span();
                span.with_subscriber(|(_, theirs)| with_dispatch(theirs, || info!("theirs")));
            };
            let submitted = info_span!("request").in_scope(|| jobs.submit(job));
            submitted.unwrap().id()
        });
        let ended = jobs.wait(id).wait().unwrap();
        assert_eq!(ended.state, JobState::Completed);
        let around = seen.take("theirs");
        let names: Vec<_> = around[0].iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["request", "job"]);
    });
}

/// Panics over the span of a job, at that moment.
struct Panics(&'static str);

impl Panics {
    fn at<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
        moment: &str,
        id: &Id,
        context: &Context<'_, S>,
    ) {
        let is_job = context.span(id).is_some_and(|span| span.name() == "job");
        assert!(!is_job || self.0 != moment, "the layer panics: {moment}");
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Panics {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.at("new", id, &context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.at("enter", id, &context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.at("exit", id, &context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.at("close", &id, &context);
    }
}

fn a_panic_of_the_subscriber_is_not_the_jobs() {
    each(|rt| {
        for moment in ["new", "enter", "exit", "close"] {
            let jobs = JobManager::builder(&rt).concurrency(2).build();
            let subscriber = tracing_subscriber::registry().with(Panics(moment));
            let ids = with_default(subscriber, || {
                info_span!("request").in_scope(|| {
                    let closure = jobs.submit(|| {}).unwrap().id();
                    [
                        closure,
                        jobs.submit(async { yield_now().await }).unwrap().id(),
                    ]
                })
            });
            for id in ids {
                let ended = jobs.wait(id).wait().unwrap();
                assert_eq!(ended.state, JobState::Completed, "{moment}");
            }
        }
    });
}

/// After others on the same threads; and the span is gone with the attempt.
fn a_job_without_a_request_has_its_own_span(seen: &Seen) {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let request = info_span!("request");
        let first = request.in_scope(|| jobs.submit(|| info!("first")));
        first.unwrap().wait().unwrap();
        let (kept, told) = (Arc::new(Mutex::new(None)), Gate::default());
        let (keeps, tells) = (kept.clone(), told.clone());
        let job = Job::blocking(move |job: JobContext| {
            info!("alone");
            assert!(!job.span().is_none());
            *keeps.lock().unwrap() = Some(job);
            tells.open();
        });
        let id = jobs.submit(job).unwrap().id();
        told.wait();
        jobs.wait(id).wait().unwrap();
        let around = seen.take("alone");
        assert_eq!(around.len(), 1);
        let names: Vec<_> = around[0].iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["job"]);
        assert!(kept.lock().unwrap().as_ref().unwrap().span().is_none());
        assert!(Span::current().is_none());
    });
}

/// Its request is over, and the request's span may have closed.
fn a_job_that_runs_again_after_its_end_has_no_request(seen: &Seen) {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let closed = seen.closed.get();
        let job = Job::task(|job: JobContext| async move {
            info!("again");
            (job.attempt() == 2).then_some(()).ok_or("once more")
        });
        let request = info_span!("request");
        let id = request.in_scope(|| jobs.submit(job)).unwrap().id();
        drop(request);
        assert_eq!(jobs.wait(id).wait().unwrap().state, JobState::Failed);
        eventually("the request's span is closed", || {
            seen.closed.get() == closed + 1
        });
        jobs.retry(id).unwrap();
        assert_eq!(jobs.wait(id).wait().unwrap().state, JobState::Completed);
        let around = seen.take("again").into_iter();
        let names: Vec<_> = around
            .map(|spans| spans.iter().map(|(name, _)| *name).collect::<Vec<_>>())
            .collect();
        assert_eq!(names, [vec!["request", "job"], vec!["job"]]);
    });
}

/// `Span::none` has no subscriber that could be asked for a child.
fn a_span_that_is_not_there_is_no_request(seen: &Seen) {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let job = Span::none().in_scope(|| jobs.submit(|| info!("rootless")));
        job.unwrap().wait().unwrap();
        let around = seen.take("rootless");
        let names: Vec<_> = around[0].iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["job"]);
    });
}

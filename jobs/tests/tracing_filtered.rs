//! Spans of attempts where the subscriber does not want them, and where there is no subscriber.

use fourway_core::Runtime;
use fourway_jobs::{JobContext, JobManager};
use fourway_testing::each;
use tracing::{Span, info_span, level_filters::LevelFilter};
use tracing_subscriber::layer::SubscriberExt;

/// The names of the span that the job's context gives and of the one that is current in its body.
type Names = (Option<&'static str>, Option<&'static str>);

fn names() -> Names {
    let name = |span: &Span| span.metadata().map(|metadata| metadata.name());
    let of_job = JobContext::current().expect("a job").span();
    (name(&of_job), name(&Span::current()))
}

/// One test, as the subscriber is the whole program's.
#[test]
fn an_attempt_without_a_span_runs_in_that_of_its_request() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let request = info_span!("request");
        let names = request.in_scope(|| jobs.submit(names)).unwrap();
        assert_eq!(names.wait().unwrap(), (None, None), "no subscriber");
    });
    // The spans of attempts are of the level `DEBUG`.
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO);
    tracing::subscriber::set_global_default(subscriber).unwrap();
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let alone = jobs.submit(names).unwrap();
        assert_eq!(alone.wait().unwrap(), (None, None), "no request");
        let request = info_span!("request");
        let theirs = (Some("request"), Some("request"));
        request.in_scope(|| {
            let closure = jobs.submit(names).unwrap();
            assert_eq!(closure.wait().unwrap(), theirs);
            let future = jobs.submit(async { names() }).unwrap();
            assert_eq!(future.wait().unwrap(), theirs);
            let call = jobs.submit(rt.call_with(async || names())).unwrap();
            assert_eq!(call.wait().unwrap(), theirs);
        });
        // Nothing of it stays on the thread.
        let alone = jobs.submit(async { names() }).unwrap();
        assert_eq!(alone.wait().unwrap(), (None, None), "after others");
    });
}

//! One engine on many runtimes: [`works_on`].

use std::{sync::Arc, time::Duration};

use fourway_core::{AnyRuntime, Call};
use fourway_jobs_engine::{BoxError, Engine, Handlers, JobClient, JobKind, KindContext, Worker};

/// How long a worker may take to end.
const LONG: Duration = Duration::from_secs(60);

struct Increment;

impl JobKind for Increment {
    const NAME: &'static str = "increment";
    type Args = u32;
    type Output = u32;
}

/// A client and a worker of that runtime submit a job to the engine, run it and read its output. For
/// engines that use a runtime of their own, which must not show: call it with each runtime.
///
/// # Panics
///
/// If the job does not complete.
pub fn works_on(rt: &AnyRuntime, engine: Arc<dyn Engine>) {
    let increment = |_: KindContext, n: u32| async move { Ok::<_, BoxError>(n + 1) };
    let worker = Worker::builder(rt, engine.clone())
        .handlers(Handlers::new().on(Increment, increment))
        .start();
    let job = JobClient::new(rt, engine).submit(Increment, 1).wait();
    let output = job.expect("it is taken").output().wait();
    assert_eq!(output.expect("an output"), 2);
    let report = worker.drain(LONG).wait();
    assert!(report.left.is_empty(), "{report:?}");
}

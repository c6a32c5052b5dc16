//! How many no-op jobs a second are enqueued and processed:
//! `cargo run --release -p fourway-jobs-sqlite --example throughput [JOBS]`.

use std::{error::Error, sync::Arc, time::Instant};

use fourway_core::{BlockOn, Call};
use fourway_jobs_engine::{
    BoxError, Engine, Handlers, JobClient, JobKind, KindJob, MemoryEngine, Worker,
};
use fourway_jobs_sqlite::SqliteEngine;
use fourway_testing::any;

struct Nothing;

impl JobKind for Nothing {
    const NAME: &'static str = "nothing";
    type Args = ();
    type Output = ();
}

/// Submitted at a time, as a server that has many requests does.
const AT_A_TIME: usize = 500;

fn main() -> Result<(), Box<dyn Error>> {
    let jobs: usize = std::env::args()
        .nth(1)
        .map_or(Ok(10_000), |arg| arg.parse())?;
    let rt = any();
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name);
    let relaxed = SqliteEngine::builder(&rt, file("relaxed")).relaxed(true);
    let engines: [(&str, Arc<dyn Engine>); 3] = [
        ("memory", Arc::new(MemoryEngine::new(&rt))),
        ("sqlite, relaxed", Arc::new(relaxed.open().wait()?)),
        (
            "sqlite",
            Arc::new(SqliteEngine::open(&rt, file("synced")).wait()?),
        ),
    ];
    for (name, engine) in engines {
        let client = JobClient::new(&rt, engine.clone());
        let start = Instant::now();
        let mut last = None;
        for from in (0..jobs).step_by(AT_A_TIME) {
            let many = (from..jobs.min(from + AT_A_TIME)).map(|_| KindJob::new(Nothing, ()));
            last = client.submit_all(many).wait()?.pop();
        }
        let submitted = start.elapsed();
        let handlers = Handlers::new().on(Nothing, |_, ()| async { Ok::<_, BoxError>(()) });
        let worker = Worker::builder(&rt, engine.clone())
            .handlers(handlers)
            .concurrency(200)
            .start();
        rt.block_on(async {
            if let Some(last) = last {
                last.output().await?;
            }
            while client.counts().await?.unfinished() > 0 {
                fourway_core::time::yield_now().await;
            }
            Ok::<_, Box<dyn Error>>(())
        })?;
        let all = start.elapsed();
        let rate = |time: std::time::Duration| jobs as f64 / time.as_secs_f64();
        println!(
            "{name}: {:.0} submitted a second; {:.0} submitted and processed a second",
            rate(submitted),
            rate(all),
        );
        drop(worker);
    }
    Ok(())
}

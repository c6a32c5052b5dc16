//! The cost of lists and of forgetting, on a private server: `cargo run --release
//! -p fourway-jobs-nats --example sweep [JOBS [SECONDS]]`.
//!
//! So many jobs have ended. It measures how long the first list of a process takes, which reads all
//! records; how long a later one takes; and how long a sweep takes that forgets all of them.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use async_nats::jetstream;
use fourway_core::{BlockOn, Call, Timer};
use fourway_jobs_engine::{Engine, EngineFuture, Fetch, NewJob, Verdict};
use fourway_jobs_nats::NatsEngine;
use fourway_servers::Nats;
use fourway_testing::any;

/// How many jobs one request concerns.
const AT_A_TIME: usize = 500;

/// How many seconds ended jobs are kept: longer than the first measurements take.
const KEEP: u64 = 30;

type Failed = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1);
    let jobs: usize = args.next().map_or(Ok(50_000), |arg| arg.parse())?;
    let keep = args.next().map_or(Ok(KEEP), |arg| arg.parse())?;
    let keep = Duration::from_secs(keep);
    let server = Nats::start()?;
    let rt = any();
    let open = || {
        let engine = NatsEngine::builder(&rt, server.url());
        engine.sweep_every(Duration::from_millis(100)).open().wait()
    };
    let engine = open()?;
    let ended = rt.block_on(end(&engine, jobs, keep))?;
    println!("{jobs} jobs have ended");

    let other = open()?;
    let counts = || rt.block_on(timed(other.counts()));
    println!("the first look at all of them: {:.2?}", counts()?);
    println!("a later one: {:.2?}", counts()?);

    let rest = keep.saturating_sub(ended.elapsed());
    rt.block_on(rt.sleep(rest));
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let stream = tokio.block_on(async {
        let context = jetstream::new(async_nats::connect(server.url()).await?);
        let name = format!("KV_{}-records", engine.prefix());
        Ok::<_, Failed>(context.get_stream(name).await?)
    })?;
    // A mark of each forgotten job is left, and two values of each other one.
    let values =
        || tokio.block_on(async { stream.get_info().await.map(|info| info.state.messages) });
    let start = Instant::now();
    while values()? > jobs as u64 {
        rt.block_on(engine.maintain())?;
        rt.block_on(rt.sleep(Duration::from_millis(20)));
    }
    let time = start.elapsed();
    println!(
        "a sweep that forgets all of them: {time:.2?}, {:.1?} each",
        time / u32::try_from(jobs)?
    );
    Ok(())
}

/// Submits and completes so many jobs. Gives the moment at which the last one ended.
async fn end(engine: &NatsEngine, jobs: usize, keep: Duration) -> Result<Instant, Failed> {
    for from in (0..jobs).step_by(AT_A_TIME) {
        let many = (from..jobs.min(from + AT_A_TIME)).map(|_| {
            let mut job = NewJob::new("nothing", 1, *b"");
            job.keep = keep;
            job
        });
        engine.submit(many.collect()).await?;
    }
    let mut left = jobs;
    while left > 0 {
        let fetch = Fetch::new("one", vec![("nothing".to_owned(), 1)]);
        let fetched = engine.fetch(fetch.max(AT_A_TIME)).await?;
        left -= fetched.len();
        let done = fetched.into_iter();
        let done = done.map(|job| (job.lease, Verdict::Complete(Vec::new())));
        engine.settle(done.collect()).await?;
    }
    Ok(Instant::now())
}

async fn timed<T>(ask: EngineFuture<T>) -> Result<Duration, Failed> {
    let start = Instant::now();
    ask.await?;
    Ok(start.elapsed())
}

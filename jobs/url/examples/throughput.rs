//! What engines take, side by side:
//! `cargo run --release -p fourway-jobs-url --example throughput [JOBS [URL…]]`.
//!
//! Without URLs: memory, SQLite, and a private PostgreSQL and NATS server, if they are installed.

use std::{
    error::Error,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fourway_core::{AnyRuntime, BlockOn, Call, Timer};
use fourway_jobs_engine::{
    BoxError, Engine, Fetch, Handlers, JobClient, JobKind, KindJob, NewJob, Verdict, Worker,
};
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
    let mut args = std::env::args().skip(1);
    let jobs: usize = args.next().map_or(Ok(10_000), |arg| arg.parse())?;
    let folder = tempfile::tempdir()?;
    let mut urls: Vec<String> = args.collect();
    if urls.is_empty() {
        let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
        urls = vec![
            "memory:".to_owned(),
            file("synced"),
            file("relaxed") + "?relaxed=true",
        ];
        #[cfg(unix)]
        {
            if let Some(url) = fourway_servers::postgres_url() {
                urls.push(format!("{url}?schema=synced"));
                urls.push(format!("{url}?schema=relaxed&relaxed=true"));
            }
            urls.extend(fourway_servers::nats_url());
        }
    }
    let rt = any();
    println!(
        "| engine | submitted a second | submitted and processed a second | submit to start, median | 99 % | a job, {} queued | {} queued |",
        jobs / 10,
        jobs * 10
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for url in urls {
        let engine = fourway_jobs_url::open(&rt, &url).wait()?;
        let relaxed = if url.contains("relaxed=true") {
            ", relaxed"
        } else {
            ""
        };
        let name = format!("{}{relaxed}", engine.name());
        let (submitted, all) = throughput(&rt, &engine, jobs)?;
        let (median, most) = latency(&rt, &engine)?;
        let few = growth(&rt, &engine, "few", jobs / 10)?;
        let many = growth(&rt, &engine, "many", jobs * 10)?;
        println!(
            "| {name} | {submitted:.0} | {all:.0} | {median:.1?} | {most:.1?} | {few:.1?} | {many:.1?} |"
        );
    }
    Ok(())
}

fn throughput(
    rt: &AnyRuntime,
    engine: &Arc<dyn Engine>,
    jobs: usize,
) -> Result<(f64, f64), Box<dyn Error>> {
    let client = JobClient::new(rt, engine.clone());
    let start = Instant::now();
    let mut last = None;
    for from in (0..jobs).step_by(AT_A_TIME) {
        let many = (from..jobs.min(from + AT_A_TIME)).map(|_| KindJob::new(Nothing, ()));
        last = client.submit_all(many).wait()?.pop();
    }
    let submitted = start.elapsed();
    let handlers = Handlers::new().on(Nothing, |_, ()| async { Ok::<_, BoxError>(()) });
    let worker = Worker::builder(rt, engine.clone())
        .handlers(handlers)
        .concurrency(200)
        .start();
    rt.block_on(async {
        if let Some(last) = last {
            last.output().await?;
        }
        while client.counts().await?.unfinished() > 0 {
            rt.sleep(Duration::from_millis(1)).await;
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    let all = start.elapsed();
    worker.drain(Duration::from_secs(5)).wait();
    let rate = |time: Duration| jobs as f64 / time.as_secs_f64();
    Ok((rate(submitted), rate(all)))
}

/// From before it is submitted until its handler begins, one job at a time.
fn latency(
    rt: &AnyRuntime,
    engine: &Arc<dyn Engine>,
) -> Result<(Duration, Duration), Box<dyn Error>> {
    let begun = Arc::new(Mutex::new(None));
    let note = begun.clone();
    let handlers = Handlers::new().on(Nothing, move |_, ()| {
        *note.lock().unwrap() = Some(Instant::now());
        async { Ok::<_, BoxError>(()) }
    });
    let worker = Worker::builder(rt, engine.clone())
        .handlers(handlers)
        .start();
    let client = JobClient::new(rt, engine.clone());
    let mut times = Vec::new();
    for _ in 0..500 {
        let start = Instant::now();
        let job = client.submit(Nothing, ()).wait()?;
        job.output().wait()?;
        let begun = begun.lock().unwrap().take().expect("it has run");
        times.push(begun - start);
    }
    worker.drain(Duration::from_secs(5)).wait();
    times.sort_unstable();
    Ok((times[times.len() / 2], times[times.len() * 99 / 100]))
}

/// What fetching and completing a job takes, fifty at a time, with so many queued.
fn growth(
    rt: &AnyRuntime,
    engine: &Arc<dyn Engine>,
    kind: &str,
    queued: usize,
) -> Result<Duration, Box<dyn Error>> {
    for from in (0..queued).step_by(AT_A_TIME) {
        let many = from..queued.min(from + AT_A_TIME);
        let many = many.map(|_| NewJob::new(kind, 1, ""));
        rt.block_on(engine.submit(many.collect()))?;
    }
    let start = Instant::now();
    let mut done = 0;
    while done < queued.min(1000) {
        let fetch = Fetch::new("measure", vec![(kind.to_owned(), 1)]).max(50);
        let jobs = rt.block_on(engine.fetch(fetch))?;
        done += jobs.len();
        let verdicts = jobs.iter();
        let verdicts = verdicts.map(|job| (job.lease, Verdict::Complete(Vec::new())));
        rt.block_on(engine.settle(verdicts.collect()))?;
    }
    Ok(start.elapsed() / u32::try_from(done.max(1))?)
}

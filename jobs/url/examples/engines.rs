//! The cost of the engines, side by side: `cargo run --release -p fourway-jobs-url --example
//! engines -- [--jobs N] [--growth N] [URL…]`.
//!
//! 10,000 jobs are submitted and processed. Single jobs then show the time from submitting until
//! the handler begins. Then more and more jobs wait: 1,000 at first and ten times as many each
//! time, up to `--growth` or 100,000 (1,000,000 take minutes). The cost of a job must stay the
//! same.
//!
//! Without URLs: memory, SQLite, and a private PostgreSQL and NATS server, if they are installed.

use std::{
    error::Error,
    io::{self, Write},
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

/// How many wait at first.
const FEW: usize = 1_000;

struct Options {
    jobs: usize,
    growth: usize,
    urls: Vec<String>,
}

impl Options {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            jobs: 10_000,
            growth: 100_000,
            urls: Vec::new(),
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number = || -> Result<usize, Box<dyn Error>> {
                let number = args.next().ok_or_else(|| format!("{arg}: how many?"))?;
                Ok(number.replace('_', "").parse()?)
            };
            match &*arg {
                "--jobs" => options.jobs = number()?,
                "--growth" => options.growth = number()?,
                _ if arg.starts_with('-') => {
                    return Err("usage: engines [--jobs N] [--growth N] [URL…]".into());
                }
                _ => options.urls.push(arg),
            }
        }
        Ok(options)
    }

    /// How many jobs wait in each step.
    fn steps(&self) -> Vec<usize> {
        let steps = std::iter::successors(Some(FEW), |step| step.checked_mul(10));
        steps.take_while(|step| *step <= self.growth).collect()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Options::read()?;
    let folder = tempfile::tempdir()?;
    if options.urls.is_empty() {
        let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
        options.urls = vec![
            "memory:".to_owned(),
            file("synced"),
            file("relaxed") + "?relaxed=true",
        ];
        #[cfg(unix)]
        {
            if let Some(url) = fourway_servers::postgres_url() {
                options.urls.push(format!("{url}?schema=synced"));
                let relaxed = format!("{url}?schema=relaxed&relaxed=true");
                options.urls.push(relaxed);
            }
            options.urls.extend(fourway_servers::nats_url());
        }
    }
    let steps = options.steps();
    let rt = any();
    println!(
        "{} jobs, submitted {AT_A_TIME} at a time, 200 processed at a time; and a job with so many queued, fetched and completed 50 at a time\n",
        options.jobs
    );
    print!(
        "| engine | submitted a second | submitted and processed a second | submit to start, p50 | p99 |"
    );
    for step in &steps {
        print!(" {step} queued |");
    }
    println!("\n|---|--:|--:|--:|--:|{}", "--:|".repeat(steps.len()));
    for url in &options.urls {
        let engine = fourway_jobs_url::open(&rt, url).wait()?;
        let relaxed = if url.contains("relaxed=true") {
            ", relaxed"
        } else {
            ""
        };
        let (submitted, all) = throughput(&rt, &engine, options.jobs)?;
        let (median, most) = latency(&rt, &engine)?;
        print!(
            "| {}{relaxed} | {submitted:.0} | {all:.0} | {median:.1?} | {most:.1?} |",
            engine.name()
        );
        let mut queued = 0;
        for step in &steps {
            submit(&rt, &engine, step - queued)?;
            let (taken, each) = fetched(&rt, &engine)?;
            queued = step - taken;
            print!(" {each:.1?} |");
            io::stdout().flush()?;
        }
        println!();
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
    // The worker knows: to ask the engine for its counts again and again would be most of its work.
    rt.block_on(async {
        if let Some(last) = last {
            last.output().await?;
        }
        while worker.status().settled < jobs as u64 {
            rt.sleep(Duration::from_millis(1)).await;
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    let all = start.elapsed();
    let unfinished = client.counts().wait()?.unfinished();
    if unfinished > 0 {
        return Err(format!("{unfinished} of {jobs} jobs have not ended").into());
    }
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

/// The kind of the waiting jobs.
const WAITS: &str = "waits";

fn submit(rt: &AnyRuntime, engine: &Arc<dyn Engine>, many: usize) -> Result<(), Box<dyn Error>> {
    for from in (0..many).step_by(AT_A_TIME) {
        let some = from..many.min(from + AT_A_TIME);
        let some = some.map(|_| NewJob::new(WAITS, 1, ""));
        rt.block_on(engine.submit(some.collect()))?;
    }
    Ok(())
}

/// How many jobs were fetched and completed, and the time for each.
fn fetched(rt: &AnyRuntime, engine: &Arc<dyn Engine>) -> Result<(usize, Duration), Box<dyn Error>> {
    let start = Instant::now();
    let mut done = 0;
    while done < FEW {
        let fetch = Fetch::new("measure", vec![(WAITS.to_owned(), 1)]).max(50);
        let jobs = rt.block_on(engine.fetch(fetch))?;
        if jobs.is_empty() {
            return Err("jobs are queued, and none is handed out".into());
        }
        done += jobs.len();
        let verdicts = jobs.iter();
        let verdicts = verdicts.map(|job| (job.lease, Verdict::Complete(Vec::new())));
        rt.block_on(engine.settle(verdicts.collect()))?;
    }
    Ok((done, start.elapsed() / u32::try_from(done)?))
}

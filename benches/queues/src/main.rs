//! PostgreSQL's engine beside two crates that own a queue's tables there: `cargo run --release
//! --manifest-path benches/queues/Cargo.toml -- [--jobs N] [--rounds N] [--only NAME] [--at-once N]`.
//!
//! 10,000 jobs that do nothing are submitted, 500 at a time, and processed, by a private server and
//! in one process. Each crate is set up for speed by its own means: graphile_worker with the
//! configuration of its own benches, batches of completed jobs and as many at a time as it is
//! fastest with; apalis-postgres with batches as large as what it runs at a time. A server that
//! `FOURWAY_POSTGRES_URL` names keeps the tables.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use apalis::prelude::{BoxDynError, TaskSink, WorkerBuilder, WorkerBuilderExt};
use apalis_postgres::{Config, PgPool, PostgresStorage};
use fourway_core::AnyRuntime;
use fourway_jobs_engine::{BoxError, Handlers, JobClient, JobKind, KindJob, Worker};
use fourway_tokio::Tokio;
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, WorkerContext,
    WorkerOptions,
};
use serde::{Deserialize, Serialize};

/// Submitted at a time.
const AT_A_TIME: usize = 500;

/// How many jobs `graphile_worker` runs at a time, with its 20 connections.
const GRAPHILE_AT_ONCE: usize = 24;

/// How long the jobs of one round may take before it is given up.
const DEADLINE: Duration = Duration::from_secs(300);

/// How many have run.
static RUN: AtomicUsize = AtomicUsize::new(0);

fn main() -> Result<(), Box<dyn Error>> {
    const NAMES: [&str; 3] = ["fourway", "graphile_worker", "apalis"];
    const USAGE: &str =
        "usage: [--jobs N] [--rounds N] [--only fourway|graphile_worker|apalis] [--at-once N]";
    let (mut jobs, mut rounds, mut only, mut at_once) = (10_000, 3, None, 200);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or(USAGE)?;
        match &*arg {
            "--jobs" => jobs = value.parse()?,
            "--rounds" => rounds = value.parse()?,
            "--only" if NAMES.contains(&&*value) => only = Some(value),
            "--at-once" => at_once = value.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    let url = fourway_servers::postgres_url().ok_or("there is no PostgreSQL")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let any = AnyRuntime::new(Tokio::from_handle(runtime.handle().clone()));
    let mut best = BTreeMap::<&str, [Duration; 2]>::new();
    println!(
        "{jobs} jobs, submitted {AT_A_TIME} at a time, {at_once} run at a time (graphile_worker: {GRAPHILE_AT_ONCE}); the best of {rounds} rounds"
    );
    for round in 0..rounds {
        let mut note = |name, times: [Duration; 2]| {
            let kept = best.entry(name).or_insert(times);
            if times[1] < kept[1] {
                *kept = times;
            }
        };
        let is_wanted = |name: &str| only.as_ref().is_none_or(|only| name == only);
        if is_wanted("fourway") {
            let engine = engine(&any, &url, round, jobs, at_once);
            note("fourway", runtime.block_on(engine)?);
        }
        if is_wanted("graphile_worker") {
            let graphile = graphile(&url, round, jobs);
            note("graphile_worker 0.14.1", runtime.block_on(graphile)?);
        }
        if is_wanted("apalis") {
            let apalis = apalis(&url, round, jobs, at_once);
            note("apalis-postgres 1.0.0", runtime.block_on(apalis)?);
        }
    }
    let ours = best.get("fourway").map(|times| times[1].as_secs_f64());
    for (name, times) in best {
        let [submitted, all] = times.map(|time| jobs as f64 / time.as_secs_f64());
        let ratio = ours.map_or_else(String::new, |ours| {
            let ratio = ours / times[1].as_secs_f64();
            format!("; fourway takes {ratio:.2} of its time")
        });
        println!(
            "{name:24} {submitted:8.0} submitted a second, {all:8.0} submitted and processed a second{ratio}"
        );
    }
    Ok(())
}

/// Until all have run.
async fn until_run(jobs: usize) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    while RUN.load(Relaxed) < jobs {
        if start.elapsed() > DEADLINE {
            return Err(format!("only {} of {jobs} have run", RUN.load(Relaxed)).into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

struct Nothing;

impl JobKind for Nothing {
    const NAME: &'static str = "nothing";
    type Args = ();
    type Output = ();
}

async fn engine(
    rt: &AnyRuntime,
    url: &str,
    round: usize,
    jobs: usize,
    at_once: usize,
) -> Result<[Duration; 2], Box<dyn Error>> {
    let and = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{and}schema=queues_{}_{round}", std::process::id());
    let engine = fourway_jobs_url::open(rt, &url).await?;
    let client = JobClient::new(rt, engine.clone());
    let start = Instant::now();
    for from in (0..jobs).step_by(AT_A_TIME) {
        let many = (from..jobs.min(from + AT_A_TIME)).map(|_| KindJob::new(Nothing, ()));
        client.submit_all(many).await?;
    }
    let submitted = start.elapsed();
    let handlers = Handlers::new().on(Nothing, |_, ()| async { Ok::<_, BoxError>(()) });
    let worker = Worker::builder(rt, engine)
        .handlers(handlers)
        .concurrency(at_once)
        .start();
    // Not only run: all are recorded as completed, with their outputs.
    while worker.status().settled < jobs as u64 {
        if start.elapsed() > DEADLINE {
            return Err(format!("only {:?} of {jobs}", worker.status()).into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let all = start.elapsed();
    worker.drain(Duration::from_secs(5)).await;
    let unfinished = client.counts().await?.unfinished();
    if unfinished > 0 {
        return Err(format!("{unfinished} of {jobs} have not ended").into());
    }
    Ok([submitted, all])
}

#[derive(Clone, Deserialize, Serialize)]
struct Noop {}

impl TaskHandler for Noop {
    const IDENTIFIER: &'static str = "noop";

    async fn run(self, _: WorkerContext) -> impl IntoTaskHandlerResult {
        RUN.fetch_add(1, Relaxed);
        Ok::<(), String>(())
    }
}

async fn graphile(url: &str, round: usize, jobs: usize) -> Result<[Duration; 2], Box<dyn Error>> {
    RUN.store(0, Relaxed);
    let schema = format!("graphile_{}_{round}", std::process::id());
    let worker = WorkerOptions::default()
        .database_url(url)
        .max_pg_conn(20)
        .schema(&*schema)
        .concurrency(GRAPHILE_AT_ONCE)
        .poll_interval(Duration::from_millis(10))
        .local_queue(LocalQueueConfig::default().with_size(500))
        .complete_job_batch_delay(Duration::from_millis(1))
        .listen_os_shutdown_signals(false)
        .define_job::<Noop>()
        .init()
        .await?;
    let worker = Arc::new(worker);
    let utils = worker.create_utils();
    let start = Instant::now();
    for from in (0..jobs).step_by(AT_A_TIME) {
        let many: Vec<_> = (from..jobs.min(from + AT_A_TIME))
            .map(|_| RawJobSpec {
                identifier: "noop".to_owned(),
                payload: serde_json::json!({}),
                spec: JobSpec::default(),
            })
            .collect();
        utils.add_raw_jobs(&many).await?;
    }
    let submitted = start.elapsed();
    let running = worker.clone();
    let running =
        tokio::spawn(async move { running.run().await.map_err(|error| error.to_string()) });
    until_run(jobs).await?;
    let all = start.elapsed();
    worker.request_shutdown();
    running.await??;
    Ok([submitted, all])
}

async fn apalis(
    url: &str,
    round: usize,
    jobs: usize,
    at_once: usize,
) -> Result<[Duration; 2], Box<dyn Error>> {
    async fn noop(_: usize) -> Result<(), BoxDynError> {
        RUN.fetch_add(1, Relaxed);
        Ok(())
    }

    RUN.store(0, Relaxed);
    let pool = PgPool::connect(url).await?;
    PostgresStorage::setup(&pool).await?;
    let config = Config::default()
        .queue(format!("queue-{}-{round}", std::process::id()))
        .batch_size(at_once);
    let mut backend = PostgresStorage::new(&pool).with_config(config);
    let start = Instant::now();
    for from in (0..jobs).step_by(AT_A_TIME) {
        backend
            .push_bulk((from..jobs.min(from + AT_A_TIME)).collect())
            .await?;
    }
    let submitted = start.elapsed();
    let worker = WorkerBuilder::new(format!("worker-{round}"))
        .backend(backend)
        .concurrency(at_once)
        .build(noop);
    let running =
        tokio::spawn(async move { worker.run().await.map_err(|error| error.to_string()) });
    until_run(jobs).await?;
    let all = start.elapsed();
    running.abort();
    let _ = running.await;
    pool.close().await;
    Ok([submitted, all])
}

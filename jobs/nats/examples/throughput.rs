//! The cost of the engine compared with its client alone, on a private server: `cargo run --release
//! -p fourway-jobs-nats --example throughput [JOBS]`.
//!
//! Each measurement uses the same jobs, on the same server, in the same run:
//!
//! * `client`: JetStream's publish, fetch and acknowledge, without records of the jobs.
//! * `client, with results`: the same with one record of each job, written when the job has ended. No
//!   durable result costs less. Nobody can tell what state a job is in before.
//! * `client, with records`: the same with a record of each job, which is written when the job is
//!   submitted, begins and ends, and read once.
//! * `engine`: submitted and processed by a worker.
//!
//! And how long it takes from submitting a job until it runs.

use std::{
    error::Error,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self, Context,
    consumer::{AckPolicy, PullConsumer, pull},
    message::PublishMessage,
    stream::{Config, RetentionPolicy},
};
use fourway_core::{BlockOn, Call, Timer};
use fourway_jobs_engine::{BoxError, Engine, Handlers, JobClient, JobKind, KindJob, Worker};
use fourway_jobs_nats::NatsEngine;
use fourway_servers::Nats;
use fourway_testing::any;
use futures_util::{StreamExt, future::join_all};

/// Submitted at a time, as a server that has many requests does.
const AT_A_TIME: usize = 500;

/// Processed at a time.
const CONCURRENCY: usize = 200;

/// What the client writes beside the queue.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    Nothing,
    Results,
    Records,
}

type Failed = Box<dyn Error + Send + Sync>;

struct Nothing;

impl JobKind for Nothing {
    const NAME: &'static str = "nothing";
    type Args = ();
    type Output = ();
}

/// Sends the moment at which it runs.
struct Now;

impl JobKind for Now {
    const NAME: &'static str = "now";
    type Args = ();
    type Output = ();
}

fn main() -> Result<(), Failed> {
    let jobs: usize = std::env::args()
        .nth(1)
        .map_or(Ok(10_000), |arg| arg.parse())?;
    let server = Nats::start()?;
    let url = server.url();
    println!("{jobs} jobs, submitted {AT_A_TIME} at a time, {CONCURRENCY} processed at a time");
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    // As long as the engine's job, so that both send as much.
    let payload = vec![b'x'; 600];
    let mut best = [Duration::MAX; 4];
    for round in 0..3 {
        let with = |kept, name| {
            let name = format!("{name}-{round}");
            tokio.block_on(client(&url, &name, jobs, &payload, kept))
        };
        let bare = with(Kept::Nothing, "bare")?;
        let results = with(Kept::Results, "results")?;
        let records = with(Kept::Records, "records")?;
        let ours = engine(&url, &format!("engine-{round}"), jobs)?;
        for (best, time) in best.iter_mut().zip([bare, results, records, ours]) {
            *best = time.min(*best);
        }
    }
    let [bare, results, records, ours] = best;
    let rate = |time: Duration| jobs as f64 / time.as_secs_f64();
    let times = |time: Duration| ours.as_secs_f64() / time.as_secs_f64();
    println!("client:               {:>7.0} a second", rate(bare));
    println!("client, with results: {:>7.0} a second", rate(results));
    println!("client, with records: {:>7.0} a second", rate(records));
    println!(
        "engine:               {:>7.0} a second; {:.2} times the client's time, {:.2} times its time with results, {:.2} times with records",
        rate(ours),
        times(bare),
        times(results),
        times(records)
    );
    latency(&url)
}

async fn client(
    url: &str,
    name: &str,
    jobs: usize,
    payload: &[u8],
    kept: Kept,
) -> Result<Duration, Failed> {
    let context = jetstream::new(async_nats::connect(url).await?);
    let stream = context
        .create_stream(Config {
            name: name.to_owned(),
            subjects: vec![format!("{name}.queue")],
            retention: RetentionPolicy::WorkQueue,
            ..Config::default()
        })
        .await?;
    let records = context
        .create_stream(Config {
            name: format!("{name}-records"),
            subjects: vec![format!("{name}.record.*")],
            max_messages_per_subject: 1,
            allow_direct: true,
            ..Config::default()
        })
        .await?;
    let consumer: PullConsumer = stream
        .create_consumer(pull::Config {
            durable_name: Some("workers".to_owned()),
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: -1,
            ..pull::Config::default()
        })
        .await?;
    let subject = |n: usize| format!("{name}.record.{n}");
    let start = Instant::now();
    for from in (0..jobs).step_by(AT_A_TIME) {
        let mut acks = Vec::with_capacity(AT_A_TIME);
        for n in from..jobs.min(from + AT_A_TIME) {
            let message = PublishMessage::build()
                .payload(payload.to_vec().into())
                .message_id(n.to_string());
            acks.push(
                context
                    .send_publish(format!("{name}.queue"), message)
                    .await?,
            );
        }
        for ack in acks {
            ack.await?;
        }
        if kept == Kept::Records {
            let all = from..jobs.min(from + AT_A_TIME);
            let write = all.map(|n| record(&context, subject(n), payload, 0));
            for written in join_all(write).await {
                written?;
            }
        }
    }
    let mut done = 0;
    while done < jobs {
        let batch = consumer.fetch().max_messages(CONCURRENCY).messages();
        let batch: Vec<_> = batch.await?.collect().await;
        let process = batch.into_iter().map(|message| async {
            let message = message?;
            let n = message.info()?.stream_sequence as usize - 1;
            let revision = match kept {
                Kept::Nothing => None,
                Kept::Results => Some(0),
                Kept::Records => {
                    let found = records.direct_get_last_for_subject(subject(n)).await?;
                    let running = record(&context, subject(n), payload, found.sequence);
                    Some(running.await?)
                }
            };
            if let Some(revision) = revision {
                record(&context, subject(n), payload, revision).await?;
            }
            message.ack().await
        });
        for processed in join_all(process).await {
            processed?;
            done += 1;
        }
    }
    context.client().flush().await?;
    let time = start.elapsed();
    context.delete_stream(name).await?;
    context.delete_stream(format!("{name}-records")).await?;
    Ok(time)
}

async fn record(
    context: &Context,
    subject: String,
    payload: &[u8],
    revision: u64,
) -> Result<u64, Failed> {
    let message = PublishMessage::build()
        .payload(payload.to_vec().into())
        .expected_last_subject_sequence(revision);
    Ok(context
        .send_publish(subject, message)
        .await?
        .await?
        .sequence)
}

fn engine(url: &str, prefix: &str, jobs: usize) -> Result<Duration, Failed> {
    let rt = any();
    let engine = NatsEngine::builder(&rt, url).prefix(prefix).open().wait()?;
    let remove = engine.clone();
    let engine: Arc<dyn Engine> = Arc::new(engine);
    let client = JobClient::new(&rt, engine.clone());
    let start = Instant::now();
    for from in (0..jobs).step_by(AT_A_TIME) {
        let many = (from..jobs.min(from + AT_A_TIME)).map(|_| KindJob::new(Nothing, ()));
        client.submit_all(many).wait()?;
    }
    let handlers = Handlers::new().on(Nothing, |_, ()| async { Ok::<_, BoxError>(()) });
    let worker = Worker::builder(&rt, engine)
        .handlers(handlers)
        .concurrency(CONCURRENCY)
        .start();
    rt.block_on(async {
        while worker.status().settled < jobs as u64 {
            // A worker only counts; waiting for each job would be measured as well. Seldom enough
            // not to disturb the measurement.
            rt.sleep(Duration::from_millis(2)).await;
        }
    });
    let time = start.elapsed();
    drop(worker);
    rt.block_on(remove.remove_all())?;
    Ok(time)
}

fn latency(url: &str) -> Result<(), Failed> {
    const SAMPLES: usize = 1000;
    let rt = any();
    let engine = NatsEngine::builder(&rt, url)
        .prefix("latency")
        .open()
        .wait()?;
    let engine: Arc<dyn Engine> = Arc::new(engine);
    let (sender, receiver) = mpsc::channel();
    let handlers = Handlers::new().on(Now, move |_, ()| {
        let sent = sender.send(Instant::now());
        async move { sent.map_err(BoxError::from) }
    });
    let _worker = Worker::builder(&rt, engine.clone())
        .handlers(handlers)
        .start();
    let client = JobClient::new(&rt, engine);
    let mut times = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let before = Instant::now();
        client.submit(Now, ()).wait()?;
        let started = receiver.recv_timeout(Duration::from_secs(60))?;
        times.push(started.duration_since(before));
    }
    times.sort_unstable();
    println!(
        "from submit to start: p50 {:.2?}, p99 {:.2?}",
        times[SAMPLES / 2],
        times[SAMPLES * 99 / 100]
    );
    Ok(())
}

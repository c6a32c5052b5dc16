//! The job manager.

use std::{
    future::Future,
    hint::black_box,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fourway_core::{Call, Runtime};
use fourway_jobs::{Job, JobManager};

use super::{measured, timed};
use crate::{
    allocations,
    operation::{Contender, Metric, Operation, bytes, nanoseconds},
    peers::{self, Fourway, Started, apalis},
    process,
    promise::Promise,
    statistics::quantile,
};

const SECTION: &str = "Jobs";

const P99: Metric = nanoseconds("p99, submit to start");
const METRICS: &[Metric] = &[nanoseconds("p50, submit to start"), P99];
const KEPT: &[Metric] = &[bytes("queued"), bytes("finished")];

/// This many jobs are always in line…
const LOAD: usize = 256;
/// … behind this many running jobs.
const AT_ONCE: usize = 64;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(SECTION, "a job that does nothing", 200_000, |_| nothing())
            .at_most_rounds(11)
            .note(
                "200,000 futures, submitted by one thread and awaited there one by one, each with \
                 its id, status and result; under a limit, and each could be cancelled. apalis is \
                 there with its backend in memory on Tokio, whose jobs are submitted beside the \
                 worker and counted: that has neither status nor result to be asked for",
            )
            // A million a second, and three times as many as the peer.
            .promise(Promise::under("fourway", 1_000.0))
            .promise(Promise::best("fourway", 1.0 / 3.0)),
        Operation::new(SECTION, "an urgent job, beside a full load", 1_000, |_| {
            urgent()
        })
        .metrics(METRICS)
        .note(
            "256 jobs that compute for a microsecond are always queued or running, of which each \
             submits the next one; every 200 µs a thread submits one of a higher priority, and \
             how long that takes to start is measured",
        ),
        Operation::new(SECTION, "a job that is kept, of 200,000", 200_000, |_| {
            Ok(children())
        })
        .metrics(KEPT)
        .promise(Promise::under("fourway", 400.0).of("queued"))
        .promise(Promise::under("fourway", 200.0).of("finished"))
        .at_most_rounds(3)
        .without_warm_up()
        .note(
            "a future that does nothing, without its handle: while it waits in line, and once it \
             has completed and is known with its result. The bytes that were asked for",
        ),
    ]
}

fn nothing() -> io::Result<Vec<Contender>> {
    Ok(vec![
        by_apalis()?,
        by_us(peers::threads()?),
        by_us(peers::on_tokio()?),
        by_us(peers::on_smol()?),
    ])
}

fn by_apalis() -> io::Result<Contender> {
    let peer = peers::tokio()?.named("apalis");
    Ok(timed(peer, |tokio, times| {
        apalis::do_nothing(&tokio.0, times)
    }))
}

fn manager<R: Runtime>(rt: &R) -> JobManager {
    JobManager::builder(rt).concurrency(AT_ONCE).build()
}

fn by_us<R: Runtime>(peer: Started<Fourway<R>>) -> Contender {
    timed(peer, |peer, times| {
        let rt = &peer.0;
        let jobs = manager(rt);
        let handles: Vec<_> = (0..times)
            .map(|_| jobs.submit(async {}).expect("there is room"))
            .collect();
        rt.block_on(async {
            for handle in handles {
                handle.await.expect("it does nothing");
            }
        });
    })
}

fn urgent() -> io::Result<Vec<Contender>> {
    Ok(vec![
        beside_load(peers::threads()?),
        beside_load(peers::on_tokio()?),
        beside_load(peers::on_smol()?),
    ])
}

fn beside_load<R: Runtime>(peer: Started<Fourway<R>>) -> Contender {
    measured(peer, |peer, times| {
        let jobs = manager(&peer.0);
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..LOAD {
            let first = load(jobs.clone(), stop.clone());
            drop(jobs.submit(first).expect("there is room"));
        }
        let latencies = Arc::new(Mutex::new(Vec::with_capacity(times as usize)));
        for _ in 0..times {
            thread::sleep(Duration::from_micros(200));
            let (latencies, submitted) = (latencies.clone(), Instant::now());
            let job = Job::new(async move {
                let latency = submitted.elapsed().as_nanos() as f64;
                let mut all = latencies.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(latency);
            });
            let job = jobs.submit(job.priority(100)).expect("there is room");
            drop(job);
        }
        // Relaxed: a job that sees it late submits one more.
        stop.store(true, Ordering::Relaxed);
        jobs.drain(Duration::from_secs(60)).wait();
        let latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(latencies.len(), times as usize, "each has run");
        let at = |at| quantile(latencies.iter().copied(), at);
        vec![at(0.5), at(0.99)]
    })
}

/// Computes a little, and submits the next one.
fn load(jobs: JobManager, stop: Arc<AtomicBool>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        black_box((0..500_u64).fold(1, |n, next| black_box(n ^ next)));
        // Relaxed: as above.
        if !stop.load(Ordering::Relaxed) {
            let next = load(jobs.clone(), stop);
            // Refused once it drains.
            drop(jobs.submit(next));
        }
    })
}

const CONTENDERS: [&str; 3] = ["fourway", "fourway on Tokio", "fourway on smol"];

fn children() -> Vec<Contender> {
    let child = |name| {
        Contender::new(name, true, move |times| {
            process::child(&format!("job/{name}/{times}"))
        })
    };
    CONTENDERS.map(child).into()
}

/// In the child.
pub(crate) fn kept(contender: &str, jobs: u32) -> io::Result<Vec<f64>> {
    match contender {
        "fourway" => kept_by(peers::threads()?, jobs),
        "fourway on Tokio" => kept_by(peers::on_tokio()?, jobs),
        "fourway on smol" => kept_by(peers::on_smol()?, jobs),
        _ => Err(process::unknown(contender)),
    }
}

fn kept_by<R: Runtime>(started: Started<Fourway<R>>, number: u32) -> io::Result<Vec<f64>> {
    let jobs = JobManager::builder(&started.peer.0)
        .keep(number as usize, Duration::MAX)
        .build();
    jobs.pause(None);
    let before = allocations::heap();
    let each = || {
        let bytes = allocations::heap().wrapping_sub(before);
        bytes as f64 / f64::from(number)
    };
    for _ in 0..number {
        drop(jobs.submit(async {}).expect("there is room"));
    }
    let queued = each();
    jobs.resume(None);
    while jobs.overview().counts.unfinished() > 0 {
        // Waiting for each job would need a handle of each, whose memory counts.
        thread::sleep(Duration::from_millis(1));
    }
    // The last job's task ends after the job, and no event tells when.
    thread::sleep(Duration::from_millis(50));
    process::leave(&[queued, each()], (started, jobs))
}

//! Async work and blocking work at the same time.

use std::{
    hint::black_box,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::measured;
use crate::{
    operation::{Contender, Metric, Operation, nanoseconds},
    peers::{self, Blocking, Started, Tasks, Time},
    promise::Promise,
    statistics::quantile,
};

const SECTION: &str = "Mixed load";

/// As many closures run at a time everywhere…
const LIMIT: usize = 8;
/// … and as many are always there to be run.
const LOAD: usize = 64;

const P99: Metric = nanoseconds("p99 latency");
const METRICS: &[Metric] = &[
    nanoseconds("p50 latency"),
    P99,
    nanoseconds("p99.9 latency"),
    nanoseconds("time a closure"),
];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(SECTION, "a task, under a full pool", 1_000, |_| every())
            .metrics(METRICS)
            .note(
                "twice each millisecond a task is spawned that yields three times, and its \
                 latency is measured, to the join; meanwhile 64 closures are always queued at a \
                 pool of 8 threads, of which each computes for some 50 µs and then sleeps 1 ms. \
                 The time a closure shows that the pool is not starved for the sake of the \
                 tasks. smol is not there: the limit of `blocking` is the process's, and 500",
            )
            .promise(Promise::ratio("fourway", "Tokio", 1.0).of(P99.name)),
    ]
}

fn every() -> io::Result<Vec<Contender>> {
    Ok(vec![
        contender(peers::tokio_with_blocking_threads(LIMIT)?),
        contender(peers::threads_limited(LIMIT)?),
        contender(peers::own_tokio(LIMIT)?),
        contender(peers::own_smol(LIMIT)?),
    ])
}

fn contender<P: Tasks + Blocking + Time>(peer: Started<P>) -> Contender {
    measured(peer, |peer, times| {
        let stop = Arc::new(AtomicBool::new(false));
        let closures = Arc::new(AtomicU32::new(0));
        let start = Instant::now();
        let loads: Vec<_> = (0..LOAD)
            .map(|_| {
                let (pool, stop, closures) = (peer.clone(), stop.clone(), closures.clone());
                peer.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        <P as Blocking>::output(pool.offload(block).await);
                        closures.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let inner = peer.clone();
        let latencies = peer.in_task(async move {
            let mut latencies = Vec::with_capacity(times as usize);
            for _ in 0..times {
                inner.sleep(Duration::from_micros(500)).await;
                let start = Instant::now();
                let task = inner.spawn(async {
                    for _ in 0..3 {
                        P::yield_now().await;
                    }
                });
                <P as Tasks>::output(task.await);
                latencies.push(start.elapsed().as_nanos() as f64);
            }
            latencies
        });
        let took = start.elapsed().as_nanos() as f64;
        let done = closures.load(Ordering::Relaxed).max(1);
        stop.store(true, Ordering::Relaxed);
        for load in loads {
            <P as Tasks>::output(peer.block_on(load));
        }
        let at = |at| quantile(latencies.iter().copied(), at);
        vec![at(0.5), at(0.99), at(0.999), took / f64::from(done)]
    })
}

/// Computes a little, and blocks.
fn block() -> u64 {
    let number = (0..50_000_u64).fold(1, |number, next| black_box(number ^ next));
    thread::sleep(Duration::from_millis(1));
    number
}

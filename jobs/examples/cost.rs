//! What a job costs: time and allocations. The benches' section *Jobs* has its memory.
//!
//! ```console
//! $ cargo run --release -p fourway-jobs --example cost
//! ```
//!
//! With `time`, `futures` or `latency` behind it, that part alone.
//!
//! Two workers of the std-thread runtime. Each figure is the median of several rounds; the
//! allocations of the thread that submits are counted, not sampled.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fourway_core::BlockOn;
use fourway_jobs::{JobManager, Work};
use fourway_std_thread::StdThread;
use fourway_testing::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const JOBS: usize = 200_000;

fn main() {
    let rt = StdThread::builder()
        .worker_threads(2)
        .build()
        .expect("threads");
    let only = std::env::args().nth(1);
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if wanted("time") || wanted("futures") {
        println!("{JOBS} jobs that do nothing, submitted by one thread, awaited one by one:");
        rounds("futures", &rt, |_| async {});
    }
    if wanted("time") {
        rounds("futures that yield once", &rt, |_| {
            fourway_core::yield_now()
        });
        rounds("closures", &rt, |_| || ());
    }
    if wanted("latency") {
        latency(&rt);
    }
}

fn rounds<W, M>(name: &str, rt: &StdThread, work: impl Fn(usize) -> W)
where
    W: Work<M>,
{
    let mut times = Vec::new();
    let mut allocations = 0;
    for _ in 0..7 {
        let jobs = JobManager::builder(rt).concurrency(64).build();
        let mut handles = Vec::with_capacity(JOBS);
        let before = Counting::of_this_thread();
        let start = Instant::now();
        for n in 0..JOBS {
            handles.push(jobs.submit(work(n)).expect("there is room"));
        }
        let submitted = start.elapsed();
        rt.block_on(async {
            for handle in handles {
                assert!(handle.await.is_ok());
            }
        });
        times.push((start.elapsed(), submitted));
        allocations = Counting::of_this_thread() - before;
    }
    times.sort();
    let (time, submitted) = times[times.len() / 2];
    println!(
        "  {name}: {:.0} ns each, {:.2} million a second; submitted in {:.0} ns; {:.1} allocations there",
        nanos(time),
        JOBS as f64 / time.as_secs_f64() / 1e6,
        nanos(submitted),
        allocations as f64 / JOBS as f64,
    );
}

fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64 / JOBS as f64
}

/// From submit to start, beside a load that never lets the queue run dry.
fn latency(rt: &StdThread) {
    let jobs = JobManager::builder(rt).concurrency(64).build();
    let load = {
        let jobs = jobs.clone();
        std::thread::spawn(move || {
            for _ in 0..JOBS {
                if jobs.submit(busy()).is_err() {
                    return;
                }
            }
        })
    };
    let waits: Arc<Mutex<Vec<Duration>>> = Arc::default();
    for _ in 0..2_000 {
        let (waits, submitted) = (waits.clone(), Instant::now());
        let job = fourway_jobs::Job::new(async move {
            let waited = submitted.elapsed();
            waits.lock().expect("no panics").push(waited);
        });
        drop(jobs.submit(job.priority(100)).expect("there is room"));
        // So that urgent jobs do not wait for each other.
        std::thread::sleep(Duration::from_micros(50));
    }
    load.join().expect("no panics");
    while jobs.overview().counts.unfinished() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut waits = std::mem::take(&mut *waits.lock().expect("no panics"));
    waits.sort();
    println!(
        "urgent jobs beside a full queue, submit to start: p50 {:?}, p99 {:?}",
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100]
    );
}

async fn busy() {
    let mut n = 0_u64;
    for k in 0..500 {
        n = std::hint::black_box(n.wrapping_mul(31).wrapping_add(k));
    }
}

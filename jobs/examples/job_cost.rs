//! What a job costs: time and allocations. The benches' section *Jobs* has its memory.
//!
//! ```console
//! $ cargo run --release -p fourway-jobs --example job_cost
//! ```
//!
//! With `time`, `futures` or `latency` behind it, that part alone; and with a number behind that,
//! so many jobs.
//!
//! Two workers of the std-thread runtime. Each figure is the median of several rounds; the
//! allocations of the thread that submits are counted, not sampled.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fourway_core::{Runtime, Task};
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
    let mut args = std::env::args().skip(1);
    let only = args.next();
    let count = args.next();
    let count: usize = count.map_or(JOBS, |count| count.parse().expect("how many jobs"));
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if wanted("time") || wanted("futures") {
        println!("{count} jobs that do nothing, submitted by one thread, awaited one by one:");
        rounds("futures", &rt, count, |_| async {});
    }
    if wanted("time") {
        rounds("futures that yield once", &rt, count, |_| {
            fourway_core::yield_now()
        });
        rounds("closures", &rt, count, |_| || ());
    }
    if wanted("latency") {
        latency(&rt, count);
    }
}

fn rounds<W, M>(name: &str, rt: &StdThread, count: usize, work: impl Fn(usize) -> W)
where
    W: Work<M>,
{
    let mut times = Vec::new();
    let mut allocations = 0;
    for _ in 0..7 {
        let before = Counting::of_this_thread();
        let (time, submitted, ok) = round(rt, count, &work);
        allocations = Counting::of_this_thread() - before;
        assert_eq!(ok, count);
        times.push((time, submitted));
    }
    times.sort();
    let (time, submitted) = times[times.len() / 2];
    let nanos = |time: Duration| time.as_nanos() as f64 / count as f64;
    println!(
        "  {name}: {:.0} ns each, {:.2} million a second; submitted in {:.0} ns; {:.1} allocations there",
        nanos(time),
        count as f64 / time.as_secs_f64() / 1e6,
        nanos(submitted),
        allocations as f64 / count as f64,
    );
}

/// The time of them all, and of their submission; and how many have ended well.
pub(crate) fn round<R: Runtime, W, M>(
    rt: &R,
    count: usize,
    work: &impl Fn(usize) -> W,
) -> (Duration, Duration, usize)
where
    W: Work<M>,
{
    let jobs = JobManager::builder(rt).concurrency(64).build();
    let mut handles = Vec::with_capacity(count);
    let start = Instant::now();
    for n in 0..count {
        handles.push(jobs.submit(work(n)).expect("there is room"));
    }
    let submitted = start.elapsed();
    let ok = rt.block_on(async {
        let mut ok = 0;
        for handle in handles {
            ok += usize::from(handle.await.is_ok());
        }
        ok
    });
    (start.elapsed(), submitted, ok)
}

fn latency(rt: &StdThread, count: usize) {
    let mut waits = urgent(rt, count);
    waits.sort();
    println!(
        "urgent jobs beside a full queue, submit to start: p50 {:?}, p99 {:?}",
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100]
    );
}

/// The time from submit to start of each urgent job, beside a load that never lets the queue run dry.
pub(crate) fn urgent<R: Runtime>(rt: &R, count: usize) -> Vec<Duration> {
    let jobs = JobManager::builder(rt).concurrency(64).build();
    let load = {
        let jobs = jobs.clone();
        rt.offload(move || {
            for _ in 0..count {
                if jobs.submit(busy()).is_err() {
                    return;
                }
            }
        })
    };
    let waits: Arc<Mutex<Vec<Duration>>> = Arc::default();
    for _ in 0..(count / 100).max(1) {
        let (waits, submitted) = (waits.clone(), Instant::now());
        let job = fourway_jobs::Job::new(async move {
            let waited = submitted.elapsed();
            waits.lock().expect("no panics").push(waited);
        });
        drop(jobs.submit(job.priority(100)).expect("there is room"));
        // So that urgent jobs do not wait for each other.
        rt.block_on(rt.sleep(Duration::from_micros(50)));
    }
    load.wait().expect("no panics");
    while jobs.overview().counts.unfinished() > 0 {
        rt.block_on(rt.sleep(Duration::from_millis(1)));
    }
    std::mem::take(&mut *waits.lock().expect("no panics"))
}

async fn busy() {
    let mut n = 0_u64;
    for k in 0..500 {
        n = std::hint::black_box(n.wrapping_mul(31).wrapping_add(k));
    }
}

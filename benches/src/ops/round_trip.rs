//! From a sync thread to a task or a pool thread and back, and from a task to a
//! pool thread and back: one after the other, one each millisecond, and the same
//! while other work keeps the cores busy.

use std::{
    hint::black_box,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cpu_time::ProcessTime;

use super::{Job, every, measured, timed};
use crate::{
    operation::{Contender, Metric, Operation, nanoseconds},
    peers::{self, Blocking, Started, Tasks, Time},
    promise::Promise,
    statistics::{median, quantile},
};

const SECTION: &str = "Round trips, back to back";
const COLD: &str = "Round trips, one each millisecond";
const BUSY: &str = "Round trips, one each millisecond, cores busy";

const FROM_THREAD: &str = "offload, from a sync thread";
const FROM_TASK: &str = "offload, from a task";
const UNDER_TOKIO: &str = "offload, under Tokio";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(SECTION, "sync → task → back", 2_000, |_| {
            every(ToTaskAndBack)
        })
        .note("a sync thread spawns a task and waits for it with `block_on`")
        .lead()
        .promise(Promise::ratio("fourway", "Tokio", 0.05))
        .promise(Promise::ratio("fourway", "smol", 0.05)),
        Operation::new(SECTION, FROM_THREAD, 1_000, |_| from_thread(BackToBack))
            .note("a sync thread hands a closure to the pool and waits for its result; with fourway it may \
                 run the closure itself")
            .lead()
            .promise(Promise::ratio("fourway", "Tokio", 0.05))
            .promise(Promise::ratio("fourway", "smol", 0.05))
            .promise(Promise::ratio("fourway", "rayon + oneshot", 0.08)),
        Operation::new(SECTION, FROM_TASK, 1_000, |_| from_task(BackToBack))
            .note(
                "a task hands a closure to the pool and awaits its result; with rayon and \
                 threadpool the task is one of Tokio",
            )
            .lead()
            .promise(Promise::ratio("fourway", "Tokio", 0.05))
            .promise(Promise::ratio("fourway", "smol", 0.05))
            .promise(Promise::ratio("fourway", "rayon + oneshot", 0.08)),
        Operation::new(SECTION, UNDER_TOKIO, 1_000, |_| {
            with_wrappers(under_tokio(BackToBack)?, BackToBack)
        })
        .note("a task of Tokio does; `Compose` takes the pool from the std-thread runtime")
        .lead()
        .promise(Promise::ratio("Compose(Tokio, fourway)", "Tokio", 0.60)),
        paced(COLD, FROM_THREAD, "fourway", HELPED, || {
            from_thread(Paced { busy: false })
        }),
        paced(COLD, FROM_TASK, "fourway", AS_QUICK, || {
            from_task(Paced { busy: false })
        }),
        paced(COLD, UNDER_TOKIO, "Compose(Tokio, fourway)", AS_QUICK, || {
            under_tokio(Paced { busy: false })
        }),
        paced(BUSY, FROM_THREAD, "fourway", HELPED, || {
            from_thread(Paced { busy: true })
        }),
        paced(BUSY, FROM_TASK, "fourway", AS_QUICK, || {
            from_task(Paced { busy: true })
        }),
        paced(BUSY, UNDER_TOKIO, "Compose(Tokio, fourway)", AS_QUICK, || {
            under_tokio(Paced { busy: true })
        }),
    ]
}

const LATENCY: Metric = nanoseconds("median latency");
const CPU: Metric = nanoseconds("CPU time");
const P99: Metric = nanoseconds("p99 latency");
pub(super) const COLD_METRICS: &[Metric] = &[LATENCY, P99, CPU];
pub(super) const BUSY_METRICS: &[Metric] = &[LATENCY, P99];

/// Promised against the best peer: the cost of a hand-over to another thread is the same for all.
const AS_QUICK: f64 = 1.05;
/// The waiting thread runs the closure itself.
const HELPED: f64 = 0.50;

fn paced(
    section: &'static str,
    name: &'static str,
    ours: &'static str,
    best: f64,
    start: fn() -> io::Result<Vec<Contender>>,
) -> Operation {
    let operation =
        Operation::new(section, name, 200, move |_| start()).promise(Promise::best(ours, best));
    if section == COLD {
        operation
            .metrics(COLD_METRICS)
            .note(
                "the time of the call itself, without the sleep before it; CPU time: of the \
                 whole process, for one call and one sleep",
            )
            .promise(Promise::ratio(ours, "Tokio", 1.2).of(CPU.name))
    } else {
        operation
            .metrics(BUSY_METRICS)
            .note("the same, while two threads of the same priority compute all the time")
    }
}

fn from_thread(job: impl OffloadJob) -> io::Result<Vec<Contender>> {
    Ok(vec![
        job.thread(peers::tokio()?),
        job.thread(peers::smol()?),
        job.thread(peers::rayon()?),
        job.thread(peers::threadpool()),
        job.thread(peers::threads()?),
        job.thread(peers::threads()?.erased("AnyRuntime(fourway)")),
        job.thread(peers::on_tokio()?),
        job.thread(peers::on_smol()?),
    ])
}

fn from_task(job: impl OffloadJob) -> io::Result<Vec<Contender>> {
    Ok(vec![
        job.task(peers::tokio()?),
        job.task(peers::smol()?),
        job.task_with(peers::tokio()?, peers::rayon()?, "rayon + oneshot"),
        job.task_with(peers::tokio()?, peers::threadpool(), "threadpool + oneshot"),
        job.task(peers::threads()?),
        job.task(peers::threads()?.erased("AnyRuntime(fourway)")),
        job.task(peers::on_smol()?),
    ])
}

fn under_tokio(job: impl OffloadJob) -> io::Result<Vec<Contender>> {
    Ok(vec![
        job.task(peers::tokio()?),
        job.task_with(peers::tokio()?, peers::smol()?, "unblock"),
        job.task_with(peers::tokio()?, peers::rayon()?, "rayon + oneshot"),
        job.task_with(peers::tokio()?, peers::threadpool(), "threadpool + oneshot"),
        job.task(peers::composed()?),
        job.task(peers::on_tokio()?),
    ])
}

/// And the other crates that abstract over runtimes. Their offloading is Tokio's own. So a promise
/// does not take its best peer from Tokio and three copies of it.
#[cfg(feature = "peers")]
fn with_wrappers(
    mut contenders: Vec<Contender>,
    job: impl OffloadJob,
) -> io::Result<Vec<Contender>> {
    contenders.extend([
        job.task_with(peers::tokio()?, peers::agnostic()?, "agnostic on Tokio"),
        job.task_with(
            peers::tokio()?,
            peers::async_executors()?,
            "async_executors on Tokio",
        ),
        job.task_with(peers::tokio()?, peers::async_rt()?, "async-rt on Tokio"),
    ]);
    Ok(contenders)
}

#[cfg(not(feature = "peers"))]
#[allow(
    clippy::unnecessary_wraps,
    reason = "it can fail with the feature `peers`"
)]
fn with_wrappers(contenders: Vec<Contender>, _: impl OffloadJob) -> io::Result<Vec<Contender>> {
    Ok(contenders)
}

#[derive(Clone, Copy)]
struct ToTaskAndBack;

impl Job for ToTaskAndBack {
    fn run<P: Tasks>(self, peer: &P, times: u32) {
        for _ in 0..times {
            black_box(peer.in_task(async { black_box(1_u64) }));
        }
    }
}

/// How round trips to a pool follow each other.
trait OffloadJob: Copy + 'static {
    /// From a sync thread.
    fn thread<B: Blocking>(self, pool: Started<B>) -> Contender;

    /// From a task of the runtime of this name.
    fn tasks<P: Tasks + Time, B: Blocking>(self, pair: Started<(P, B)>) -> Contender;

    fn task<P: Tasks + Time + Blocking>(self, peer: Started<P>) -> Contender {
        self.tasks(Started {
            name: peer.name,
            ours: peer.ours,
            peer: (peer.peer.clone(), peer.peer),
            owner: peer.owner,
        })
    }

    fn task_with<P: Tasks + Time, B: Blocking>(
        self,
        tasks: Started<P>,
        pool: Started<B>,
        name: &'static str,
    ) -> Contender {
        self.tasks(Started {
            name,
            ours: false,
            peer: (tasks.peer, pool.peer),
            owner: Box::new((tasks.owner, pool.owner)),
        })
    }
}

#[derive(Clone, Copy)]
struct BackToBack;

impl OffloadJob for BackToBack {
    fn thread<B: Blocking>(self, pool: Started<B>) -> Contender {
        timed(pool, |pool, times| {
            for _ in 0..times {
                black_box(pool.wait(pool.start(|| black_box(1_u64))));
            }
        })
    }

    fn tasks<P: Tasks + Time, B: Blocking>(self, pair: Started<(P, B)>) -> Contender {
        timed(pair, |(tasks, pool), times| {
            let pool = pool.clone();
            tasks.in_task(async move {
                for _ in 0..times {
                    black_box(B::output(pool.offload(|| black_box(1_u64)).await));
                }
            });
        })
    }
}

#[derive(Clone, Copy)]
pub(super) struct Paced {
    pub(super) busy: bool,
}

pub(super) const PAUSE: Duration = Duration::from_millis(1);

impl OffloadJob for Paced {
    fn thread<B: Blocking>(self, pool: Started<B>) -> Contender {
        measured(pool, move |pool, times| {
            self.around(times, || {
                let call = |_| {
                    thread::sleep(PAUSE);
                    let start = Instant::now();
                    black_box(pool.wait(pool.start(|| black_box(1_u64))));
                    start.elapsed()
                };
                (0..times).map(call).collect()
            })
        })
    }

    fn tasks<P: Tasks + Time, B: Blocking>(self, pair: Started<(P, B)>) -> Contender {
        measured(pair, move |(tasks, pool), times| {
            self.around(times, || {
                let (time, pool) = (tasks.clone(), pool.clone());
                tasks.in_task(async move {
                    let mut latencies = Vec::with_capacity(times as usize);
                    for _ in 0..times {
                        time.sleep(PAUSE).await;
                        let start = Instant::now();
                        black_box(B::output(pool.offload(|| black_box(1_u64)).await));
                        latencies.push(start.elapsed());
                    }
                    latencies
                })
            })
        })
    }
}

impl Paced {
    pub(super) fn around(self, times: u32, load: impl FnOnce() -> Vec<Duration>) -> Vec<f64> {
        let other_work = self.busy.then(OtherWork::start);
        let cpu = ProcessTime::now();
        let latencies = load();
        let cpu = cpu.elapsed().as_nanos() as f64 / f64::from(times);
        let latencies = || latencies.iter().map(|latency| latency.as_nanos() as f64);
        let mut values = vec![median(latencies()), quantile(latencies(), 0.99)];
        // The processor time of the other work is not the contender's.
        if other_work.is_none() {
            values.push(cpu);
        }
        values
    }
}

/// Threads that compute until this is dropped.
struct OtherWork {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl OtherWork {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let work = |_| {
            let stop = stop.clone();
            thread::spawn(move || {
                let mut number = 1_u64;
                while !stop.load(Ordering::Relaxed) {
                    number = black_box(
                        number
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1),
                    );
                }
            })
        };
        Self {
            threads: (0..cores).map(work).collect(),
            stop,
        }
    }
}

impl Drop for OtherWork {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

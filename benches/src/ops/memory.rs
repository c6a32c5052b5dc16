//! Memory: of an idle task, and of a runtime. Each contender is measured in its own process.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::{
    allocations,
    operation::{Contender, Metric, Operation, bytes},
    peers::{self, Started, Tasks},
    process,
    promise::Promise,
};

const SECTION: &str = "Memory";

const RESIDENT: Metric = bytes("resident");
const METRICS: &[Metric] = &[RESIDENT, bytes("heap")];

const CONTENDERS: [(&str, bool); 6] = [
    ("Tokio", false),
    ("smol", false),
    ("futures ThreadPool", false),
    ("fourway", true),
    ("fourway on Tokio", true),
    ("fourway on smol", true),
];

/// The number of runtimes that are started in one process.
const RUNTIMES: u32 = 20;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(SECTION, "an idle task, of 1,000,000", 1_000_000, |_| {
            Ok(children("task"))
        })
        .metrics(METRICS)
        .at_most_rounds(3)
        .without_warm_up()
        .note(
            "each waits on a semaphore; with its handle. Resident: what the process takes of the \
             machine's memory, from the system. Heap: the bytes that were asked for",
        )
        .promise(Promise::ratio("fourway", "Tokio", 0.40).of(RESIDENT.name))
        .promise(Promise::ratio("fourway", "smol", 0.90).of(RESIDENT.name)),
        Operation::new(SECTION, "a runtime", RUNTIMES, |_| Ok(children("runtime")))
            .metrics(METRICS)
            .at_most_rounds(3)
            .without_warm_up()
            .note(
                "with two workers that have run a task: the mean of 20 in a process. smol's \
                 reactor is the process's, and not counted",
            ),
    ]
}

fn children(what: &'static str) -> Vec<Contender> {
    let child = |(name, ours): (&'static str, bool)| {
        Contender::new(name, ours, move |times| {
            process::child(&format!("{what}/{name}/{times}"))
        })
    };
    CONTENDERS.map(child).into()
}

/// In the child.
pub(crate) fn task(contender: &str, tasks: u32) -> io::Result<Vec<f64>> {
    match contender {
        "Tokio" => idle_tasks(peers::tokio()?, tasks),
        "smol" => idle_tasks(peers::smol()?, tasks),
        "futures ThreadPool" => idle_tasks(peers::futures_pool()?, tasks),
        "fourway" => idle_tasks(peers::threads()?, tasks),
        "fourway on Tokio" => idle_tasks(peers::on_tokio()?, tasks),
        "fourway on smol" => idle_tasks(peers::on_smol()?, tasks),
        _ => Err(process::unknown(contender)),
    }
}

/// In the child.
pub(crate) fn runtime(contender: &str, runtimes: u32) -> io::Result<Vec<f64>> {
    match contender {
        "Tokio" => idle_runtimes(peers::tokio, runtimes),
        "smol" => idle_runtimes(peers::smol, runtimes),
        "futures ThreadPool" => idle_runtimes(peers::futures_pool, runtimes),
        "fourway" => idle_runtimes(peers::threads, runtimes),
        "fourway on Tokio" => idle_runtimes(|| peers::own_tokio(512), runtimes),
        "fourway on smol" => idle_runtimes(|| peers::own_smol(512), runtimes),
        _ => Err(process::unknown(contender)),
    }
}

fn idle_tasks<P: Tasks>(started: Started<P>, tasks: u32) -> io::Result<Vec<f64>> {
    let peer = &started.peer;
    peer.in_task(async {});
    let semaphore = Arc::new(Semaphore::new(0));
    let waiting = Arc::new(AtomicU32::new(0));
    let before = Taken::now()?;
    let mut handles = Vec::with_capacity(tasks as usize);
    for _ in 0..tasks {
        let (semaphore, waiting) = (semaphore.clone(), waiting.clone());
        handles.push(peer.spawn(async move {
            waiting.fetch_add(1, Ordering::Relaxed);
            // It is never opened.
            let _ = semaphore.acquire().await;
        }));
    }
    while waiting.load(Ordering::Relaxed) < tasks {
        thread::sleep(Duration::from_millis(1));
    }
    // The last tasks have been counted before they waited.
    thread::sleep(Duration::from_millis(50));
    let taken = Taken::now()?.since(&before, tasks);
    process::leave(&taken, handles)
}

fn idle_runtimes<P: Tasks>(
    start: impl Fn() -> io::Result<Started<P>>,
    runtimes: u32,
) -> io::Result<Vec<f64>> {
    let run = || -> io::Result<Started<P>> {
        let started = start()?;
        started.peer.in_task(async {});
        Ok(started)
    };
    // One-time allocations of a process happen before the count begins.
    let first = run()?;
    let before = Taken::now()?;
    let mut all = Vec::with_capacity(runtimes as usize);
    for _ in 0..runtimes {
        all.push(run()?);
    }
    let taken = Taken::now()?.since(&before, runtimes);
    process::leave(&taken, (first, all))
}

/// Memory of this process.
struct Taken {
    resident: usize,
    heap: usize,
}

impl Taken {
    fn now() -> io::Result<Self> {
        let stats = memory_stats::memory_stats()
            .ok_or_else(|| io::Error::other("this system does not say what memory is in use"))?;
        Ok(Self {
            resident: stats.physical_mem,
            heap: allocations::heap(),
        })
    }

    fn since(&self, before: &Self, among: u32) -> Vec<f64> {
        let each =
            |after: usize, before: usize| after.saturating_sub(before) as f64 / f64::from(among);
        vec![
            each(self.resident, before.resident),
            each(self.heap, before.heap),
        ]
    }
}

//! Many closures at once, and closures that offload closures.

use std::{
    hint::{black_box, spin_loop},
    io, thread,
    time::{Duration, Instant},
};

use super::timed;
use crate::{
    operation::{Contender, Operation},
    peers::{self, Blocking, Started, Tasks},
    promise::Promise,
};

const SECTION: &str = "Offload in numbers";

/// How deep closures are nested.
const DEPTH: u32 = 8;

pub(super) fn operations() -> Vec<Operation> {
    let served = |(name, micros)| {
        Operation::new(SECTION, name, 4_000, move |_| {
            server(Duration::from_micros(micros))
        })
        .note(
            "64 tasks that offload one closure after the other, each of which computes for so \
             long; the figure is for one closure, on two cores",
        )
        .promise(Promise::best("fourway", 1.00))
    };
    let mut operations = operations_of_one_thread();
    operations.extend(
        [
            ("64 tasks, closures of 5 µs", 5),
            ("64 tasks, closures of 20 µs", 20),
            ("64 tasks, closures of 100 µs", 100),
        ]
        .map(served),
    );
    operations
}

fn operations_of_one_thread() -> Vec<Operation> {
    vec![
        Operation::new(SECTION, "100 closures that block", 1, |_| blocking())
            .note(
                "each sleeps for 100 ms, all at once, on pools that were idle before; the figure \
                 is for all of them. What is beyond 100 ms is how slowly a pool grows",
            )
            .promise(Promise::best("fourway", 1.10)),
        Operation::new(SECTION, "offload 10k, join all", 10_000, |_| burst())
            .lead()
            .note(
                "a sync thread hands over all closures and then waits for all; the figure is for \
                 one. Pools with their default limits: Tokio 512 threads, blocking 500, fourway \
                 512, rayon and threadpool 2",
            )
            .promise(Promise::ratio("fourway", "Tokio", 0.03))
            .promise(Promise::ratio("fourway", "rayon + oneshot", 0.70))
            .promise(Promise::ratio("fourway", "threadpool + oneshot", 1.00)),
        Operation::new(SECTION, "nested offload, 8 deep", 200, |_| nested()).note(
            "a closure offloads a closure and waits for it, and so on; the figure is for the \
                 whole nest. With a limit of fewer threads than the depth, all peers hang; \
                 fourway does not",
        ),
    ]
}

fn blocking() -> io::Result<Vec<Contender>> {
    fn fresh<B: Blocking>(
        name: &'static str,
        ours: bool,
        pool: impl Fn() -> io::Result<Started<B>> + 'static,
    ) -> Contender {
        Contender::new(name, ours, move |_| {
            let pool = pool()?;
            let start = Instant::now();
            let handles: Vec<_> = (0..100)
                .map(|_| {
                    pool.peer
                        .start(|| thread::sleep(Duration::from_millis(100)))
                })
                .collect();
            for handle in handles {
                pool.peer.wait(handle);
            }
            Ok(vec![start.elapsed().as_nanos() as f64])
        })
    }
    Ok(vec![
        fresh("Tokio", false, peers::tokio),
        fresh("smol", false, peers::smol),
        fresh("fourway", true, peers::threads),
        fresh("fourway on Tokio", true, peers::on_tokio),
        fresh("fourway on smol", true, peers::on_smol),
    ])
}

/// The shape of a server.
fn server(work: Duration) -> io::Result<Vec<Contender>> {
    fn compute(time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            spin_loop();
        }
    }
    fn contender<T: Tasks, B: Blocking>(
        name: &'static str,
        ours: bool,
        tasks: Started<T>,
        pool: Started<B>,
        work: Duration,
    ) -> Contender {
        Contender::new(name, ours, move |times| {
            // Captured whole, so that their runtimes stay as well.
            let (tasks, pool) = (&tasks, &pool);
            let start = Instant::now();
            let handles: Vec<_> = (0..TASKS)
                .map(|_| {
                    let pool = pool.peer.clone();
                    tasks.peer.spawn(async move {
                        for _ in 0..times / TASKS {
                            B::output(pool.offload(move || compute(work)).await);
                        }
                    })
                })
                .collect();
            for handle in handles {
                T::output(tasks.peer.block_on(handle));
            }
            let closures = times / TASKS * TASKS;
            Ok(vec![
                start.elapsed().as_nanos() as f64 / f64::from(closures),
            ])
        })
    }
    /// Tasks and closures of one runtime of ours.
    fn together<P: Tasks + Blocking>(
        name: &'static str,
        runtime: Started<P>,
        work: Duration,
    ) -> Contender {
        let pool = Started::new(name, true, runtime.peer.clone(), ());
        contender(name, true, runtime, pool, work)
    }
    const TASKS: u32 = 64;
    Ok(vec![
        contender("Tokio", false, peers::tokio()?, peers::tokio()?, work),
        contender("smol", false, peers::smol()?, peers::smol()?, work),
        contender(
            "rayon + oneshot",
            false,
            peers::tokio()?,
            peers::rayon()?,
            work,
        ),
        together("fourway", peers::threads()?, work),
        together("fourway on Tokio", peers::on_tokio()?, work),
        together("fourway on smol", peers::on_smol()?, work),
    ])
}

fn burst() -> io::Result<Vec<Contender>> {
    fn all<B: Blocking>(pool: Started<B>) -> Contender {
        timed(pool, |pool, times| {
            let handles: Vec<_> = (0..times)
                .map(|_| pool.start(|| black_box(1_u64)))
                .collect();
            for handle in handles {
                black_box(pool.wait(handle));
            }
        })
    }
    Ok(vec![
        all(peers::tokio()?),
        all(peers::smol()?),
        all(peers::rayon()?),
        all(peers::threadpool()),
        all(peers::threads()?),
        all(peers::threads()?.erased("AnyRuntime(fourway)")),
        all(peers::on_tokio()?),
        all(peers::on_smol()?),
    ])
}

fn nested() -> io::Result<Vec<Contender>> {
    fn nest<B: Blocking>(pool: &B, depth: u32) -> u64 {
        if depth == 0 {
            return black_box(1);
        }
        let inner = pool.clone();
        pool.wait(pool.start(move || nest(&inner, depth - 1)))
    }
    fn all<B: Blocking>(pool: Started<B>) -> Contender {
        timed(pool, |pool, times| {
            for _ in 0..times {
                black_box(nest(pool, DEPTH));
            }
        })
    }
    Ok(vec![
        all(peers::tokio()?),
        all(peers::smol()?),
        all(peers::threads()?),
        all(peers::on_tokio()?),
        all(peers::on_smol()?),
    ])
}

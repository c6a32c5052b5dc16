//! How fast a simulation is.
//!
//! ```console
//! $ cargo run --release -p fourway-sim --example figures
//! ```
//!
//! With a number behind it, that part of the work alone: `-- 100` does a hundredth.

use std::time::{Duration, Instant};

use fourway_core::{BlockOn, Offload, Spawner, Task, Timer, yield_now};
use fourway_sim::{Check, Sim};

/// The best of five, which other work on the machine disturbs least.
fn best(what: impl Fn() -> u64) -> f64 {
    let rates = (0..5).map(|_| {
        let start = Instant::now();
        let count = what();
        count as f64 / start.elapsed().as_secs_f64()
    });
    rates.fold(0.0, f64::max)
}

/// Tasks that give way to each other.
fn switches(part: u64) -> u64 {
    let run = Sim::builder().livelock(u64::MAX).build().expect("valid");
    let run = run.try_run(move |rt| {
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                rt.spawn(async move {
                    for _ in 0..10_000 / part {
                        yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.wait().expect("it ends");
        }
    });
    run.expect("nothing is wrong").steps
}

/// Threads that give way to each other.
fn passes(part: u64) -> u64 {
    let run = Sim::builder().livelock(u64::MAX).build().expect("valid");
    let run = run.try_run(move |rt| {
        let closures: Vec<_> = (0..2)
            .map(|_| {
                rt.offload(move || {
                    for _ in 0..20_000 / part {
                        fourway_sim::point();
                    }
                })
            })
            .collect();
        for closure in closures {
            closure.wait().expect("it ends");
        }
    });
    run.expect("nothing is wrong").trace.preemptions()
}

/// An hour of 1,000 tasks, each of which wakes up every minute.
fn hour(part: u64) -> Duration {
    let start = Instant::now();
    Sim::new(1).run(move |rt| {
        let tasks: Vec<_> = (0..1000 / part)
            .map(|_| {
                let inner = rt.clone();
                rt.spawn(async move {
                    for _ in 0..60 {
                        inner.sleep(Duration::from_secs(60)).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.wait().expect("it ends");
        }
    });
    start.elapsed()
}

/// A small test: two tasks, a closure that blocks on one, a timer.
fn seeds(part: u64) -> u64 {
    let checked = Check::default().seeds(2000 / part).run(|rt| {
        let inner = rt.clone();
        let task = rt.spawn(async move { inner.sleep(Duration::from_secs(1)).await });
        let inner = rt.clone();
        let closure = rt.offload(move || inner.block_on(inner.spawn(async { 1 })));
        task.wait().expect("it ends");
        closure.wait().expect("it ends").expect("it ends");
    });
    checked.runs
}

fn main() {
    let part = std::env::args().nth(1);
    let part: u64 = part.map_or(1, |part| part.parse().expect("a part of the work"));
    println!("task switches a second: {:.0}", best(|| switches(part)));
    println!(
        "passes between threads a second: {:.0}",
        best(|| passes(part))
    );
    let hour = (0..5).map(|_| hour(part)).min().expect("five");
    println!("an hour of {} periodic tasks: {hour:.2?}", 1000 / part);
    println!(
        "seeds of a small test a second: {:.0}",
        best(|| seeds(part))
    );
}

//! A program with tasks, closures, timers, nesting and faults, which is the same in each run of a
//! seed. The tests and the example `digest` run it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fourway_core::{BlockOn, Call, Offload, Runtime, Spawner, Task, Timer, yield_now};
use fourway_sim::{Faults, Run, Sim, Strategy};

const MS: Duration = Duration::from_millis(1);

/// Tasks, closures, timers, blocking in closures, to some depth, and faults.
fn program(rt: Sim) -> usize {
    let sum = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..4)
        .map(|n| {
            let (inner, sum) = (rt.clone(), sum.clone());
            rt.spawn_named(format!("task-{n}"), async move {
                for _ in 0..3 {
                    inner.sleep(MS * n).await;
                    yield_now().await;
                }
                let deeper = inner.clone();
                let closure = inner.offload(move || {
                    let task = deeper.spawn(async { 1 });
                    deeper.block_on(task).unwrap_or(0) + nested(&deeper, 3)
                });
                let n = closure.await.unwrap_or(0);
                sum.fetch_add(n, Ordering::Relaxed);
            })
        })
        .collect();
    let dropped = rt.offload(|| 5);
    drop(dropped);
    let calls = (0..3).map(|n| rt.call_blocking(move || n));
    let total: i32 = rt.call_all(calls).wait().into_iter().sum();
    assert_eq!(total, 3);
    for task in tasks {
        let _ = task.wait();
    }
    sum.load(Ordering::Relaxed)
}

pub(crate) fn nested(rt: &Sim, depth: usize) -> usize {
    if depth == 0 {
        return 1;
    }
    let inner = rt.clone();
    rt.offload(move || nested(&inner, depth - 1))
        .wait()
        .unwrap_or(0)
}

pub(crate) fn run(seed: u64, strategy: Strategy, faults: Faults) -> Run<usize> {
    let sim = Sim::builder()
        .seed(seed)
        .strategy(strategy)
        .faults(faults)
        .offload_limit(2)
        .build()
        .unwrap();
    sim.try_run(program)
        .unwrap_or_else(|failure| panic!("{failure}"))
}

/// Runs a seed two times, and compares.
pub(crate) fn twice(seed: u64) -> Run<usize> {
    let strategy = match seed % 3 {
        0 => Strategy::Random,
        1 => Strategy::Pct {
            depth: 3,
            choices: 60,
        },
        _ => Strategy::RoundRobin,
    };
    let faults = if seed % 2 == 0 {
        Faults::none()
    } else {
        Faults::none()
            .slow(100, 5 * MS)
            .cancel(20, ["task-1"])
            .stall(10, 3 * MS)
            .jitter(MS)
    };
    let first = run(seed, strategy.clone(), faults.clone());
    let second = run(seed, strategy, faults);
    if let Some(event) = first.trace.first_difference(&second.trace) {
        let [one, other] = [&first, &second].map(|run| {
            let found = run.trace.events().get(event);
            found.map(|event| run.trace.describe(event))
        });
        panic!("seed {seed} differs from event {event} on: {one:?} and {other:?}");
    }
    assert_eq!(first.output, second.output);
    assert_eq!(first.trace.hash(), second.trace.hash());
    first
}

/// A digest with one more number in it.
pub(crate) fn add(digest: u64, number: u64) -> u64 {
    (digest.rotate_left(7) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

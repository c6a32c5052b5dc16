//! Starting a runtime, and ending it.

use std::{
    hint::black_box,
    io,
    time::{Duration, Instant},
};

use fourway_core::Shutdown;

use crate::{
    operation::{Contender, Metric, Operation, nanoseconds},
    peers::{self, Started, Tasks},
};

const METRICS: &[Metric] = &[nanoseconds("start"), nanoseconds("end")];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("Start and end", "a runtime with two workers", 20, |_| {
            every()
        })
        .metrics(METRICS)
        .note(
            "start: until its first task has been joined. End: until its threads are gone; \
                 for smol, its executor's threads",
        ),
    ]
}

fn every() -> io::Result<Vec<Contender>> {
    const LIMIT: usize = 512;
    Ok(vec![
        contender("Tokio", false, peers::tokio, drop),
        contender("smol", false, peers::smol, drop),
        contender("fourway", true, peers::threads, |started| {
            shut_down(&started.peer.0);
        }),
        contender(
            "fourway on Tokio",
            true,
            || peers::own_tokio(LIMIT),
            |started| {
                shut_down(&started.peer.0);
            },
        ),
        contender(
            "fourway on smol",
            true,
            || peers::own_smol(LIMIT),
            |started| {
                shut_down(&started.peer.0);
            },
        ),
    ])
}

fn shut_down(runtime: &impl Shutdown) {
    let report = runtime.shutdown(Duration::from_secs(10));
    let report = report.expect("this is sync code, and the runtime is its own");
    assert!(report.is_clean(), "{report}");
}

fn contender<P: Tasks>(
    name: &'static str,
    ours: bool,
    start: impl Fn() -> io::Result<Started<P>> + 'static,
    end: impl Fn(Started<P>) + 'static,
) -> Contender {
    Contender::new(name, ours, move |times| {
        let (mut starting, mut ending) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..times {
            let begin = Instant::now();
            let started = start()?;
            black_box(started.peer.in_task(async { black_box(1_u64) }));
            starting += begin.elapsed();
            let begin = Instant::now();
            end(started);
            ending += begin.elapsed();
        }
        let mean = |time: Duration| time.as_nanos() as f64 / f64::from(times);
        Ok(vec![mean(starting), mean(ending)])
    })
}

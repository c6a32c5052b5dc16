//! The cost of an idle runtime.

use std::{io, thread, time::Duration};

use cpu_time::ProcessTime;

use crate::{
    operation::{Contender, Metric, Operation, nanoseconds},
    peers::{self, Blocking, Started, Tasks, Time},
    process,
    promise::Promise,
};

const CPU: &[Metric] = &[nanoseconds("CPU time")];
const SECONDS: u32 = 10;

const CONTENDERS: [(&str, bool); 5] = [
    ("Tokio", false),
    ("smol", false),
    ("fourway", true),
    ("fourway on Tokio", true),
    ("fourway on smol", true),
];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("Idle", "an idle runtime, over 10 s", SECONDS, |_| {
            let child = |(name, ours): (&'static str, bool)| {
                Contender::new(name, ours, move |seconds| {
                    process::child(&format!("idle/{name}/{seconds}"))
                })
            };
            Ok(CONTENDERS.map(child).into())
        })
        .metrics(CPU)
        .at_most_rounds(3)
        .without_warm_up()
        .note(
            "in a process of its own, after it has run tasks, a closure and a timer, and a second \
             of rest. Below half a millisecond counts as half a millisecond",
        )
        .promise(Promise::ratio("fourway", "Tokio", 1.0).floor(500_000.0))
        .promise(Promise::under("fourway", 5_000_000.0)),
    ]
}

/// In the child.
pub(crate) fn idle(contender: &str, seconds: u32) -> io::Result<Vec<f64>> {
    match contender {
        "Tokio" => rest(&peers::tokio()?, seconds),
        "smol" => rest(&peers::smol()?, seconds),
        "fourway" => rest(&peers::threads()?, seconds),
        "fourway on Tokio" => rest(&peers::on_tokio()?, seconds),
        "fourway on smol" => rest(&peers::on_smol()?, seconds),
        _ => Err(process::unknown(contender)),
    }
}

fn rest<P: Tasks + Blocking + Time>(started: &Started<P>, seconds: u32) -> io::Result<Vec<f64>> {
    let peer = &started.peer;
    for _ in 0..100 {
        peer.in_task(async {});
    }
    peer.wait(peer.start(|| ()));
    peer.in_task(peer.sleep(Duration::from_millis(10)));
    thread::sleep(Duration::from_secs(1));
    let before = ProcessTime::try_now()?;
    thread::sleep(Duration::from_secs(u64::from(seconds)));
    Ok(vec![before.try_elapsed()?.as_nanos() as f64])
}

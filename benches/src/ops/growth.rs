//! From one task to a million.

use std::{hint::black_box, io, time::Instant};

use super::measured;
use crate::{
    operation::{Contender, Operation},
    peers::{self, Started, Tasks},
};

/// Its plot is a line, from the first operation to the last.
pub(crate) const SECTION: &str = "Growth";

pub(super) fn operations() -> Vec<Operation> {
    let sizes = [
        ("1 task", 1),
        ("10 tasks", 10),
        ("100 tasks", 100),
        ("1,000 tasks", 1_000),
        ("10,000 tasks", 10_000),
        ("100,000 tasks", 100_000),
        ("1,000,000 tasks", 1_000_000),
    ];
    let operation = |(name, tasks): (&'static str, u32)| {
        let times = (20_000 / tasks).max(1);
        let operation = Operation::new(SECTION, name, times, move |setting| {
            every(if setting.quick {
                tasks.min(100_000)
            } else {
                tasks
            })
        })
        .note("a task spawns so many and awaits them all; the figure is for one of them");
        if tasks < 100_000 {
            operation
        } else {
            operation.at_most_rounds(5)
        }
    };
    sizes.map(operation).into()
}

fn every(tasks: u32) -> io::Result<Vec<Contender>> {
    Ok(vec![
        contender(peers::tokio()?, tasks),
        contender(peers::smol()?, tasks),
        contender(peers::futures_pool()?, tasks),
        contender(peers::threads()?, tasks),
        contender(peers::on_tokio()?, tasks),
        contender(peers::on_smol()?, tasks),
    ])
}

fn contender<P: Tasks>(peer: Started<P>, tasks: u32) -> Contender {
    measured(peer, move |peer, times| {
        let inner = peer.clone();
        let took = peer.in_task(async move {
            let start = Instant::now();
            for _ in 0..times {
                let handles: Vec<_> = (0..tasks)
                    .map(|_| inner.spawn(async { black_box(1_u64) }))
                    .collect();
                for handle in handles {
                    black_box(P::output(handle.await));
                }
            }
            start.elapsed()
        });
        vec![took.as_nanos() as f64 / f64::from(times) / f64::from(tasks)]
    })
}

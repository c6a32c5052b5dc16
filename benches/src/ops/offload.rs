//! Many closures at once, and closures that offload closures.

use std::{hint::black_box, io};

use super::timed;
use crate::{
    operation::{Contender, Operation},
    peers::{self, Blocking, Started},
    promise::Promise,
};

const SECTION: &str = "Offload in numbers";

/// How deep closures are nested.
const DEPTH: u32 = 8;

pub(super) fn operations() -> Vec<Operation> {
    vec![
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

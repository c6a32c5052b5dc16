//! Spawning and joining.

use std::hint::black_box;

use super::{Job, every, with_wrappers};
use crate::{operation::Operation, peers::Tasks, promise::Promise};

const SECTION: &str = "Spawn and join";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(SECTION, "spawn + join, from a task", 20_000, |_| {
            with_wrappers(every(OneByOne)?, OneByOne)
        })
        .note("a task spawns a task and awaits it, and then the next")
        .promise(Promise::ratio("fourway", "Tokio", 0.60))
        .promise(Promise::ratio("fourway", "smol", 0.95)),
        Operation::new(SECTION, "spawn + join, from outside", 2_000, |_| {
            every(OneByOneOutside)
        })
        .note("the same, from the future that a sync thread drives with `block_on`"),
        Operation::new(SECTION, "spawn 10k, join all", 10_000, |_| {
            with_wrappers(every(Batch)?, Batch)
        })
        .lead()
        .note("a task spawns all, and then awaits all; the figure is for one")
        .promise(Promise::ratio("fourway", "Tokio", 0.30))
        .promise(Promise::ratio("fourway", "smol", 0.90)),
        Operation::new(SECTION, "spawn 10k from outside", 10_000, |_| {
            every(BatchOutside)
        })
        .lead()
        .note("the same, from the future that a sync thread drives with `block_on`")
        .promise(Promise::ratio("fourway", "Tokio", 0.35))
        .promise(Promise::ratio("fourway", "smol", 0.90)),
    ]
}

async fn one_by_one<P: Tasks>(peer: P, times: u32) {
    for _ in 0..times {
        black_box(P::output(peer.spawn(async { black_box(1_u64) }).await));
    }
}

async fn batch<P: Tasks>(peer: P, times: u32) {
    let tasks: Vec<_> = (0..times)
        .map(|_| peer.spawn(async { black_box(1_u64) }))
        .collect();
    for task in tasks {
        black_box(P::output(task.await));
    }
}

#[derive(Clone, Copy)]
pub(super) struct OneByOne;

impl Job for OneByOne {
    fn run<P: Tasks>(self, peer: &P, times: u32) {
        peer.in_task(one_by_one(peer.clone(), times));
    }
}

#[derive(Clone, Copy)]
struct OneByOneOutside;

impl Job for OneByOneOutside {
    fn run<P: Tasks>(self, peer: &P, times: u32) {
        peer.block_on(one_by_one(peer.clone(), times));
    }
}

#[derive(Clone, Copy)]
struct Batch;

impl Job for Batch {
    fn run<P: Tasks>(self, peer: &P, times: u32) {
        peer.in_task(batch(peer.clone(), times));
    }
}

#[derive(Clone, Copy)]
struct BatchOutside;

impl Job for BatchOutside {
    fn run<P: Tasks>(self, peer: &P, times: u32) {
        peer.block_on(batch(peer.clone(), times));
    }
}

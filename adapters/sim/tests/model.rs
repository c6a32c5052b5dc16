//! The job manager beside its model, under many schedules and with faults.

#[path = "../../../jobs/tests/model/program.rs"]
mod program;

use std::time::Duration;

use fourway_core::AnyRuntime;
use fourway_sim::{Check, Faults, Sim};
use program::{Op, check, op};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

const MS: Duration = Duration::from_millis(1);

/// Operations that are drawn from the seed, too.
fn operations(seed: u64) -> (usize, Vec<Op>) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let all = (1_usize..4, prop::collection::vec(op(), 1..60));
    all.new_tree(&mut runner)
        .expect("nothing is filtered out")
        .current()
}

fn simulated(seeds: u64, faults: Faults, disturbed: bool) {
    Check::default()
        .seeds(seeds)
        .with(Sim::builder().faults(faults).offload_limit(4))
        .run(move |rt| {
            let (concurrency, operations) = operations(rt.seed());
            check(&AnyRuntime::new(rt), concurrency, operations, disturbed);
        });
}

#[test]
fn the_manager_does_what_its_model_does_under_many_schedules() {
    simulated(1000, Faults::none(), false);
}

#[test]
fn and_if_some_are_late() {
    simulated(300, Faults::none().slow(100, MS).jitter(MS), false);
}

#[test]
fn every_job_has_an_end_if_tasks_are_cancelled_at_any_await() {
    simulated(1000, Faults::none().cancel(20, [""]), true);
}

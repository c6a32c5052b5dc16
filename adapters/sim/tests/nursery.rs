//! The nursery's random trees, under many schedules and with faults.

#[path = "../../../nursery/tests/random/trees.rs"]
mod trees;

use std::{sync::Arc, time::Duration};

use fourway_core::AnyRuntime;
use fourway_sim::{Check, Faults, Sim};
use trees::{Plan, Random, run_root};

const MS: Duration = Duration::from_millis(1);

/// A tree is made from the seed, too.
fn trees(seeds: u64, faults: Faults, disturbed: bool) {
    Check::default()
        .seeds(seeds)
        .with(Sim::builder().faults(faults).offload_limit(3))
        .run(move |rt| {
            let plan = Arc::new(Plan::make(&mut Random(rt.seed()), 0));
            run_root(&AnyRuntime::new(rt), &plan, disturbed);
        });
}

#[test]
fn random_trees_end_whole_under_many_schedules() {
    trees(1000, Faults::none(), false);
}

#[test]
fn and_if_some_are_late() {
    trees(300, Faults::none().slow(100, MS).stall(20, MS), false);
}

#[test]
fn and_if_tasks_are_cancelled_at_any_await() {
    trees(1000, Faults::none().cancel(20, [""]), true);
}

#[test]
fn and_if_threads_do_not_start() {
    trees(300, Faults::none().no_thread(100), true);
}

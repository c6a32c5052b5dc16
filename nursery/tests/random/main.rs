//! Random trees of nurseries, each made from a seed and run on every runtime.
//!
//! Whatever the tree does (fails, panics, is cancelled, meets its deadline, is dropped half-way;
//! tasks, closures, shields, nurseries in tasks and in closures, async and sync):
//!
//! * when a nursery is over, nothing is left of its children or of the nurseries in them, at any
//!   depth: each has been destroyed, and each closure ended;
//! * every child is accounted for: it succeeded, or is a failure, or was cancelled;
//! * where the outcome does not depend on the order in which things happen, it is the same on
//!   all runtimes, and the one that is expected.
//!
//! `FOURWAY_NURSERY_SEED=7` runs one seed, `=1000..2000` a part of the soak's.

mod trees;

use std::{ops::Range, sync::Arc};

use fourway_testing::runtimes;
use trees::{Plan, Random, run_root};

#[test]
fn random_trees_end_whole_on_every_runtime() {
    check(asked_for().unwrap_or(0..300));
}

fn asked_for() -> Option<Range<u64>> {
    let seeds = std::env::var("FOURWAY_NURSERY_SEED").ok()?;
    let number = |text: &str| text.parse::<u64>().expect("a number");
    Some(match seeds.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&seeds)..number(&seeds) + 1,
    })
}

/// Only where soaks are asked for: other seeds than the test's, and many more.
#[test]
fn soak_random_trees() {
    if std::env::var_os("FOURWAY_SOAK_SECONDS").is_some() {
        check(1_000..11_000);
    }
}

fn check(seeds: Range<u64>) {
    let runtimes = runtimes();
    for seed in seeds {
        let plan = Arc::new(Plan::make(&mut Random(seed), 0));
        for (name, rt) in &runtimes {
            // Printed if the test fails.
            println!("seed {seed} on {name}: {plan:?}");
            run_root(rt, &plan, false);
        }
    }
}

//! The nursery's random trees, under many schedules and with faults.

#[path = "../../../nursery/tests/random/trees.rs"]
mod trees;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fourway_core::{AnyRuntime, BlockOn, Runtime};
use fourway_nursery::Nursery;
use fourway_sim::{Check, Faults, Sim, UnitKind};
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

/// The trace speaks of the program's lines, and not of the nursery's.
#[test]
fn children_are_traced_by_the_lines_that_spawned_them() {
    let ran = Sim::builder().seed(1).build().unwrap().try_run(|rt| {
        rt.block_on(Nursery::<_, String>::builder(&rt).run(async |n| {
            let mut spawned = BTreeSet::new();
            n.named("task").spawn(async { Ok(()) });
            spawned.insert((Some("task".to_owned()), line!() - 1));
            n.named("closure").offload(|| Ok(()));
            spawned.insert((Some("closure".to_owned()), line!() - 1));
            // The call's body, and the task that waits for it.
            n.call(rt.call_blocking(|| Ok(())));
            spawned.insert((None, line!() - 1));
            Ok(spawned)
        }))
    });
    let ran = ran.unwrap();
    let wanted = ran.output.unwrap();
    let started: BTreeSet<_> = (ran.trace.units().iter())
        .filter(|unit| matches!(unit.kind, UnitKind::Task | UnitKind::Closure))
        .map(|unit| {
            let at = unit.location.expect("it was started by the program");
            assert_eq!(at.file(), file!(), "{unit}");
            (unit.name.clone(), at.line())
        })
        .collect();
    assert_eq!(started, wanted);
}

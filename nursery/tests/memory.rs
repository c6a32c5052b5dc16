//! The memory of a nursery: while its children are there, and when they have gone. One test, so
//! that nothing else allocates meanwhile.

use std::convert::Infallible;

use fourway_core::{AnyRuntime, BlockOn, Spawner, Task};
use fourway_nursery::{Nursery, NurseryError};
use fourway_testing::{Counter, Counting, Gate, run, runtimes};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn in_use() -> usize {
    Counting::in_use()
}

type Ended = Result<(), NurseryError<Infallible>>;

/// Waits at a gate, once it has said that it is there.
async fn wait(there: Counter, all: usize, all_there: Gate, go: Gate) -> Result<(), Infallible> {
    if there.add() == all {
        all_there.open();
    }
    go.pass().await;
    Ok(())
}

/// The memory of `count` waiting tasks.
fn tasks(rt: &AnyRuntime, count: usize) -> usize {
    let (there, all_there, go) = (Counter::default(), Gate::default(), Gate::default());
    let before = in_use();
    let tasks: Vec<_> = (0..count)
        .map(|_| rt.spawn(wait(there.clone(), count, all_there.clone(), go.clone())))
        .collect();
    run(rt, all_there.pass());
    let used = in_use() - before;
    tasks.into_iter().for_each(Task::detach);
    go.open();
    fourway_testing::eventually("the tasks are gone", || in_use() < before + used / 2);
    used / count
}

/// The memory of `count` waiting children.
fn children(rt: &AnyRuntime, count: usize) -> usize {
    let mut used = 0;
    let ended: Ended = rt.block_on(Nursery::builder(rt).run(async |n| {
        let (there, all_there, go) = (Counter::default(), Gate::default(), Gate::default());
        let before = in_use();
        for _ in 0..count {
            n.spawn(wait(there.clone(), count, all_there.clone(), go.clone()));
        }
        all_there.pass().await;
        used = in_use() - before;
        go.open();
        Ok(())
    }));
    ended.unwrap();
    used / count
}

/// The memory of each child that waits in line, of `count` children of which so many run at a time.
fn in_line(rt: &AnyRuntime, count: usize, limit: usize) -> usize {
    let mut used = 0;
    let ended: Ended = rt.block_on(Nursery::builder(rt).limit(limit).run(async |n| {
        let (there, all_there, go) = (Counter::default(), Gate::default(), Gate::default());
        for _ in 0..limit {
            n.spawn(wait(there.clone(), limit, all_there.clone(), go.clone()));
        }
        all_there.pass().await;
        let before = in_use();
        for _ in limit..count {
            n.spawn(wait(there.clone(), count, all_there.clone(), go.clone()));
        }
        used = in_use() - before;
        go.open();
        Ok(())
    }));
    ended.unwrap();
    used / (count - limit)
}

/// How much more is in use after `count` short children than after the first tenth of them.
fn kept(rt: &AnyRuntime, count: usize) -> usize {
    let mut kept = 0;
    let ended: Ended = rt.block_on(Nursery::builder(rt).limit(64).run(async |n| {
        let mut after_a_tenth = 0;
        for i in 0..count {
            if i % 16 == 0 {
                drop(n.offload_handle(move || Ok(i)));
            } else {
                n.spawn(async { Ok(()) }).await;
            }
            if i == count / 10 {
                after_a_tenth = in_use();
            }
        }
        kept = in_use().saturating_sub(after_a_tenth);
        Ok(())
    }));
    ended.unwrap();
    kept
}

#[test]
fn a_child_takes_little_and_leaves_nothing() {
    for (name, rt) in runtimes() {
        // All at once; but a thread for each task on the adapter of ten lines, of which a system
        // has fewer. There, all but a hundred of the 100,000 wait in line.
        if name == "ten lines" {
            let in_line = in_line(&rt, 100_000, 100);
            println!("{name}: {in_line} bytes for a child that waits in line");
            assert!(in_line <= 512, "{name}: {in_line} bytes in line");
            continue;
        }
        let count = 100_000;
        let (bare, child) = (tasks(&rt, count), children(&rt, count));
        println!("{name}: {child} bytes for a child that waits, {bare} for a task that does");
        assert!(child <= bare + 256, "{name}: {child} bytes, bare {bare}");
        // With room for those that are there at a time, and for what the runtime keeps.
        let kept = kept(&rt, 20_000);
        assert!(kept < 500_000, "{name}: {kept} bytes are kept");
    }
}

/// Only where soaks are asked for: a million on each.
#[test]
fn soak_a_million_short_children_leave_nothing() {
    if std::env::var_os("FOURWAY_SOAK_SECONDS").is_none() {
        return;
    }
    for (name, rt) in runtimes() {
        if name != "ten lines" {
            let kept = kept(&rt, 1_000_000);
            println!("{name}: {kept} bytes are kept");
            assert!(kept < 500_000, "{name}: {kept} bytes are kept");
        }
    }
}

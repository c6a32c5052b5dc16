//! The allocations of `execute` and of sessions, counted exactly, compared with direct spawning and
//! offloading.
//!
//! One test: the counter counts a thread, and this thread drives everything.

use std::{future::Future, hint::black_box};

use fourway_core::{Call, Runtime, Spawner};
use fourway_execute::{Executor, Model, Session, execute, short};
use fourway_testing::Counting;
use fourway_tokio::Tokio;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of this thread in each of 100 runs, after the first 1,000.
async fn each<F: Future>(mut run: impl FnMut() -> F) -> usize {
    for _ in 0..1_000 {
        black_box(run().await);
    }
    let before = Counting::of_this_thread();
    for _ in 0..100 {
        black_box(run().await);
    }
    let all = Counting::of_this_thread() - before;
    // Queues and lists grow now and then.
    (all + 50) / 100
}

#[test]
fn the_door_allocates_nothing() {
    // A runtime that this thread drives, so that all is counted.
    let native = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let rt = Tokio::from_handle(native.handle().clone());
    native.block_on(async {
        let spawned = each(|| rt.spawn(async { black_box(1) })).await;
        let call = || rt.call(async { black_box(1) });
        let spawned_call = each(|| call().spawn()).await;
        let executor = |model| Executor::new(rt.clone(), model);
        let (route, in_place) = (executor(Model::Route), executor(Model::Async));

        println!("spawn: {spawned}");
        assert_eq!(each(|| execute(&rt, async { black_box(1) })).await, spawned);
        assert_eq!(each(|| execute(&rt, async || black_box(1))).await, spawned);
        assert_eq!(each(|| execute(&rt, call())).await, spawned_call);
        assert_eq!(
            each(|| route.execute(async { black_box(1) })).await,
            spawned
        );
        // In place, and watched: the list of watched closures has room.
        assert_eq!(
            each(|| in_place.execute(short(|| black_box(1)))).await,
            spawned
        );

        let session = Session::new(rt.clone(), Model::Route, 0_u64);
        let executed = each(|| session.execute(async |mut n| *n += 1)).await;
        println!("an async execution in a session: {executed}");
        // Its token, and a node of the values that makes the token current.
        assert_eq!(executed, spawned + 2);
        let with_deadline = Session::builder(executor(Model::Route))
            .deadline(std::time::Duration::from_secs(60))
            .build(0_u64);
        let executed = each(|| with_deadline.execute(async |mut n| *n += 1)).await;
        println!("the same, with a deadline: {executed}");
        // Its own token from the turn on, and the clock of the token.
        assert_eq!(executed, spawned + 4);
    });
}

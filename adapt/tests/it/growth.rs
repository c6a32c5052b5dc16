//! Closures that block for less time than the pool takes to decide.

use std::{
    thread,
    time::{Duration, Instant},
};

use fourway_adapt::pool::{PoolBuilder, StdThreads};

#[test]
fn closures_that_block_briefly_get_threads() {
    let pool = PoolBuilder::default()
        .eager(2)
        .build(StdThreads::new("brief"))
        .unwrap();
    // Eight at a time, each of which leaves a successor.
    fn next(pool: &fourway_adapt::pool::Pool) {
        let again = pool.clone();
        let closure = move || {
            // Blocks for as long as one look of the standby: what this is about.
            thread::sleep(Duration::from_millis(1));
            next(&again);
        };
        drop(pool.try_offload(closure).map(fourway_core::Task::detach));
    }
    (0..8).for_each(|_| next(&pool));
    let start = Instant::now();
    while pool.status().running < 6 {
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(30), "{:?}", pool.status());
        // The pool does not report the start of a thread.
        thread::sleep(Duration::from_millis(1));
    }
    pool.close();
    let status = pool.wait_ended(Some(Instant::now() + Duration::from_secs(30)));
    assert_eq!(status.threads, 0);
}

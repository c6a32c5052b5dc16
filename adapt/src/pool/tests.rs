//! States that cannot be seen from outside.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use fourway_core::Task;

use super::{PoolBuilder, PoolStatus, StdThreads};

const DEADLINE: Duration = Duration::from_secs(60);

/// A closure that waits for another could run it in its own slot at once. It does not if a closure
/// that had lent its slot wants it back: the returning closure goes first (OF-4, nested offload
/// never starves).
#[test]
fn a_thread_that_helps_lets_a_returning_closure_go_first() {
    let pool = PoolBuilder::default()
        .limit(1)
        .build(StdThreads::new("one"))
        .unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let order = order.clone();
        move || order.lock().unwrap().push(what)
    };
    let (parks, parked) = mpsc::channel();
    let (come_back, event) = mpsc::channel::<()>();
    let returns = pool.offload({
        let note = note("returned");
        move || {
            let lent = super::lend();
            parks.send(()).unwrap();
            event.recv().unwrap();
            drop(lent);
            note();
        }
    });
    parked.recv_timeout(DEADLINE).unwrap();
    let waits = pool.offload({
        let (pool, note) = (pool.clone(), note("helped"));
        move || {
            come_back.send(()).unwrap();
            let deadline = Instant::now() + DEADLINE;
            while pool.owner.inner.lock().returning.is_empty() {
                assert!(Instant::now() < deadline, "it does not come back");
                std::thread::yield_now();
            }
            pool.offload(note).wait().unwrap();
        }
    });
    crate::run(returns).unwrap();
    crate::run(waits).unwrap();
    assert_eq!(*order.lock().unwrap(), ["returned", "helped"]);
    pool.close();
    assert_eq!(pool.wait_ended(None), PoolStatus::default());
}

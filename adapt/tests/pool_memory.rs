//! Cancelled closures in a pool's queue take no memory for long.

use std::sync::mpsc;

use fourway_adapt::{
    self as adapt,
    pool::{PoolBuilder, PoolStatus, StdThreads},
};
use fourway_testing::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A million closures are offloaded and cancelled behind one that does not end: a server
/// whose clients give up while its disk hangs. Those that are still wanted wait among them,
/// and run in order.
#[test]
fn cancelled_closures_are_swept_out() {
    const CANCELLED: usize = 1_000_000;
    const WANTED: usize = 10;

    let pool = PoolBuilder::default()
        .limit(1)
        .build(StdThreads::new("stuck"))
        .unwrap();
    let (go, wait) = mpsc::channel::<()>();
    let stuck = pool.offload(move || wait.recv().unwrap());
    let (ran, order) = mpsc::channel();
    let mut wanted = Vec::new();
    let before = Counting::in_use();
    let mut most = 0;
    for n in 0..CANCELLED {
        if n % (CANCELLED / WANTED) == 0 {
            let ran = ran.clone();
            wanted.push(pool.offload(move || ran.send(n).unwrap()));
        }
        drop(pool.offload(|| ()));
        most = most.max(Counting::in_use());
    }
    // A thousandth of what they take together.
    let grown = most.saturating_sub(before);
    assert!(
        grown < CANCELLED / 10,
        "{grown} bytes for {CANCELLED} cancelled closures"
    );
    let status = pool.status();
    assert_eq!(status.queued, WANTED);

    go.send(()).unwrap();
    assert!(adapt::run(stuck).is_ok());
    for task in wanted {
        assert!(adapt::run(task).is_ok());
    }
    let order: Vec<_> = order.try_iter().collect();
    assert!(order.is_sorted() && order.len() == WANTED, "{order:?}");
    pool.close();
    assert_eq!(pool.wait_ended(None), PoolStatus::default());
}

//! Wakers made by hand may panic. Their caller has other tasks to serve.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use fourway_adapt::{
    self as adapt,
    pool::{PoolBuilder, PoolStatus, StdThreads},
    timer::Timers,
};
use fourway_core::Timer;

#[derive(Default)]
struct Panics(AtomicBool);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
        panic!("expected: a waker that panics");
    }
}

/// The pool's thread survives, and so do its counts.
#[test]
fn pool() {
    let pool = PoolBuilder::default()
        .limit(1)
        .build(StdThreads::new("pool"))
        .unwrap();
    let panics = Arc::new(Panics::default());
    let waker = Waker::from(panics.clone());
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let mut task = pin!(pool.offload(move || wait.recv().unwrap()));
    let poll = task.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
    go.send(()).unwrap();
    while !panics.0.load(Ordering::Acquire) {
        thread::yield_now();
    }
    assert!(adapt::run(task).is_ok());
    assert_eq!(adapt::run(pool.offload(|| 7)).ok(), Some(7));
    pool.close();
    assert_eq!(pool.wait_ended(None), PoolStatus::default());
}

/// The other timers fire.
#[test]
fn timers() {
    let timers = Timers::new("timers");
    let waker = Waker::from(Arc::new(Panics::default()));
    let mut first = pin!(timers.sleep(Duration::from_millis(20)));
    let poll = first.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
    adapt::run(timers.sleep(Duration::from_millis(40)));
    adapt::run(first);
}

//! A joiner's waker that panics does not take the worker with it.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use fourway_adapt::{self as adapt};
use fourway_core::{Shutdown, Spawner};
use fourway_std_thread::StdThread;

#[derive(Default)]
struct Panics(AtomicBool);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
        panic!("expected: a waker that panics");
    }
}

#[test]
fn worker_survives() {
    let rt = StdThread::builder().worker_threads(1).build().unwrap();
    let panics = Arc::new(Panics::default());
    let waker = Waker::from(panics.clone());
    let (go, wait) = mpsc::channel::<()>();
    let mut task = pin!(rt.spawn(async move { wait.recv().is_ok() }));
    let poll = task.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
    go.send(()).unwrap();
    while !panics.0.load(Ordering::Acquire) {
        thread::yield_now();
    }
    assert!(adapt::run(task).unwrap());
    // The only worker there is.
    assert_eq!(adapt::run(rt.spawn(async { 7 })).unwrap(), 7);
    let report = rt.shutdown(Duration::MAX).unwrap();
    assert_eq!((report.tasks_running, report.threads_running), (0, 0));
}

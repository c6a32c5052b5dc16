//! Driving futures without a runtime.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use super::waiting::must;

/// Drives a future on a plain thread without a runtime, so that a case can watch joins outside of
/// the runtime under test.
#[track_caller]
pub(crate) fn drive<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread, AtomicBool);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.1.store(true, Ordering::SeqCst);
            self.0.unpark();
        }
    }
    let unpark = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(unpark.clone());
    let mut cx = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    let start = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        // Only a wake leads to another poll: a lost wake must not go unnoticed.
        while !unpark.1.swap(false, Ordering::SeqCst) {
            assert!(start.elapsed() < must(), "a future was not ready in time");
            thread::park_timeout(Duration::from_millis(100));
        }
    }
}

/// Polls a future once, by hand.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

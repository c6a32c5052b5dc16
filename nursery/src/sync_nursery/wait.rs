//! Blocking until there is something: by the runtime, or by the thread's own means.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
};

use fourway_core::{BlockOn, BlockOnError};

/// [`BlockOn`] without its type. All waits for children use it, so that a waiting closure of the
/// pool lends its place to the closures that the child may offload (OF-4, nested offload never
/// starves).
pub(crate) trait Wait: Send + Sync {
    fn wait(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError>;
}

impl<R: BlockOn + Send + Sync> Wait for R {
    fn wait(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        self.try_block_on(future)
    }
}

/// Blocks until there is something, where blocking is allowed.
pub(super) fn wait_for<T>(wait: &dyn Wait, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let mut ready = None;
    let waited = {
        let waiting = pin!(async { ready = Some(poll_fn(&mut poll).await) });
        wait.wait(waiting)
    };
    match (waited, ready) {
        (Ok(()), Some(output)) => output,
        // No thread drives the runtime: by the thread's own means.
        _ => park_for(poll),
    }
}

pub(super) fn park_for<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let bell = Arc::new(Bell {
        thread: thread::current(),
        rung: AtomicBool::new(false),
    });
    let waker = Waker::from(bell.clone());
    loop {
        if let Poll::Ready(output) = poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        // Acquire: pairs with the release in `wake`. A token of the thread that was meant for
        // another wait only makes this one look once more.
        while !bell.rung.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

/// Wakes a thread.
pub(super) struct Bell {
    thread: thread::Thread,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

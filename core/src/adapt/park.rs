//! Driving a future on a plain thread: [`block_on`] and [`Root`].

use std::{
    cell::Cell,
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering, fence},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use pin_project_lite::pin_project;

use super::pool::{self, Lent};
use crate::{
    BlockOnError,
    context::{self, RuntimeId},
};

/// Runs `future` to its end on the calling thread, parking it meanwhile.
///
/// A complete [`BlockOn::try_block_on`](crate::BlockOn::try_block_on) for
/// runtimes whose tasks and timers need no help from the blocked thread.
///
/// # Errors
///
/// If the thread is running async code (BL-2).
pub fn block_on<F: Future>(
    future: F,
    runtime: Option<RuntimeId>,
) -> Result<F::Output, BlockOnError> {
    context::check_may_block()?;
    Ok(drive(Root::new(future, runtime)))
}

fn drive<F: Future>(root: Root<F>) -> F::Output {
    let parker = CachedParker::take();
    let mut root = pin!(root);
    let mut cx = Context::from_waker(&parker.waker);
    loop {
        if let Poll::Ready(output) = root.as_mut().poll(&mut cx) {
            return output;
        }
        parker.signal.wait();
    }
}

pin_project! {
    /// The future that an adapter drives in place of the one given to
    /// `block_on`.
    ///
    /// It marks the thread as running async code during each poll. If the
    /// thread is running an offloaded closure, it lends the closure's place in
    /// the pool from the first `Pending` on (OF-4), and takes it back when it
    /// is dropped, which waits until there is one.
    pub struct Root<F> {
        // Before `lent`: the future is destroyed first.
        #[pin]
        future: F,
        runtime: Option<RuntimeId>,
        lent: Option<Lent>,
    }
}

impl<F> Root<F> {
    /// Wraps `future`, which belongs to `runtime`.
    pub fn new(future: F, runtime: Option<RuntimeId>) -> Self {
        Self {
            future,
            runtime,
            lent: None,
        }
    }
}

impl<F: Future> Future for Root<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let poll = {
            let _mark = context::enter(context::Context::Async, *this.runtime);
            this.future.poll(cx)
        };
        if poll.is_pending() && this.lent.is_none() {
            *this.lent = pool::lend();
        }
        poll
    }
}

impl<F> fmt::Debug for Root<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("lent", &self.lent.is_some())
            .finish_non_exhaustive()
    }
}

/// Wakes one thread. The flag, not the thread's park token, says whether it was
/// woken: user code polled on the thread may park by itself and eat the token
/// (BL-5), and tokens left over from elsewhere must not cause a poll.
struct Signal {
    woken: AtomicBool,
    thread: Thread,
}

impl Signal {
    fn wait(&self) {
        // Acquire pairs with the Release in `wake_by_ref`: what the waker's
        // side did before waking is visible to the poll that follows.
        while !self.woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The flag is set before the token: a thread that is just going to park
        // sees one or the other.
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

struct Parker {
    signal: Arc<Signal>,
    waker: Waker,
}

thread_local! {
    // Making a waker allocates; a thread that blocks once will block again.
    static CACHED: Cell<Option<Parker>> = const { Cell::new(None) };
}

/// The thread's parker, taken out of the cache while it is in use: a nested
/// `block_on` on the same thread gets one of its own, and so cannot eat the
/// outer one's wake-up.
struct CachedParker(Option<Parker>);

impl CachedParker {
    fn take() -> Self {
        // The cache is gone while the thread's locals are being destroyed.
        let cached = CACHED.try_with(Cell::take).ok().flatten();
        let parker = cached.unwrap_or_else(|| {
            let signal = Arc::new(Signal {
                woken: AtomicBool::new(false),
                thread: thread::current(),
            });
            Parker {
                waker: Waker::from(signal.clone()),
                signal,
            }
        });
        Self(Some(parker))
    }
}

impl std::ops::Deref for CachedParker {
    type Target = Parker;
    fn deref(&self) -> &Parker {
        self.0.as_ref().expect("present until dropped")
    }
}

impl Drop for CachedParker {
    fn drop(&mut self) {
        let Some(parker) = self.0.take() else { return };
        // Someone may have kept a clone of the waker (count > ours and the
        // waker's). Used again, the parker would let that clone cause polls of a
        // future it has nothing to do with (WA-1).
        if Arc::strong_count(&parker.signal) == 2 {
            // Pairs with the Release in the drop of the last foreign clone, so
            // that a wake through it is ordered before the reset below.
            fence(Ordering::Acquire);
            // Relaxed: nobody else can reach the flag any more.
            parker.signal.woken.store(false, Ordering::Relaxed);
            let _ = CACHED.try_with(|cache| cache.set(Some(parker)));
        }
    }
}

/// Runs an executor's future to its end on a thread that belongs to the
/// executor, parking it meanwhile.
///
/// Unlike [`block_on`] it asks no question and marks nothing: the thread does
/// what it is there for. The wrappers around the tasks do the marking.
pub fn run<F: Future>(future: F) -> F::Output {
    let parker = CachedParker::take();
    let mut future = pin!(future);
    let mut cx = Context::from_waker(&parker.waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        parker.signal.wait();
    }
}

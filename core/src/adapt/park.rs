//! Driving a future on a plain thread: [`block_on`] and [`Root`].

use std::{
    cell::{RefCell, RefMut},
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use pin_project_lite::pin_project;

use super::pool::{self, Lent};
use crate::{
    BlockOnError,
    context::{self, RuntimeId},
    sync::{
        atomic::{AtomicBool, Ordering, fence},
        thread::{self, Thread},
        thread_local,
    },
};

/// Runs `future` to its end on the calling thread, parking it meanwhile.
///
/// A complete [`BlockOn::try_block_on`](crate::BlockOn::try_block_on) for
/// runtimes whose tasks and timers need no help from the blocked thread.
///
/// # Errors
///
/// If the thread is running async code (BL-2).
#[inline]
pub fn block_on<F: Future>(
    future: F,
    runtime: Option<RuntimeId>,
) -> Result<F::Output, BlockOnError> {
    context::check_may_block()?;
    Ok(drive(Root::new(future, runtime)))
}

#[inline]
fn drive<F: Future>(root: Root<F>) -> F::Output {
    let mut root = pin!(root);
    with_parker(|parker| poll_to_end(root.as_mut(), parker))
}

#[inline]
fn poll_to_end<F: Future>(mut future: Pin<&mut F>, parker: &Parker) -> F::Output {
    let mut cx = Context::from_waker(&parker.waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        parker.signal.wait();
    }
}

pin_project! {
    /// The future that an adapter drives in place of the one given to
    /// `block_on`.
    ///
    /// It marks the thread as running async code during each poll, and while the
    /// future is destroyed (BL-2). If the thread is running an offloaded closure, it lends the closure's place in
    /// the pool from the first `Pending` on (OF-4), and takes it back when it
    /// is dropped, which waits until there is one.
    pub struct Root<F> {
        // `None` only while it is being dropped. It is destroyed before the lent
        // slot is taken back.
        #[pin]
        future: Option<F>,
        runtime: Option<RuntimeId>,
        lent: Option<Lent>,
    }

    impl<F> PinnedDrop for Root<F> {
        #[inline]
        fn drop(this: Pin<&mut Self>) {
            if std::mem::needs_drop::<F>() {
                let mut this = this.project();
                let _mark = context::enter(context::Context::Async, *this.runtime);
                this.future.set(None);
            }
        }
    }
}

impl<F> Root<F> {
    /// Wraps `future`, which belongs to `runtime`.
    pub fn new(future: F, runtime: Option<RuntimeId>) -> Self {
        Self {
            future: Some(future),
            runtime,
            lent: None,
        }
    }
}

impl<F: Future> Future for Root<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let poll = {
            let _mark = context::enter(context::Context::Async, *this.runtime);
            let future = this.future.as_pin_mut();
            future.expect("present until dropped").poll(cx)
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

impl Parker {
    #[cold]
    fn new() -> Self {
        let signal = Arc::new(Signal {
            woken: AtomicBool::new(false),
            thread: thread::current(),
        });
        Self {
            waker: Waker::from(signal.clone()),
            signal,
        }
    }

    /// Is there a waker besides our own?
    #[inline]
    fn is_kept(&self) -> bool {
        Arc::strong_count(&self.signal) > 2
    }
}

thread_local! {
    // Making a waker allocates; a thread that blocks once will block again.
    static CACHED: RefCell<Option<Parker>> = const { RefCell::new(None) };
}

/// Calls `f` with the thread's parker. A nested `block_on` on the same thread,
/// which finds it borrowed, gets one of its own, and so cannot eat the outer
/// one's wake-up. So does one in a destructor of a thread-local, when the cache
/// is gone.
#[inline]
fn with_parker<T>(f: impl FnOnce(&Parker) -> T) -> T {
    let mut f = Some(f);
    let cached = CACHED.try_with(|cache| {
        let mut cached = Cached(cache.try_borrow_mut().ok()?);
        let parker = cached.0.get_or_insert_with(Parker::new);
        f.take().map(|f| f(parker))
    });
    match (cached, f) {
        (Ok(Some(output)), _) => output,
        (_, Some(f)) => f(&Parker::new()),
        (_, None) => unreachable!("the closure is taken only to give an output"),
    }
}

/// The cached parker while it is in use.
struct Cached<'a>(RefMut<'a, Option<Parker>>);

impl Drop for Cached<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(parker) = &*self.0 else { return };
        if parker.is_kept() {
            // Used again, the parker would let that waker cause polls of a
            // future it has nothing to do with (WA-1).
            *self.0 = None;
            return;
        }
        // Pairs with the Release in the drop of the last foreign clone, so that
        // a wake through it is ordered before the reset below.
        fence(Ordering::Acquire);
        // Relaxed: nobody else can reach the flag any more.
        parker.signal.woken.store(false, Ordering::Relaxed);
    }
}

/// Runs an executor's future to its end on a thread that belongs to the
/// executor, parking it meanwhile.
///
/// Unlike [`block_on`] it asks no question and marks nothing: the thread does
/// what it is there for. The wrappers around the tasks do the marking.
pub fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    with_parker(|parker| poll_to_end(future.as_mut(), parker))
}

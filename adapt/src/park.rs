//! Driving a future on a plain thread: [`block_on`] and [`Root`].

use std::{
    cell::Cell,
    fmt,
    future::Future,
    mem::ManuallyDrop,
    pin::{Pin, pin},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicPtr, Ordering::Relaxed},
    },
    task::{Context, Poll, RawWakerVTable, Wake, Waker},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{
    pool::{self, Lent},
    spin::Spin,
};
use crate::sync::{
    atomic::{AtomicBool, Ordering, fence},
    thread::{self, Thread},
    thread_local,
};
use fourway_core::{
    BlockOnError, context,
    implement::{self, Parking, RuntimeId, fork::Process},
};

/// Runs `future` to its end on the calling thread, parking it meanwhile.
///
/// A complete [`BlockOn::try_block_on`](fourway_core::BlockOn::try_block_on) for
/// runtimes whose tasks and timers need no help from the blocked thread.
///
/// # Errors
///
/// If the thread is running async code ([no blocking in async code](fourway_core::contract#BL-2)).
#[inline]
pub fn block_on<F: Future>(
    future: F,
    runtime: Option<RuntimeId>,
) -> Result<F::Output, BlockOnError> {
    implement::check_may_block()?;
    Ok(drive(future, runtime))
}

/// How threads wait for tasks from sync code: [`drive`], for a future without its type.
pub(crate) fn drive_erased(future: Pin<&mut (dyn Future<Output = ()> + '_)>) {
    drive(future, None);
}

/// [`block_on`] on a thread that may block.
#[inline]
pub(crate) fn drive<F: Future>(future: F, runtime: Option<RuntimeId>) -> F::Output {
    with_parker(|parker| {
        // Marked once for the poll and the destruction, which come in this order. No user code runs
        // outside of them.
        let mark = implement::enter(context::Context::Async, runtime);
        let mut future = pin!(Some(future));
        let mut cx = Context::from_waker(&parker.waker);
        match poll_present(future.as_mut(), &mut cx) {
            Poll::Ready(output) => {
                future.set(None);
                output
            }
            Poll::Pending => {
                drop(mark);
                wait_for(future, runtime, parker)
            }
        }
    })
}

/// The rest of [`block_on`], for futures that are not ready at once.
fn wait_for<F: Future>(
    mut future: Pin<&mut Option<F>>,
    runtime: Option<RuntimeId>,
    parker: &Parker,
) -> F::Output {
    let mut cx = Context::from_waker(&parker.waker);
    // Before the future is destroyed: the slot is taken back after that (OF-4, nested offload never
    // starves).
    let _lent = pool::lend();
    let mut destroy = Destroy {
        future: future.as_mut(),
        runtime,
    };
    loop {
        parker.signal.wait();
        let _mark = implement::enter(context::Context::Async, runtime);
        if let Poll::Ready(output) = poll_present(destroy.future.as_mut(), &mut cx) {
            return output;
        }
    }
}

#[inline]
fn poll_present<F: Future>(future: Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<F::Output> {
    let future = future.as_pin_mut();
    poll_here(future.expect("present until destroyed"), cx)
}

/// Polls a root. If the poll has forked, the root is woken in the child: nothing there wakes the
/// futures that it has waited for, and they answer at the next poll (FK-1, forked children).
#[inline]
fn poll_here<F: Future>(future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    let process = Process::this();
    let poll = future.poll(cx);
    if poll.is_pending() && !process.is_this() {
        cx.waker().wake_by_ref();
    }
    poll
}

/// Destroys the future with the thread marked, however `wait_for` ends.
struct Destroy<'a, F> {
    future: Pin<&'a mut Option<F>>,
    runtime: Option<RuntimeId>,
}

impl<F> Drop for Destroy<'_, F> {
    fn drop(&mut self) {
        let _mark = implement::enter(context::Context::Async, self.runtime);
        self.future.set(None);
    }
}

pin_project! {
    /// The future that an adapter drives in place of the future given to `block_on`.
    ///
    /// It marks the thread as running async code during each poll, and while the
    /// future is destroyed ([no blocking in async code](fourway_core::contract#BL-2)). If the
    /// thread is running an offloaded closure, it lends the closure's place in the pool from the
    /// first `Pending` on ([nested offload never starves](fourway_core::contract#OF-4)), and takes
    /// it back when it is dropped, which waits until there is one.
    ///
    /// After each pending poll the thread is taken to sleep, with its
    /// [hooks](fourway_core::ParkHooks) called. An adapter that parks in another way says so by
    /// [`without_parking`](Root::without_parking).
    pub struct Root<F> {
        // `None` only while it is being dropped. It is destroyed before the lent
        // slot is taken back.
        #[pin]
        future: Option<F>,
        runtime: Option<RuntimeId>,
        parks: bool,
        parking: Option<Parking>,
        lent: Option<Lent>,
    }

    impl<F> PinnedDrop for Root<F> {
        #[inline]
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // The hooks take their locks again before the future is destroyed.
            drop(this.parking.take());
            if std::mem::needs_drop::<F>() {
                let _mark = implement::enter(context::Context::Async, *this.runtime);
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
            parks: true,
            parking: None,
            lent: None,
        }
    }

    /// The adapter calls the thread's hooks itself, by a [`Parking`]: when the thread goes to
    /// sleep, and before this is polled again or dropped.
    #[must_use]
    pub fn without_parking(mut self) -> Self {
        self.parks = false;
        self
    }
}

impl<F: Future> Future for Root<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        drop(this.parking.take());
        let poll = {
            let _mark = implement::enter(context::Context::Async, *this.runtime);
            let future = this.future.as_pin_mut();
            poll_here(future.expect("present until dropped"), cx)
        };
        if poll.is_pending() {
            if this.lent.is_none() {
                *this.lent = pool::lend();
            }
            if *this.parks {
                *this.parking = Parking::begin();
            }
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
/// (BL-5, park tokens and stale wakes), and tokens left over from elsewhere must not cause a poll.
struct Signal {
    woken: AtomicBool,
    thread: Thread,
}

impl Signal {
    /// Has it been woken? Forgets it.
    fn take(&self) -> bool {
        // Acquire pairs with the Release in `wake_by_ref`: what the waker's
        // side did before waking is visible to the poll that follows. Relaxed: `false` orders
        // nothing.
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::Acquire)
    }

    fn wait(&self) {
        if self.take() {
            return;
        }
        // Not at hand in the destructors of thread-locals; then it just sleeps.
        let mut spin = SPIN.try_with(Cell::take).unwrap_or_default();
        spin.0.wait(
            || self.take(),
            || {
                let _parking = Parking::begin();
                while !self.woken.swap(false, Ordering::Acquire) {
                    thread::park();
                }
            },
        );
        let _ = SPIN.try_with(|cell| cell.set(spin));
    }
}

/// The history of this thread's waits.
struct Waits(Spin);

impl Waits {
    const NEW: Self = Self(Spin::new(Duration::from_micros(10)));
}

impl Default for Waits {
    fn default() -> Self {
        Self::NEW
    }
}

thread_local! {
    static SPIN: Cell<Waits> = const { Cell::new(Waits::NEW) };
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

/// The vtable of the wakers of [`Signal`]s, once there has been one. Its address is only compared.
/// Not a `OnceLock`, which a forked child could find half filled.
static FUNCTIONS: AtomicPtr<RawWakerVTable> = AtomicPtr::new(ptr::null_mut());

/// Will this waker do nothing but wake a thread that is blocked in [`block_on`] or [`run`], and
/// return at once? For executors that should not rely on unknown code.
///
/// May say `false` of such a waker: a compiler may give the same functions two addresses. (If it
/// gives the same address to other functions, they do the same.)
#[inline]
#[must_use]
pub fn wakes_a_thread(waker: &Waker) -> bool {
    // Relaxed: the pointer is compared and not dereferenced.
    ptr::eq(FUNCTIONS.load(Relaxed), waker.vtable())
}

struct Parker {
    signal: Arc<Signal>,
    waker: Waker,
    /// Will it be dropped, if it is cached?
    kept: bool,
}

impl Parker {
    #[cold]
    #[inline(never)]
    fn new() -> Box<Self> {
        let signal = Arc::new(Signal {
            woken: AtomicBool::new(false),
            thread: thread::current(),
        });
        let waker = Waker::from(signal.clone());
        // The vtable of a clone, because executors meet clones.
        let functions = ptr::from_ref(waker.clone().vtable());
        FUNCTIONS.store(functions.cast_mut(), Relaxed);
        Box::new(Self {
            waker,
            signal,
            kept: KEEPER.try_with(|_| ()).is_ok(),
        })
    }

    /// Call it when the parker is not used any more. May the parker be used again?
    #[inline]
    fn is_clean(&self) -> bool {
        if Arc::strong_count(&self.signal) > 2 {
            // There is a waker besides our own. If the parker were used again, that waker would
            // cause polls of an unrelated future (WA-1, a poll for each wake).
            return false;
        }
        // Pairs with the Release in the drop of the last foreign clone, so that
        // a wake through it is ordered before the reset below.
        fence(Ordering::Acquire);
        // Relaxed: no other thread can reach the flag any more. Loaded first, because most flags
        // have been taken back already.
        if self.signal.woken.load(Ordering::Relaxed) {
            self.signal.woken.store(false, Ordering::Relaxed);
        }
        self.kept
    }
}

thread_local! {
    // Making a waker allocates, and a thread that blocks once will block again. Empty while the
    // parker is in use. The cell has no destructor, so that it can be read with one load where the
    // system has native thread-locals; `KEEPER` has the destructor. The parker is in a box, to be
    // one word: several words would be written one by one and read as a whole, and the processor
    // would have to wait.
    static CACHED: Cell<Option<ManuallyDrop<Box<Parker>>>> = const { Cell::new(None) };
    static KEEPER: Keeper = const { Keeper };
}

/// Drops the thread's parker when the thread ends.
struct Keeper;

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(cache(None));
    }
}

/// Caches a parker in place of the one before.
#[inline]
fn cache(parker: Option<Box<Parker>>) -> Option<Box<Parker>> {
    let parker = parker.map(ManuallyDrop::new);
    let before = CACHED.try_with(|cached| cached.replace(parker));
    before.ok().flatten().map(ManuallyDrop::into_inner)
}

/// Calls `f` with the thread's parker. A nested `block_on` on the same thread finds the parker in
/// use and gets one of its own, so it cannot eat the outer one's wake-up. A `block_on` in a
/// destructor of a thread-local also gets its own: nothing would drop a cached one there.
#[inline]
fn with_parker<T>(f: impl FnOnce(&Parker) -> T) -> T {
    let used = Used(Some(cache(None).unwrap_or_else(Parker::new)));
    let result = f(used.get());
    used.put_back();
    result
}

/// A parker that goes to the cache when it is not used any more.
struct Used(Option<Box<Parker>>);

impl Used {
    #[inline]
    fn get(&self) -> &Parker {
        self.0.as_ref().expect("there until it is put back")
    }

    /// The destructor's work; inline, because it is more than half of a short `block_on`.
    #[inline]
    fn put_back(mut self) {
        let Some(parker) = self.0.take() else { return };
        let rest = if parker.is_clean() {
            cache(Some(parker))
        } else {
            Some(parker)
        };
        if let Some(parker) = rest {
            spare(parker);
        }
    }
}

impl Drop for Used {
    #[inline]
    fn drop(&mut self) {
        // Still there if the future has panicked.
        if let Some(parker) = self.0.take() {
            unwound(parker);
        }
    }
}

#[cold]
#[inline(never)]
fn unwound(parker: Box<Parker>) {
    Used(Some(parker)).put_back();
}

/// Drops a parker that is not clean, or that another parker has replaced in the cache: this one was
/// made while the other was in use.
#[cold]
#[inline(never)]
fn spare(parker: Box<Parker>) {
    drop(parker);
}

/// Runs an executor's future to its end on a thread that belongs to the
/// executor, parking it meanwhile.
///
/// Unlike [`block_on`] it asks no question and marks nothing: the thread does
/// what it is there for. The wrappers around the tasks do the marking.
pub fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    with_parker(|parker| {
        let mut cx = Context::from_waker(&parker.waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            parker.signal.wait();
        }
    })
}

#[cfg(all(test, not(any(fourway_shuttle, fourway_loom))))]
mod tests {
    use std::{future::poll_fn, sync::Weak};

    use super::*;

    /// The signal of the parker that the thread has cached.
    fn cached() -> Option<Weak<Signal>> {
        let parker = cache(None)?;
        let signal = Arc::downgrade(&parker.signal);
        assert!(cache(Some(parker)).is_none());
        Some(signal)
    }

    fn waker() -> Waker {
        run(poll_fn(|cx| Poll::Ready(cx.waker().clone())))
    }

    #[test]
    fn one_parker_serves_a_thread_and_goes_with_it() {
        let parker = std::thread::spawn(|| {
            run(async {});
            let parker = cached().expect("there is one");
            run(async {});
            assert!(cached().is_some_and(|again| again.ptr_eq(&parker)));
            parker
        });
        assert!(parker.join().unwrap().upgrade().is_none());
    }

    #[test]
    fn nested_uses_have_parkers_of_their_own_and_leave_one() {
        let outer = std::thread::spawn(|| {
            let (outer, inner) = run(poll_fn(|cx| {
                // Two, one after the other, and the second finds the parker that the first has
                // left.
                let inner = run(poll_fn(|cx| Poll::Ready(cx.waker().data().addr())));
                assert_eq!(
                    inner,
                    run(poll_fn(|cx| Poll::Ready(cx.waker().data().addr())))
                );
                Poll::Ready((cx.waker().data().addr(), inner))
            }));
            assert_ne!(outer, inner);
            let left = cached().expect("there is one");
            assert_eq!(left.as_ptr().addr(), outer);
            left
        });
        assert!(outer.join().unwrap().upgrade().is_none());
    }

    #[test]
    fn a_waker_that_is_kept_has_its_parker_to_itself() {
        let kept = waker();
        assert!(wakes_a_thread(&kept));
        assert!(!wakes_a_thread(Waker::noop()));
        assert!(cached().is_none());
        assert!(!kept.will_wake(&waker()));
    }

    #[test]
    fn a_panic_leaves_the_parker_usable() {
        run(async {});
        let parker = cached().expect("there is one");
        let panicked = std::panic::catch_unwind(|| {
            run(async {
                std::panic::resume_unwind(Box::new("on purpose"));
            });
        });
        assert!(panicked.is_err());
        assert!(cached().is_some_and(|again| again.ptr_eq(&parker)));
    }

    #[test]
    fn a_thread_may_block_while_its_thread_locals_are_destroyed() {
        static BLOCKED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        struct Blocks;
        impl Drop for Blocks {
            fn drop(&mut self) {
                let parker = run(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
                run(async {});
                drop(parker);
                BLOCKED.fetch_add(1, Ordering::Relaxed);
            }
        }
        std::thread_local! {
            // One is destroyed before the keeper, the other one after.
            static EARLY: Blocks = const { Blocks };
            static LATE: Blocks = const { Blocks };
        }
        std::thread::spawn(|| {
            LATE.with(|_| {});
            run(async {});
            EARLY.with(|_| {});
        })
        .join()
        .unwrap();
        assert_eq!(BLOCKED.load(Ordering::Relaxed), 2);
    }
}

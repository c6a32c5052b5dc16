//! Driving a future on the calling thread, which turns `async-io`'s reactor
//! meanwhile.

use std::{
    cell::{Cell, RefCell, RefMut},
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering, fence},
    },
    task::{Context, Poll, Wake, Waker},
};

use fourway_adapt::{self as adapt, Parking, Root};
use fourway_core::{
    BlockOn, BlockOnError, context,
    implement::{self, RuntimeId},
};

use crate::{
    Smol,
    executor::on_task,
    runtime::{Tasks, smol_is_usable},
};

impl BlockOn for Smol {
    #[inline]
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = future.into_future();
        if !smol_is_usable() {
            return block_in_child(future, self.id());
        }
        implement::check_may_block()?;
        Ok(drive(future, self.id()))
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        if context::current() != context::Context::Async {
            return Ok(f());
        }
        if implement::runtime_id() != Some(self.id()) {
            // Another runtime's thread: it has tasks of its own waiting, which
            // our workers cannot run.
            return Err(BlockOnError::unsupported());
        }
        let _stand_in = match (DRIVE.get(), &self.shared.tasks) {
            // The root future of a `block_on` blocks only itself.
            (Drive::Root, _) => None,
            // On a worker, another thread has to take over.
            (Drive::None, Tasks::Own(own)) if on_task(self.id()) => {
                let stand_in = own.executor().stand_in();
                Some(stand_in.map_err(|_| BlockOnError::unsupported())?)
            }
            // smol's own threads; or no task at all, but a waker that is called
            // by a thread which turns the reactor.
            _ => return Err(BlockOnError::unsupported()),
        };
        let _mark = implement::enter(context::Context::Blocking, Some(self.id()));
        Ok(f())
    }
}

/// The phase of a thread's innermost `block_on`.
#[derive(Clone, Copy)]
enum Drive {
    /// There is none.
    None,
    /// Polling the root future.
    Root,
    /// Between the polls.
    Reactor,
}

thread_local! {
    static DRIVE: Cell<Drive> = const { Cell::new(Drive::None) };
}

/// Sets [`DRIVE`] until it is dropped.
struct SetDrive(Drive);

impl SetDrive {
    #[inline]
    fn to(drive: Drive) -> Self {
        Self(DRIVE.replace(drive))
    }
}

impl Drop for SetDrive {
    #[inline]
    fn drop(&mut self) {
        DRIVE.set(self.0);
    }
}

/// Without the reactor.
#[cold]
fn block_in_child<F: Future>(future: F, runtime: RuntimeId) -> Result<F::Output, BlockOnError> {
    let mut future = Box::pin(future);
    let root = poll_fn(move |cx| {
        let _drive = SetDrive::to(Drive::Root);
        future.as_mut().poll(cx)
    });
    fourway_adapt::block_on(root, Some(runtime))
}

#[inline]
fn drive<F: Future>(future: F, runtime: RuntimeId) -> F::Output {
    let mut root = pin!(Root::new(future, Some(runtime)).without_parking());
    with_relay(|relay| {
        // Many futures are ready at once. They must not start the reactor, nor disturb the thread
        // that turns it.
        if let Poll::Ready(output) = poll_root(root.as_mut(), relay) {
            return output;
        }
        drive_reactor(root.as_mut(), relay, runtime)
    })
}

#[inline]
fn poll_root<F: Future>(root: Pin<&mut Root<F>>, relay: &Relay) -> Poll<F::Output> {
    let _drive = SetDrive::to(Drive::Root);
    root.poll(&mut Context::from_waker(&relay.waker))
}

fn drive_reactor<F: Future>(
    mut root: Pin<&mut Root<F>>,
    relay: &Relay,
    runtime: RuntimeId,
) -> F::Output {
    // Wakers that are called by the reactor must not block it.
    let _mark = implement::enter(context::Context::Async, Some(runtime));
    let _drive = SetDrive::to(Drive::Reactor);
    let _cut = CutOnDrop(relay);
    let mut parking = None;
    let driven = poll_fn(|cx| {
        // Gone already where this is polled by `adapt::run`.
        let _ = WITNESS.try_with(|_| ());
        relay.link.set_driver(cx.waker());
        if relay.link.take_wake() {
            drop(parking.take());
            let poll = poll_root(root.as_mut(), relay);
            if poll.is_ready() {
                return poll;
            }
        }
        // If the wake was for another future, the thread goes on sleeping.
        if parking.is_none() && !relay.link.is_woken() {
            parking = Parking::begin();
        }
        Poll::Pending
    });
    if GONE.get() {
        // This thread does not turn the reactor; `async-io`'s own thread does.
        adapt::run(driven)
    } else {
        async_io::block_on(driven)
    }
}

thread_local! {
    /// Are the thread-locals of `async-io` gone from this thread, or about to go? Its `block_on`
    /// panics then, which in the destructor of a thread-local ends the process.
    static GONE: Cell<bool> = const { Cell::new(false) };
    /// Sets [`GONE`]. Made inside of `async-io`'s `block_on`, and so after its thread-locals:
    /// destructors run in the opposite order.
    static WITNESS: Witness = const { Witness };
}

struct Witness;

impl Drop for Witness {
    fn drop(&mut self) {
        GONE.set(true);
    }
}

/// The waker of a root future, between it and the one of `async_io::block_on`.
///
/// It bridges the first poll, before the latter exists. It also knows whether the future itself was
/// woken: all calls on a thread share the driver, which may be woken for an earlier one (WA-1, a
/// poll for each wake).
struct Relay {
    link: Arc<Link>,
    waker: Waker,
}

impl Relay {
    #[cold]
    fn new() -> Self {
        let link = Arc::new(Link {
            woken: AtomicBool::new(false),
            driver: Mutex::new(None),
        });
        Self {
            waker: Waker::from(link.clone()),
            link,
        }
    }

    /// Is there a waker besides our own?
    #[inline]
    fn is_kept(&self) -> bool {
        Arc::strong_count(&self.link) > 2
    }
}

struct Link {
    woken: AtomicBool,
    driver: Mutex<Option<Waker>>,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        // No user code runs under the lock, so that nothing can poison it.
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_driver(&self, waker: &Waker) {
        let mut driver = self.lock();
        if !driver.as_ref().is_some_and(|w| w.will_wake(waker)) {
            // `async_io`'s, not user code.
            *driver = Some(waker.clone());
        }
    }

    fn is_woken(&self) -> bool {
        // Relaxed: a wake that is seen late is only late.
        self.woken.load(Ordering::Relaxed)
    }

    fn take_wake(&self) -> bool {
        // Acquire pairs with the Release in `wake_by_ref`: what the waker's side
        // did before waking is visible to the poll that follows. A wake that
        // comes after this finds the driver, which was set before.
        self.woken.swap(false, Ordering::Acquire)
    }
}

impl Wake for Link {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::Release) {
            // Without a driver, it looks at the flag when it begins.
            let driver = self.lock().clone();
            if let Some(driver) = driver {
                driver.wake();
            }
        }
    }
}

/// Cuts the relay off: the thread ignores late wakes.
struct CutOnDrop<'a>(&'a Relay);

impl Drop for CutOnDrop<'_> {
    fn drop(&mut self) {
        let driver = self.0.link.lock().take();
        drop(driver);
    }
}

thread_local! {
    // Making a waker allocates; a thread that blocks once will block again.
    static CACHED: RefCell<Option<Relay>> = const { RefCell::new(None) };
}

/// Calls `f` with the thread's relay. A nested `block_on` on the same thread finds it borrowed and
/// gets one of its own. So does a `block_on` in a destructor of a thread-local, when the cache is
/// gone.
#[inline]
fn with_relay<T>(f: impl FnOnce(&Relay) -> T) -> T {
    let mut f = Some(f);
    let cached = CACHED.try_with(|cache| {
        let mut cached = Cached(cache.try_borrow_mut().ok()?);
        let relay = cached.0.get_or_insert_with(Relay::new);
        f.take().map(|f| f(relay))
    });
    match (cached, f) {
        (Ok(Some(output)), _) => output,
        (_, Some(f)) => f(&Relay::new()),
        (_, None) => unreachable!("the closure is taken only to give an output"),
    }
}

/// The cached relay while it is in use.
struct Cached<'a>(RefMut<'a, Option<Relay>>);

impl Drop for Cached<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(relay) = &*self.0 else { return };
        if relay.is_kept() {
            // If the relay were used again, that waker would cause polls of an unrelated future
            // (WA-1, a poll for each wake).
            *self.0 = None;
            return;
        }
        // Pairs with the Release in the drop of the last foreign clone, so that
        // a wake through it is ordered before the reset below.
        fence(Ordering::Acquire);
        // Relaxed: no other thread can reach the flag any more.
        relay.link.woken.store(false, Ordering::Relaxed);
    }
}

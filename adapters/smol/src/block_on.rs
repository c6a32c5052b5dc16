//! Driving a future on the calling thread, which turns `async-io`'s reactor
//! meanwhile.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering, fence},
    },
    task::{Context, Poll, Wake, Waker},
};

use fourway_core::{
    BlockOn, BlockOnError,
    adapt::Root,
    context::{self, RuntimeId},
};

use crate::{
    Smol,
    executor::{in_task, leave_task},
    runtime::Tasks,
};

impl BlockOn for Smol {
    fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, BlockOnError> {
        context::check_may_block()?;
        Ok(drive(future, self.id()))
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        if context::current() != context::Context::Async {
            return Ok(f());
        }
        if context::runtime_id() != Some(self.id()) {
            // Another runtime's thread: it has tasks of its own waiting, which
            // our workers cannot run.
            return Err(BlockOnError::unsupported());
        }
        let _stand_in = if IN_ROOT.get() && !in_task() {
            // The root future of a `block_on` blocks nobody but itself.
            None
        } else {
            match &self.shared.tasks {
                // On a worker, someone has to take over.
                Tasks::Own(own) if in_task() => Some(
                    own.executor()
                        .stand_in()
                        .map_err(|_| BlockOnError::unsupported())?,
                ),
                // smol's own threads; or no task at all, but a waker that is
                // called by a thread which turns the reactor.
                Tasks::Own(_) | Tasks::Global => return Err(BlockOnError::unsupported()),
            }
        };
        let _mark = context::enter(context::Context::Blocking, Some(self.id()));
        Ok(f())
    }
}

thread_local! {
    /// Is the root future of a `block_on` being polled?
    static IN_ROOT: Cell<bool> = const { Cell::new(false) };
}

/// Sets [`IN_ROOT`] until it is dropped.
struct InRoot(bool);

impl InRoot {
    fn set(to: bool) -> Self {
        Self(IN_ROOT.replace(to))
    }
}

impl Drop for InRoot {
    fn drop(&mut self) {
        IN_ROOT.set(self.0);
    }
}

fn drive<F: Future>(future: F, runtime: RuntimeId) -> F::Output {
    // Also between the polls: the thread turns the reactor then, and wakers that
    // are called from there must not block it. And at the end, when the future
    // is destroyed.
    let _mark = context::enter(context::Context::Async, Some(runtime));
    let _no_task = leave_task();
    let _no_root = InRoot::set(false);
    let relay = CachedRelay::take();
    let mut root = pin!(Root::new(future, Some(runtime)));
    let mut poll = || {
        let _in_root = InRoot::set(true);
        root.as_mut().poll(&mut Context::from_waker(&relay.waker))
    };
    // Many futures are ready at once. For them there is no need to start the
    // reactor, or to trouble the thread that turns it.
    if let Poll::Ready(output) = poll() {
        return output;
    }
    async_io::block_on(poll_fn(|cx| {
        relay.relay.set_driver(cx.waker());
        if relay.relay.take_wake() {
            poll()
        } else {
            Poll::Pending
        }
    }))
}

/// The waker of a root future, between it and the one of `async_io::block_on`.
///
/// It bridges the first poll, which happens before there is the latter; and it
/// knows whether the future itself was woken, where a driver that is shared by
/// all calls on a thread may be woken for the sake of an earlier one (WA-1).
struct Relay {
    woken: AtomicBool,
    driver: Mutex<Option<Waker>>,
}

impl Relay {
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

    fn take_wake(&self) -> bool {
        // Acquire pairs with the Release in `wake_by_ref`: what the waker's side
        // did before waking is visible to the poll that follows. A wake that
        // comes after this finds the driver, which was set before.
        self.woken.swap(false, Ordering::Acquire)
    }
}

impl Wake for Relay {
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

struct Parts {
    relay: Arc<Relay>,
    waker: Waker,
}

thread_local! {
    // Making a waker allocates; a thread that blocks once will block again.
    static CACHED: Cell<Option<Parts>> = const { Cell::new(None) };
}

/// The thread's relay, taken out of the cache while it is in use: a nested
/// `block_on` on the same thread gets one of its own.
struct CachedRelay(Option<Parts>);

impl CachedRelay {
    fn take() -> Self {
        // The cache is gone while the thread's locals are being destroyed.
        let cached = CACHED.try_with(Cell::take).ok().flatten();
        Self(Some(cached.unwrap_or_else(|| {
            let relay = Arc::new(Relay {
                woken: AtomicBool::new(false),
                driver: Mutex::new(None),
            });
            Parts {
                waker: Waker::from(relay.clone()),
                relay,
            }
        })))
    }
}

impl std::ops::Deref for CachedRelay {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        self.0.as_ref().expect("present until dropped")
    }
}

impl Drop for CachedRelay {
    fn drop(&mut self) {
        let Some(parts) = self.0.take() else { return };
        // Late wakes are of no interest to anyone.
        let driver = parts.relay.lock().take();
        drop(driver);
        // Someone may have kept a clone of the waker (count > ours and the
        // waker's). Used again, the relay would let that clone cause polls of a
        // future it has nothing to do with (WA-1).
        if Arc::strong_count(&parts.relay) == 2 {
            // Pairs with the Release in the drop of the last foreign clone, so
            // that a wake through it is ordered before the reset below.
            fence(Ordering::Acquire);
            // Relaxed: nobody else can reach the flag any more.
            parts.relay.woken.store(false, Ordering::Relaxed);
            let _ = CACHED.try_with(|cache| cache.set(Some(parts)));
        }
    }
}

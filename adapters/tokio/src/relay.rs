//! Wakers that belong to one `block_on`: [`Relayed`].
//!
//! Tokio gives all root futures of a thread the same waker, so a waker kept from an earlier
//! `block_on` causes polls in a later one (BL-5, park tokens and stale wakes). Each `block_on` here
//! has a waker of its own that passes wakes on while it lasts.
//!
//! They share the thread's park token as well: a `block_on` inside of a root's
//! poll (in `block_in_place`) parks with it, and takes a wake that was meant for
//! the root outside. So the root is woken once more after such a poll.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use fourway_adapt::{Parking, declare_harmless};
use pin_project_lite::pin_project;

pin_project! {
    /// Polls a future with a waker that is good for its lifetime only.
    pub(crate) struct Relayed<F> {
        #[pin]
        future: F,
        // While Tokio has the thread sleep.
        parking: Option<Parking>,
        relay: Option<Relay>,
    }

    impl<F> PinnedDrop for Relayed<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            drop(this.parking.take());
            if let Some(relay) = this.relay.take() {
                relay.put_back();
            }
        }
    }
}

impl<F> Relayed<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future,
            parking: None,
            relay: None,
        }
    }
}

impl<F: Future> Future for Relayed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        drop(this.parking.take());
        let relay = this.relay.get_or_insert_with(Relay::take);
        let target = &relay.target;
        target.set(cx.waker());
        // Acquire pairs with the Release in `wake_by_ref`: a wake that is
        // forgotten here is answered by the poll that follows, which sees all
        // that came before it.
        target.woken.swap(false, Ordering::Acquire);
        let poll = this.future.poll(&mut Context::from_waker(&relay.waker));
        // Relaxed: a wake whose token was taken meanwhile is visible through
        // that token; any other still has its own.
        if poll.is_pending() {
            if target.woken.load(Ordering::Relaxed) {
                cx.waker().wake_by_ref();
            } else {
                *this.parking = Parking::begin();
            }
        }
        poll
    }
}

struct Relay {
    target: Arc<Target>,
    waker: Waker,
}

#[derive(Default)]
struct Target {
    waker: Mutex<Option<Waker>>,
    /// Woken since the last poll began?
    woken: AtomicBool,
}

thread_local! {
    // Making a waker allocates; a thread that blocks once will block again.
    static CACHED: Cell<Option<Relay>> = const { Cell::new(None) };
}

impl Relay {
    fn take() -> Self {
        // Nested, or while the thread's locals are being destroyed, there is none.
        let cached = CACHED.try_with(Cell::take).ok().flatten();
        cached.unwrap_or_else(|| {
            let target = Arc::<Target>::default();
            // A clone, which has the functions that drivers meet.
            let waker = Waker::from(target.clone()).clone();
            // It passes a wake on to Tokio's own waker.
            declare_harmless(&waker);
            Self { target, waker }
        })
    }

    fn put_back(self) {
        let waker = self.target.lock().take();
        drop(waker);
        // A waker that other code keeps must not be passed on to the next `block_on`.
        if Arc::strong_count(&self.target) == 2 {
            let _ = CACHED.try_with(|cached| cached.set(Some(self)));
        }
    }
}

impl Target {
    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        // The wakers are Tokio's, and are not called under the lock.
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, waker: &Waker) {
        if self
            .lock()
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            return;
        }
        let waker = waker.clone();
        let before = self.lock().replace(waker);
        drop(before);
    }
}

impl Wake for Target {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Before the token: a thread that takes the token can see this.
        self.woken.store(true, Ordering::Release);
        let waker = self.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

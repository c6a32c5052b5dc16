//! A future that a case controls: [`Puppet`].

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use super::waiting::eventually;

/// A future that a case controls from outside, and whose end it can see.
#[derive(Clone, Default)]
pub(crate) struct Puppet(Arc<PuppetState>);

#[derive(Default)]
struct PuppetState {
    polls: AtomicUsize,
    drops: AtomicUsize,
    ready: AtomicBool,
    busy: AtomicBool,
    overlaps: AtomicUsize,
    polled_within: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

impl Puppet {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The future; to be called once. Its output is the number of polls.
    pub(crate) fn future(&self) -> Strings {
        Strings(self.0.clone())
    }

    pub(crate) fn polls(&self) -> usize {
        self.0.polls.load(Ordering::SeqCst)
    }

    pub(crate) fn drops(&self) -> usize {
        self.0.drops.load(Ordering::SeqCst)
    }

    /// The waker of the last poll, which must have happened.
    pub(crate) fn waker(&self) -> Waker {
        self.lock().clone().expect("the puppet has been polled")
    }

    /// Gives up the waker of the last poll.
    pub(crate) fn forget_waker(&self) {
        let waker = self.lock().take();
        drop(waker);
    }

    pub(crate) fn wake(&self) {
        self.waker().wake();
    }

    /// Lets the future be ready at its next poll, and wakes it if it waits.
    pub(crate) fn finish(&self) {
        self.0.ready.store(true, Ordering::SeqCst);
        let waker = self.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until it has been polled `n` times.
    #[track_caller]
    pub(crate) fn polled(&self, n: usize) {
        eventually("a task is polled", || self.polls() >= n);
    }

    /// Waits until it has been destroyed.
    #[track_caller]
    pub(crate) fn destroyed(&self) {
        eventually("a future is destroyed", || self.drops() > 0);
        self.sound();
    }

    /// Checks that nothing forbidden has happened.
    #[track_caller]
    pub(crate) fn sound(&self) {
        assert!(self.drops() <= 1, "a future was destroyed twice");
        let overlaps = self.0.overlaps.load(Ordering::SeqCst);
        assert_eq!(overlaps, 0, "polls or destruction overlapped");
        let inline = self.0.polled_within.load(Ordering::SeqCst);
        assert_eq!(inline, 0, "a future was polled inline");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.0.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The future of a [`Puppet`].
pub(crate) struct Strings(Arc<PuppetState>);

impl Future for Strings {
    type Output = usize;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        let state = &self.0;
        if state.busy.swap(true, Ordering::SeqCst) {
            state.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        if WITHIN.get() {
            state.polled_within.fetch_add(1, Ordering::SeqCst);
        }
        // First the waker, then the flag: see `finish`.
        let waker = cx.waker().clone();
        let before = {
            let mut stored = state.waker.lock().unwrap_or_else(PoisonError::into_inner);
            stored.replace(waker)
        };
        drop(before);
        let ready = state.ready.load(Ordering::SeqCst);
        state.busy.store(false, Ordering::SeqCst);
        let polls = state.polls.fetch_add(1, Ordering::SeqCst) + 1;
        if ready {
            Poll::Ready(polls)
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Strings {
    fn drop(&mut self) {
        if self.0.busy.load(Ordering::SeqCst) {
            self.0.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        self.0.drops.fetch_add(1, Ordering::SeqCst);
    }
}

thread_local! {
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

/// Calls `f`; no [`Puppet`] and no [`is_within`] future may be polled inside of it.
pub(crate) fn within<T>(f: impl FnOnce() -> T) -> T {
    let before = WITHIN.replace(true);
    let result = f();
    WITHIN.set(before);
    result
}

/// Is the calling thread inside of [`within`]?
pub(crate) fn is_within() -> bool {
    WITHIN.get()
}

//! Wakers that are seldom called, of tasks that often wait: [`KeptWaker`].

use std::{
    fmt, ptr,
    sync::{
        PoisonError,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    task::{RawWakerVTable, Waker},
};

use crate::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicPtr, fence},
    },
    wake,
};

/// The waker of a task that waits for what will hardly ever happen, such as the end of its runtime,
/// beside each of its other waits.
///
/// It stays here from one wait to the next. So a wait by the same task, which is the usual one, compares
/// two words, and neither locks nor clones.
///
/// A caller [keeps](Self::keep) its waker and then looks whether it has happened, by a flag. Whoever
/// makes it happen sets the flag and then [wakes](Self::wake). Then either the look sees the flag, or
/// the waker is called after it. The accesses to the flag may be relaxed.
///
/// For one task at a time: it keeps the last waker.
///
/// # Examples
///
/// ```
/// use fourway_adapt::KeptWaker;
/// use std::{
///     sync::atomic::{AtomicBool, Ordering},
///     task::{Context, Poll, Waker},
/// };
///
/// fn poll(kept: &KeptWaker, is_over: &AtomicBool, cx: &Context<'_>) -> Poll<()> {
///     kept.keep(cx.waker());
///     if is_over.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
/// }
/// fn end(kept: &KeptWaker, is_over: &AtomicBool) {
///     is_over.store(true, Ordering::Relaxed);
///     kept.wake();
/// }
/// # let (kept, is_over) = (KeptWaker::new(), AtomicBool::new(false));
/// # assert!(poll(&kept, &is_over, &Context::from_waker(Waker::noop())).is_pending());
/// # end(&kept, &is_over);
/// # assert!(poll(&kept, &is_over, &Context::from_waker(Waker::noop())).is_ready());
/// ```
pub struct KeptWaker {
    waker: Mutex<Option<Waker>>,
    // The parts of `waker`, changed under its lock, to be compared only. A task that finds its own there
    // may be late: `wake` has taken the waker meanwhile. See `keep`.
    data: AtomicPtr<()>,
    functions: AtomicPtr<RawWakerVTable>,
}

impl KeptWaker {
    /// Without a waker.
    #[must_use]
    pub fn new() -> Self {
        Self {
            waker: Mutex::new(None),
            data: AtomicPtr::new(ptr::null_mut()),
            functions: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The next [`wake`](Self::wake) calls this waker, and no earlier one.
    #[inline]
    pub fn keep(&self, waker: &Waker) {
        if !self.has(waker) {
            self.replace(waker);
        }
        // Pairs with the fence of `wake`. If that one comes first, the caller's look sees the flag. If
        // this one does, `wake` finds the waker, and the call of the waker what the task's poll did
        // before: without it a task that is already scheduled may take the call for done, although its
        // poll looks at the flag too early.
        fence(SeqCst);
    }

    /// Calls the waker and forgets it. A panic of the waker is contained.
    pub fn wake(&self) {
        // Pairs with the fence of `keep`.
        fence(SeqCst);
        let waker = {
            let mut place = self.lock();
            self.note(None);
            place.take()
        };
        if let Some(waker) = waker {
            wake(waker);
        }
    }

    #[inline]
    fn has(&self, waker: &Waker) -> bool {
        // Relaxed: see the fields.
        self.data.load(Relaxed) == waker.data().cast_mut()
            && ptr::eq(self.functions.load(Relaxed), waker.vtable())
    }

    #[cold]
    fn replace(&self, waker: &Waker) {
        // Cloned and dropped outside of the lock, because it is user code.
        let waker = waker.clone();
        let before = {
            let mut place = self.lock();
            self.note(Some(&waker));
            place.replace(waker)
        };
        drop(before);
    }

    /// Called under the lock.
    fn note(&self, waker: Option<&Waker>) {
        let data = waker.map_or(ptr::null_mut(), |it| it.data().cast_mut());
        // No waker has null for its functions.
        let functions = waker.map_or(ptr::null_mut(), |it| ptr::from_ref(it.vtable()).cast_mut());
        self.data.store(data, Relaxed);
        self.functions.store(functions, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        // No user code runs under the lock, so that nothing can poison it.
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for KeptWaker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for KeptWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptWaker").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(fourway_shuttle, fourway_loom))))]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Counts(AtomicUsize);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_last_waker_is_called_once() {
        let kept = KeptWaker::new();
        kept.wake();
        let (one, other) = (Arc::<Counts>::default(), Arc::<Counts>::default());
        kept.keep(&one.clone().into());
        kept.keep(&other.clone().into());
        assert_eq!(Arc::strong_count(&one), 1);
        let waker = other.clone().into();
        kept.keep(&waker);
        kept.keep(&waker);
        // That of the test, `waker`, and the one that is kept: no further clone.
        assert_eq!(Arc::strong_count(&other), 3);
        kept.wake();
        kept.wake();
        assert_eq!(one.0.load(Ordering::Relaxed), 0);
        assert_eq!(other.0.load(Ordering::Relaxed), 1);
        assert_eq!(Arc::strong_count(&other), 2);
        // Forgotten, it is kept anew.
        kept.keep(&waker);
        kept.wake();
        assert_eq!(other.0.load(Ordering::Relaxed), 2);
    }
}

//! Several futures that one future polls: which of them have been woken.

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{Arc, PoisonError, Weak},
    task::{Wake, Waker},
};

use crate::{
    implement::wake,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

/// Which of several futures have been woken, for the future that polls them all: in the order of
/// the wakes, each at most once. `T` says which future it is.
pub(crate) struct Woken<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    queue: VecDeque<Arc<Ticket<T>>>,
    /// The waker of the future that polls them all. The first wake after it was set takes it.
    whole: Option<Waker>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            whole: None,
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No user code runs under the lock, so that nothing can poison it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, ticket: Arc<Ticket<T>>) {
        let mut state = self.lock();
        state.queue.push_back(ticket);
        let whole = state.whole.take();
        drop(state);
        if let Some(whole) = whole {
            // A user's waker may panic, but the caller, such as the timer thread, has other futures
            // to wake.
            wake(whole);
        }
    }
}

/// The waker of one of the futures.
pub(crate) struct Ticket<T> {
    value: T,
    queued: AtomicBool,
    // Weak, because a woken ticket is in the queue.
    shared: Weak<Shared<T>>,
}

impl<T> Woken<T> {
    pub(crate) fn new() -> Self {
        let state = Mutex::new(State::default());
        Self {
            shared: Arc::new(Shared { state }),
        }
    }

    /// For a future that is due for its first poll. No waker is called for it.
    pub(crate) fn due(&self, value: T) -> Arc<Ticket<T>> {
        let ticket = self.ticket(value);
        // Relaxed: no other thread has it yet, and the lock publishes it.
        ticket.queued.store(true, Ordering::Relaxed);
        self.shared.lock().queue.push_back(ticket.clone());
        ticket
    }

    /// For a future that is not polled before it is woken.
    pub(crate) fn ticket(&self, value: T) -> Arc<Ticket<T>> {
        Arc::new(Ticket {
            value,
            queued: AtomicBool::new(false),
            shared: Arc::downgrade(&self.shared),
        })
    }

    /// A handle that keeps nothing alive.
    pub(crate) fn downgrade(&self) -> WeakWoken<T> {
        WeakWoken(Arc::downgrade(&self.shared))
    }

    /// Sets the waker that a wake of any of them calls.
    ///
    /// Call it before [`pop`](Self::pop): a wake after that finds the waker.
    pub(crate) fn set_whole(&self, waker: &Waker) {
        // A user's waker: neither cloned nor dropped under the lock.
        let waker = waker.clone();
        let before = self.shared.lock().whole.replace(waker);
        drop(before);
    }

    /// The future that was woken first, to be polled now.
    pub(crate) fn pop(&self) -> Option<Arc<Ticket<T>>> {
        let ticket = self.shared.lock().queue.pop_front()?;
        // Before the poll: a wake during it counts for the next one.
        // AcqRel pairs with the swap in `wake_by_ref`.
        ticket.queued.swap(false, Ordering::AcqRel);
        Some(ticket)
    }

    /// Forgets all wakes, and the waker.
    pub(crate) fn clear(&self) {
        let state = std::mem::take(&mut *self.shared.lock());
        // The waker is a user's: dropped outside of the lock.
        drop(state);
    }
}

/// A handle on a [`Woken`] that may be gone.
pub(crate) struct WeakWoken<T>(Weak<Shared<T>>);

impl<T> WeakWoken<T> {
    /// As [`Woken::due`], and wakes the future that polls them all.
    pub(crate) fn wake_for(&self, value: T) {
        let Some(shared) = self.0.upgrade() else {
            return;
        };
        let ticket = Arc::new(Ticket {
            value,
            queued: AtomicBool::new(true),
            shared: self.0.clone(),
        });
        shared.push(ticket);
    }
}

// Not derived, which would ask for `T: Clone`.
impl<T> Clone for WeakWoken<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

// A clone is another handle on the same futures.
impl<T> Clone for Woken<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Deref for Ticket<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Send + Sync + 'static> Wake for Ticket<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // AcqRel pairs with the swap before a poll: either that poll sees what came before
        // this wake, or the future is queued once more.
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        // A wake after the end has no effect.
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        shared.push(self.clone());
    }
}

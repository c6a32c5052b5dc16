use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, Weak},
    task::{Wake, Waker},
};

use crate::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

/// Which of several futures have been woken, for the one that polls them all: in the order
/// of the wakes, each at most once.
pub(super) struct Woken {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Ticket>>,
    /// Wakes the one that polls them all. Taken by the first wake after it was set.
    whole: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under the lock, so that nothing can poison it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What wakes one of the futures.
pub(super) struct Ticket {
    place: usize,
    queued: AtomicBool,
    // Weak, for a woken ticket is in the queue.
    shared: Weak<Shared>,
}

impl Woken {
    pub(super) fn new() -> Self {
        let state = Mutex::new(State::default());
        Self {
            shared: Arc::new(Shared { state }),
        }
    }

    /// For a future that is to be found at `place`. It is due for its first poll.
    pub(super) fn ticket(&self, place: usize) -> Arc<Ticket> {
        let ticket = Arc::new(Ticket {
            place,
            queued: AtomicBool::new(true),
            shared: Arc::downgrade(&self.shared),
        });
        self.shared.lock().queue.push_back(ticket.clone());
        ticket
    }

    /// Who is to be woken with any of them.
    ///
    /// Before the look at who was woken: a wake that comes after the look finds it.
    pub(super) fn set_whole(&self, waker: &Waker) {
        // A user's waker: neither cloned nor dropped under the lock.
        let waker = waker.clone();
        let before = self.shared.lock().whole.replace(waker);
        drop(before);
    }

    /// The future that was woken first, to be polled now.
    pub(super) fn pop(&self) -> Option<Arc<Ticket>> {
        let ticket = self.shared.lock().queue.pop_front()?;
        // Before the poll: a wake during it counts for the next one.
        // AcqRel pairs with the swap in `wake_by_ref`.
        ticket.queued.swap(false, Ordering::AcqRel);
        Some(ticket)
    }
}

impl Ticket {
    pub(super) fn place(&self) -> usize {
        self.place
    }
}

impl Wake for Ticket {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // AcqRel pairs with the swap before a poll: either that poll sees what came before
        // this wake, or the future is queued once more.
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        // A wake after the end finds nobody.
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let mut state = shared.lock();
        state.queue.push_back(self.clone());
        let whole = state.whole.take();
        drop(state);
        if let Some(whole) = whole {
            whole.wake();
        }
    }
}

//! A queue of waiters for one event: [`Line`]; and one waiter: [`Waits`].

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    shared::Shared,
    store::{Effects, Store},
};

/// First come, first woken. A waiter that polls again keeps its place; one that gives up leaves it.
#[derive(Default)]
pub(crate) struct Line {
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

/// A place in a line. It is `None` before the first poll, and again when the wait is over: the
/// waiter goes on at once and has no wake-up to pass on.
pub(crate) type Place = Option<u64>;

impl Line {
    /// Waits in `place`, which stays the same until the wait is over. Gives the waker that was
    /// there before, which must be dropped after the lock is released.
    pub(crate) fn wait(&mut self, place: &mut Place, waker: Waker) -> Option<Waker> {
        let number = *place.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        self.waiting.insert(number, waker)
    }

    /// Takes out the first one, to be woken.
    pub(crate) fn first(&mut self) -> Option<Waker> {
        self.waiting.pop_first().map(|(_, waker)| waker)
    }

    /// Takes out all.
    pub(crate) fn all(&mut self) -> impl Iterator<Item = Waker> + use<> {
        std::mem::take(&mut self.waiting).into_values()
    }

    /// Leaves the line. `None` if the place was empty: the waiter was woken before, and does not
    /// use its wake-up.
    pub(crate) fn leave(&mut self, place: Place) -> Option<Waker> {
        self.waiting.remove(&place?)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

type PollStore = fn(&mut Store, &mut Place, Waker, &mut Effects) -> Poll<()>;
type LeaveStore = fn(&mut Store, Place, &mut Effects);

/// Waits in one of the store's lines.
pub(crate) struct Waits<'a> {
    shared: &'a Arc<Shared>,
    place: Place,
    poll: PollStore,
    leave: LeaveStore,
}

impl<'a> Waits<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>, poll: PollStore, leave: LeaveStore) -> Self {
        Self {
            shared,
            place: None,
            poll,
            leave,
        }
    }
}

impl Future for Waits<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let waker = cx.waker().clone();
        this.shared
            .with(|store, _, fx| (this.poll)(store, &mut this.place, waker, fx))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.shared
                .with(|store, _, fx| (self.leave)(store, self.place, fx));
        }
    }
}

//! The number of open connections: [`Connections`].

use std::{
    future::{Future, poll_fn},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use fourway_core::implement::wake;

/// The number of open connections.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<Count>>);

#[derive(Default)]
struct Count {
    connections: usize,
    /// The waker of the waiter, the future of `serve`.
    waker: Option<Waker>,
}

impl Connections {
    pub(super) fn one_more(&self) -> One {
        self.lock().connections += 1;
        One(self.clone())
    }

    pub(super) fn count(&self) -> usize {
        self.lock().connections
    }

    pub(super) fn fewer_than(&self, limit: usize) -> impl Future<Output = ()> + '_ {
        poll_fn(move |cx: &mut Context<'_>| {
            if self.count() < limit {
                return Poll::Ready(());
            }
            let waker = cx.waker().clone();
            let mut count = self.lock();
            // Checked again, as the count may have fallen meanwhile.
            if count.connections < limit {
                return Poll::Ready(());
            }
            let before = count.waker.replace(waker);
            drop(count);
            drop(before);
            Poll::Pending
        })
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        // No user code runs under the lock, so it cannot be poisoned.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts as one connection until it is dropped. The streams of HTTP/2, which are tasks of their own,
/// share it with the connection's task: they may be destroyed after that one.
pub(super) struct One(Connections);

impl Drop for One {
    fn drop(&mut self) {
        let mut count = self.0.lock();
        count.connections -= 1;
        let waker = count.waker.take();
        drop(count);
        if let Some(waker) = waker {
            wake(waker);
        }
    }
}

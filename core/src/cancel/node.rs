//! The tree behind the tokens.
//!
//! A node refers to its parent strongly and to its children weakly: a child that is dropped
//! leaves its parent's list at once. Each node's lock guards all that changes in it, and no thread
//! holds two of these locks. Under the lock no waker is cloned, called or dropped. No node is
//! dropped under it either, because dropping a node locks its parent.

use std::{
    sync::{Arc, OnceLock, PoisonError, Weak},
    task::Waker,
    time::Instant,
};

use super::{Reason, left::Known, slab::Slab};
use crate::{
    Timer,
    implement::{BoxFuture, wake},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU8, Ordering},
    },
};

pub(super) struct Node {
    // One of the three below.
    state: AtomicU8,
    deadline: Option<Deadline>,
    /// An earlier one, set after the node was made, under the lock of `inner`. On the heap, so that
    /// the other nodes do not grow.
    late: OnceLock<Box<Deadline>>,
    parent: Option<Parent>,
    inner: Mutex<Inner>,
}

const LIVE: u8 = 0;
/// The node is cancelled; its descendants are being cancelled.
const CANCELLED: u8 = 1;
/// The node and all below it are cancelled: there is nothing left to do.
const SETTLED: u8 = 2;

struct Parent {
    node: Arc<Node>,
    /// This node's number in the parent's list. `None` if the parent was cancelled already.
    key: Option<usize>,
}

struct Inner {
    /// Set once, together with the state.
    reason: Option<Reason>,
    children: Slab<Weak<Node>>,
    /// `None` for a waiter that is about to look for a new deadline: it keeps its number.
    waiters: Slab<Option<Waker>>,
}

#[derive(Clone)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    pub(super) clock: Arc<dyn Clock>,
}

/// A [`Timer`] without its type.
pub(super) trait Clock: Send + Sync {
    fn now(&self) -> Instant;
    fn sleep_until(&self, deadline: Instant) -> BoxFuture;
}

impl<T: Timer + Send + Sync> Clock for T {
    fn now(&self) -> Instant {
        Timer::now(self)
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture {
        Box::pin(Timer::sleep_until(self, deadline))
    }
}

impl Node {
    pub(super) fn root(deadline: Option<Deadline>) -> Arc<Self> {
        Arc::new(Self::new(deadline, None, None))
    }

    fn new(deadline: Option<Deadline>, parent: Option<Parent>, reason: Option<Reason>) -> Self {
        Self {
            // A node that is born cancelled has no descendants left to cancel.
            state: AtomicU8::new(if reason.is_some() { SETTLED } else { LIVE }),
            deadline,
            late: OnceLock::new(),
            parent,
            inner: Mutex::new(Inner {
                reason,
                children: Slab::new(),
                waiters: Slab::new(),
            }),
        }
    }

    /// A child; its deadline is the earlier of the two.
    pub(super) fn child(self: &Arc<Self>, own: Option<Deadline>) -> Arc<Self> {
        let mut inner = self.lock();
        // Under the lock under which a late deadline is set: who has set one finds it in each child
        // that is made after that.
        let (deadline, _later) = match (self.deadline(), own) {
            // The clock is foreign: the later deadline is kept to the end of this function, where it
            // is dropped with no lock held.
            (Some(inherited), Some(own)) if inherited.at <= own.at => {
                (Some(inherited.clone()), Some(own))
            }
            (inherited, own) => (own.or_else(|| inherited.cloned()), None),
        };
        if let Some(reason) = inner.reason.clone() {
            drop(inner);
            // In no list: the parent has no news for a child that is cancelled already.
            let parent = Parent {
                node: self.clone(),
                key: None,
            };
            return Arc::new(Self::new(deadline, Some(parent), Some(reason)));
        }
        // The child is linked under the lock under which `cancel` marks this node and reads the
        // list. So a child is either in that list, or born cancelled. The child is complete before
        // the lock is released, because until then the list's weak reference to it cannot be
        // upgraded.
        let child = Arc::new_cyclic(|child| {
            let parent = Parent {
                node: self.clone(),
                key: Some(inner.children.insert(child.clone())),
            };
            Self::new(deadline, Some(parent), None)
        });
        drop(inner);
        child
    }

    #[inline]
    pub(super) fn is_cancelled(self: &Arc<Self>) -> bool {
        // Acquire: a thread that sees the cancellation also sees all that was done before it.
        self.state.load(Ordering::Acquire) != LIVE
            || (self.deadline().is_some() && self.is_past_deadline())
    }

    /// Cancelled, as far as can be told without looking at the clock.
    #[inline]
    pub(super) fn is_marked(&self) -> bool {
        self.state.load(Ordering::Acquire) != LIVE
    }

    #[inline(never)]
    fn is_past_deadline(self: &Arc<Self>) -> bool {
        let past = self
            .deadline()
            .is_some_and(|deadline| deadline.clock.now() >= deadline.at);
        if past {
            self.cancel(&Reason::Deadline);
        }
        past
    }

    pub(super) fn deadline(&self) -> Option<&Deadline> {
        match self.late.get() {
            Some(late) => Some(late),
            None => self.deadline.as_ref(),
        }
    }

    /// Sets a deadline, unless there is an earlier one, or one was set in this way. Wakes the waiters,
    /// so that they set a timer.
    ///
    /// The descendants that are there do not get it: some of their waiters look for a deadline only
    /// once, as [`LeftWaker`](super::LeftWaker) says. They are cancelled with this node, once it is
    /// looked at.
    pub(super) fn set_deadline(&self, deadline: Deadline) {
        let late = Box::new(deadline);
        let mut inner = self.lock();
        let is_later = |known: &Deadline| late.at < known.at;
        if inner.reason.is_some() || !self.deadline().is_none_or(is_later) {
            drop(inner);
            return;
        }
        // If there is one already, it stays.
        let refused = self.late.set(late);
        // A waiter registers under the lock and looks for a deadline after that. So it sees this
        // one, or is woken.
        let waiters = inner.waiters.iter_mut();
        let wakers: Vec<Waker> = waiters.filter_map(Option::take).collect();
        drop(inner);
        // The clock is foreign: it is dropped with no lock held.
        drop(refused);
        wakers.into_iter().for_each(wake);
    }

    pub(super) fn reason(self: &Arc<Self>) -> Option<Reason> {
        if self.is_cancelled() {
            self.lock().reason.clone()
        } else {
            None
        }
    }

    /// The reason, if there is one already. A deadline that has passed unnoticed does not count:
    /// this cancels nothing, and calls no wakers.
    pub(super) fn reason_so_far(&self) -> Option<Reason> {
        if self.is_marked() {
            self.lock().reason.clone()
        } else {
            None
        }
    }

    /// Cancels this node and its descendants, and then wakes their waiters.
    pub(super) fn cancel(self: &Arc<Self>, reason: &Reason) {
        if self.state.load(Ordering::Acquire) == SETTLED {
            return;
        }
        let mut wakers = Vec::new();
        // A list and not a recursion: trees may be deep.
        let mut left = vec![(self.clone(), reason.clone())];
        while let Some((node, reason)) = left.pop() {
            if node.state.load(Ordering::Acquire) == SETTLED {
                continue;
            }
            let mut inner = node.lock();
            if inner.reason.is_none() {
                inner.reason = Some(reason);
                // Release: pairs with the loads of the threads that check.
                node.state.store(CANCELLED, Ordering::Release);
                let waiters = std::mem::replace(&mut inner.waiters, Slab::new());
                wakers.extend(waiters.into_values().flatten());
            }
            // Go on below a node that another thread has just marked: the descendants which that
            // thread has not reached must be cancelled when *this* call returns. They get that
            // node's reason, which may differ from ours.
            if let Some(reason) = &inner.reason {
                let children = inner.children.iter().filter_map(Weak::upgrade);
                left.extend(children.map(|child| (child, reason.clone())));
            }
            drop(inner);
            // `node` may be the last reference: it is dropped with no lock held.
        }
        // Release: a thread that sees this need not walk.
        self.state.store(SETTLED, Ordering::Release);
        wakers.into_iter().for_each(wake);
    }

    /// Registers `waker` for the cancellation, and tells by what the waker is known. `None` if the
    /// node is cancelled already.
    pub(super) fn register(&self, key: &mut Option<usize>, waker: &Waker) -> Option<Known> {
        if let Some(key) = *key {
            let mut inner = self.lock();
            if inner.reason.is_some() {
                return None;
            }
            if let Some(known) = inner.waiters.get_mut(key) {
                if known.as_ref().is_some_and(|known| known.will_wake(waker)) {
                    return Some(Known::of(waker));
                }
            }
        }
        // Cloned and dropped outside of the lock, because it is foreign code.
        let waker = waker.clone();
        let known = Known::of(&waker);
        let mut inner = self.lock();
        if inner.reason.is_some() {
            drop(inner);
            return None;
        }
        let before = match key.and_then(|key| inner.waiters.get_mut(key)) {
            Some(old) => old.replace(waker),
            None => {
                *key = Some(inner.waiters.insert(Some(waker)));
                None
            }
        };
        drop(inner);
        drop(before);
        Some(known)
    }

    pub(super) fn unregister(&self, key: usize) {
        let mut inner = self.lock();
        // After the cancellation the list is empty, for good.
        let waker = inner.waiters.remove(key);
        drop(inner);
        drop(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No foreign code runs under the lock, so that nothing can poison it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.children.len(), inner.waiters.len())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A loop and not a recursion through the parents: trees may be deep.
        let mut parent = self.parent.take();
        while let Some(Parent { node, key }) = parent {
            if let Some(key) = key {
                let mut inner = node.lock();
                let link = inner.children.remove(key);
                drop(inner);
                drop(link);
            }
            parent = Arc::into_inner(node).and_then(|mut node| node.parent.take());
        }
    }
}

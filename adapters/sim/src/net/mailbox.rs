//! Messages on their way to a receiver: [`Mailbox`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll, Wake, Waker},
};

use fourway_core::implement::wake;

use super::Network;
use crate::state::lock;

/// Messages, each with the time at which it arrives. Any number of tasks may wait for one.
pub(super) struct Mailbox<M>(Arc<Mutex<State<M>>>);

struct State<M> {
    next: u64,
    /// By time, and those of one time in the order in which they were sent.
    messages: BTreeMap<(u64, u64), M>,
    wakers: Vec<Waker>,
    is_closed: bool,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Send + 'static> Mailbox<M> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            next: 0,
            messages: BTreeMap::new(),
            wakers: Vec::new(),
            is_closed: false,
        })))
    }

    /// The message arrives at that time. Gives it back if the mailbox is closed.
    pub(super) fn send(&self, network: &Network, at: u64, message: M) -> Result<(), M> {
        let mut state = lock(&self.0);
        if state.is_closed {
            drop(state);
            return Err(message);
        }
        state.next += 1;
        let key = (at, state.next);
        state.messages.insert(key, message);
        drop(state);
        network.at(at, Waker::from(Arc::new(Arrives(Arc::downgrade(&self.0)))));
        Ok(())
    }

    /// The next message that has arrived. One that `is_wanted` rejects is dropped.
    ///
    /// `None`: it is closed.
    pub(super) fn poll_receive(
        &self,
        now: u64,
        cx: &mut Context<'_>,
        is_wanted: impl Fn(&M) -> bool,
    ) -> Poll<Option<M>> {
        self.poll_with(now, cx, is_wanted, |messages, key| messages.remove(&key))
    }

    /// As `poll_receive`, and leaves it.
    pub(super) fn poll_peek(
        &self,
        now: u64,
        cx: &mut Context<'_>,
        is_wanted: impl Fn(&M) -> bool,
    ) -> Poll<Option<M>>
    where
        M: Clone,
    {
        self.poll_with(now, cx, is_wanted, |messages, key| {
            messages.get(&key).cloned()
        })
    }

    fn poll_with(
        &self,
        now: u64,
        cx: &mut Context<'_>,
        is_wanted: impl Fn(&M) -> bool,
        take: impl Fn(&mut BTreeMap<(u64, u64), M>, (u64, u64)) -> Option<M>,
    ) -> Poll<Option<M>> {
        // User code, and so not under the lock.
        let waker = cx.waker().clone();
        let mut unwanted = Vec::new();
        let mut state = lock(&self.0);
        while let Some((&key, message)) = state.messages.first_key_value() {
            if key.0 > now {
                break;
            }
            if is_wanted(message) {
                let message = take(&mut state.messages, key);
                drop(state);
                return Poll::Ready(message);
            }
            unwanted.extend(state.messages.remove(&key));
        }
        if state.is_closed {
            drop(state);
            return Poll::Ready(None);
        }
        let known = keep(&mut state.wakers, waker);
        drop(state);
        drop((unwanted, known));
        Poll::Pending
    }

    /// Nothing more is received. Gives the messages that were on their way.
    pub(super) fn close(&self) -> impl Iterator<Item = M> + use<M> {
        let mut state = lock(&self.0);
        state.is_closed = true;
        let messages = std::mem::take(&mut state.messages);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(wake);
        messages.into_values()
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.0).is_closed
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Puts a waker among others, or gives it back if it is one of them.
pub(super) fn keep(wakers: &mut Vec<Waker>, waker: Waker) -> Option<Waker> {
    if wakers.iter().any(|known| known.will_wake(&waker)) {
        return Some(waker);
    }
    wakers.push(waker);
    None
}

/// Wakes those who wait for the message that arrives.
struct Arrives<M>(Weak<Mutex<State<M>>>);

impl<M: Send + 'static> Wake for Arrives<M> {
    fn wake(self: Arc<Self>) {
        if let Some(state) = self.0.upgrade() {
            let wakers = std::mem::take(&mut lock(&state).wakers);
            wakers.into_iter().for_each(wake);
        }
    }
}

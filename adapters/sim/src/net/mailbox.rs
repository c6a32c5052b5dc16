//! Messages on their way to a receiver: [`Mailbox`].

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Instant,
};

use fourway_core::{Timer, implement::wake};

use crate::{Sim, Sleep, state::lock};

/// Messages, each with the time at which it arrives.
pub(super) struct Mailbox<M>(Arc<Mutex<State<M>>>);

struct State<M> {
    next: u64,
    /// By time, and those of one time in the order in which they were sent.
    messages: BTreeMap<(Instant, u64), M>,
    /// When the last one arrives.
    last: Option<Instant>,
    waker: Option<Waker>,
    /// The reason why no more is read, or no more is sent.
    closed: Option<io::ErrorKind>,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> Mailbox<M> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            next: 0,
            messages: BTreeMap::new(),
            last: None,
            waker: None,
            closed: None,
        })))
    }

    /// The message arrives at that time; `in_order`: not before those that were sent before it.
    pub(super) fn send(&self, at: Instant, in_order: bool, message: M) -> io::Result<()> {
        let mut state = lock(&self.0);
        if let Some(kind) = state.closed {
            drop(state);
            return Err(kind.into());
        }
        let at = match state.last {
            Some(last) if in_order && last > at => last,
            _ => at,
        };
        state.last = state.last.max(Some(at));
        state.next += 1;
        let key = (at, state.next);
        state.messages.insert(key, message);
        let waker = state.waker.take();
        drop(state);
        // It may arrive before the awaited one.
        waker.into_iter().for_each(wake);
        Ok(())
    }

    /// Nothing more is sent or received. Gives the messages that were on their way.
    pub(super) fn close(&self, kind: io::ErrorKind) -> impl Iterator<Item = M> + use<M> {
        let mut state = lock(&self.0);
        state.closed.get_or_insert(kind);
        let messages = std::mem::take(&mut state.messages);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(wake);
        messages.into_values()
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.0).closed.is_some()
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The next one to arrive, when it does. `sleep` is kept from one poll to the next.
    pub(super) fn poll_receive(
        &self,
        sim: &Sim,
        sleep: &mut Option<Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<M>> {
        loop {
            // User code, and so not under the lock.
            let waker = cx.waker().clone();
            let now = sim.now();
            let mut state = lock(&self.0);
            let next = match state.messages.first_entry() {
                Some(first) if first.key().0 <= now => {
                    let message = first.remove();
                    drop(state);
                    *sleep = None;
                    return Poll::Ready(Ok(message));
                }
                Some(first) => Some(first.key().0),
                None => None,
            };
            if let (None, Some(kind)) = (next, state.closed) {
                drop(state);
                return Poll::Ready(Err(kind.into()));
            }
            let before = state.waker.replace(waker);
            drop(state);
            drop(before);
            let Some(next) = next else {
                *sleep = None;
                return Poll::Pending;
            };
            let mut timer = sim.sleep_until(next);
            let arrived = Pin::new(&mut timer).poll(cx).is_ready();
            *sleep = Some(timer);
            if !arrived {
                return Poll::Pending;
            }
        }
    }

    /// As `poll_receive`.
    pub(super) async fn receive(&self, sim: &Sim) -> io::Result<M> {
        let mut sleep = None;
        poll_fn(|cx| self.poll_receive(sim, &mut sleep, cx)).await
    }
}

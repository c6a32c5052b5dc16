//! Subscriptions to events: [`Events`].

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::SystemTime,
};

use fourway_core::{
    BlockOnError,
    implement::{fork::Process, wait_for},
};
use futures_core::Stream;

use crate::{
    JobId, JobState,
    sync::{Mutex, lock},
};

/// An event of a job.
///
/// The events of one job are in the order in which they happened.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Event {
    /// Counts the events of the manager, from 1: for
    /// [`subscribe_from`](crate::JobManager::subscribe_from).
    pub number: u64,
    /// When it happened.
    #[cfg_attr(feature = "serde", serde(with = "crate::snapshot::millis"))]
    pub at: SystemTime,
    /// The job.
    pub id: JobId,
    /// The kind.
    pub kind: EventKind,
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", tag = "event"))]
#[non_exhaustive]
pub enum EventKind {
    /// Its state has changed. A new job comes from nothing.
    State {
        /// The state before.
        from: Option<JobState>,
        /// The state now.
        to: JobState,
    },
    /// It runs, and was asked to end.
    Cancelling,
    /// It has said how far it is; [`status`](crate::JobManager::status) has the rest.
    Progress {
        /// From 0 to 1.
        fraction: Option<f64>,
    },
}

/// A subscription to the events of a manager. Made by
/// [`JobManager::subscribe`](crate::JobManager::subscribe).
///
/// It buffers a number of events. If they are not read in time, the oldest ones are dropped, and
/// [`lost`](Self::lost) says how many there were; the jobs never wait for a subscriber. Dropping
/// the subscription ends it.
///
/// It is a [`Stream`] as well, which ends as [`recv`](Self::recv) does.
pub struct Events {
    ring: Arc<Ring>,
    /// In a forked child the events are the parent's (FK-1, forked children).
    process: Process,
}

pub(crate) struct Ring {
    state: Mutex<RingState>,
}

struct RingState {
    events: VecDeque<Event>,
    capacity: usize,
    lost: u64,
    waker: Option<Waker>,
    closed: bool,
}

impl Events {
    pub(crate) fn new(ring: Arc<Ring>) -> Self {
        Self {
            ring,
            process: Process::this(),
        }
    }

    /// The next event; `None` once the manager is gone and all events were read, and in a forked child
    /// of the process that subscribed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    pub fn recv(&mut self) -> impl Future<Output = Option<Event>> + Send + Unpin + '_ {
        poll_fn(|cx| self.poll_recv(cx))
    }

    /// As [`recv`](Self::recv), for callers that poll.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Some(next) = self.take() {
            return Poll::Ready(next);
        }
        let waker = cx.waker().clone();
        let before = lock(&self.ring.state).waker.replace(waker);
        drop(before);
        match self.take() {
            Some(next) => Poll::Ready(next),
            None => Poll::Pending,
        }
    }

    /// Waits for the next event from sync code.
    ///
    /// # Errors
    ///
    /// [`is_nested`](BlockOnError::is_nested): the thread is running async code ([no blocking in
    /// async code](fourway_core::contract#BL-2)).
    pub fn wait(&mut self) -> Result<Option<Event>, BlockOnError> {
        wait_for(&mut self.recv())
    }

    /// The next event, if there is one already.
    #[must_use]
    pub fn try_recv(&mut self) -> Option<Event> {
        self.take().flatten()
    }

    /// How many events were dropped since this was last asked, as they were not read in time.
    pub fn lost(&mut self) -> u64 {
        match self.process.is_this() {
            true => std::mem::take(&mut lock(&self.ring.state).lost),
            false => 0,
        }
    }

    fn take(&self) -> Option<Option<Event>> {
        if !self.process.is_this() {
            return Some(None);
        }
        let mut state = lock(&self.ring.state);
        match state.events.pop_front() {
            Some(event) => Some(Some(event)),
            None if state.closed => Some(None),
            None => None,
        }
    }
}

/// Each event, until the manager is gone.
impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.get_mut().poll_recv(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self.process.is_this() {
            true => (lock(&self.ring.state).events.len(), None),
            false => (0, Some(0)),
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if !self.process.is_this() {
            // It may hold a waker.
            std::mem::forget(self.ring.clone());
            return;
        }
        self.ring.close();
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.process.is_this() {
            return f.write_str("Events(from before the fork)");
        }
        let state = lock(&self.ring.state);
        f.debug_struct("Events")
            .field("buffered", &state.events.len())
            .field("lost", &state.lost)
            .finish_non_exhaustive()
    }
}

impl Ring {
    pub(crate) fn new(capacity: usize, events: VecDeque<Event>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(RingState {
                events,
                capacity: capacity.max(1),
                lost: 0,
                waker: None,
                closed: false,
            }),
        })
    }

    /// Keeps the event and gives the waiter, if there is one; `None` if no subscriber will read it.
    pub(crate) fn push(&self, event: Event) -> Option<Option<Waker>> {
        let mut state = lock(&self.state);
        if state.closed {
            return None;
        }
        if state.events.len() >= state.capacity {
            state.events.pop_front();
            state.lost += 1;
        }
        state.events.push_back(event);
        Some(state.waker.take())
    }

    /// No more events come, or are wanted.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(fourway_core::implement::wake);
    }
}

//! Grants turns: [`Queue`].
//!
//! Turns are granted in the order of the requests. A writer has the namespace alone; consecutive
//! readers have it together. The holder gives a turn back by dropping it; then the next possible
//! turns are granted and their owners woken.
//!
//! An entry is in one of two lists. *Waiting*: it has a number, and perhaps a waker. *Holding*: the
//! turn is granted, whether or not its owner has seen that yet. A newcomer that finds no one in
//! line, and can be admitted, gets its turn at once, with the namespace. An owner that goes away,
//! from either list, removes its entry and grants the next turns, so that no turn is lost.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use fourway_core::{CancellationToken, cancel::Reason, implement::wake, task::Metadata};

use crate::sync::{Mutex, lock};

/// The access that a turn allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// To read, beside other readers.
    Read,
    /// To change, alone.
    Write,
}

pub(crate) struct Queue<N> {
    state: Mutex<State<N>>,
}

struct State<N> {
    // `None` while a writer has it, and once it was taken for good.
    namespace: Option<Arc<N>>,
    waiting: VecDeque<(Entry, Option<Waker>)>,
    holding: Vec<Entry>,
    next: u64,
    closed: Option<Reason>,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) access: Access,
    pub(crate) token: CancellationToken,
    pub(crate) metadata: Metadata,
    pub(crate) entered: Instant,
}

impl<N> State<N> {
    /// Can a turn be granted beside the present ones?
    fn admits(&self, access: Access) -> bool {
        match access {
            Access::Write => self.holding.is_empty(),
            Access::Read => self.holding.iter().all(|held| held.access == Access::Read),
        }
    }

    /// The namespace, for a turn that is granted.
    fn take(&mut self, access: Access) -> Option<Arc<N>> {
        match access {
            Access::Write => self.namespace.take(),
            Access::Read => self.namespace.clone(),
        }
    }

    /// Grants all possible turns, and gives the wakers of their owners.
    #[must_use]
    fn grant(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some((entry, _)) = self.waiting.front() {
            if !self.admits(entry.access) {
                break;
            }
            let (entry, waker) = self.waiting.pop_front().expect("looked at above");
            self.holding.push(entry);
            wakers.extend(waker);
        }
        wakers
    }
}

impl<N> Queue<N> {
    pub(crate) fn new(namespace: N) -> Self {
        Self {
            state: Mutex::new(State {
                namespace: Some(Arc::new(namespace)),
                waiting: VecDeque::new(),
                holding: Vec::new(),
                next: 0,
                closed: None,
            }),
        }
    }

    /// A place at the end of the line, or why there is none.
    pub(crate) fn enter(
        self: &Arc<Self>,
        access: Access,
        token: CancellationToken,
        metadata: Metadata,
        entered: Instant,
    ) -> Result<Ticket<N>, Reason> {
        self.enter_if(access, token, metadata, entered, true)
    }

    fn enter_if(
        self: &Arc<Self>,
        access: Access,
        token: CancellationToken,
        metadata: Metadata,
        entered: Instant,
        only_open: bool,
    ) -> Result<Ticket<N>, Reason> {
        let mut state = lock(&self.state);
        if let Some(reason) = state.closed.clone().filter(|_| only_open) {
            drop(state);
            return Err(reason);
        }
        state.next += 1;
        let number = state.next;
        let entry = Entry {
            number,
            access,
            token,
            metadata,
            entered,
        };
        // With no one in line before it, it has its turn at once and need not come back for it.
        let stage = if state.waiting.is_empty() && state.admits(access) {
            state.holding.push(entry);
            Stage::Granted(Turn {
                queue: self.clone(),
                number,
                access,
                namespace: state.take(access),
            })
        } else {
            state.waiting.push_back((entry, None));
            Stage::Waits(self.clone())
        };
        drop(state);
        Ok(Ticket {
            number,
            access,
            stage,
        })
    }

    /// Admits no more executions, and gives a last place in line.
    pub(crate) fn close(
        self: &Arc<Self>,
        reason: Reason,
        metadata: Metadata,
        now: Instant,
    ) -> Ticket<N> {
        lock(&self.state).closed.get_or_insert(reason);
        let token = CancellationToken::new();
        self.enter_if(Access::Write, token, metadata, now, false)
            .unwrap_or_else(|_| unreachable!("it is not asked whether it is open"))
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed.is_some()
    }

    /// The holders of a turn and the waiters for one, each in order.
    pub(crate) fn entries(&self) -> (Vec<Entry>, Vec<Entry>) {
        let state = lock(&self.state);
        let waiting = state.waiting.iter().map(|(entry, _)| entry.clone());
        (state.holding.clone(), waiting.collect())
    }

    fn leave(&self, number: u64, namespace: Option<Arc<N>>) {
        let mut state = lock(&self.state);
        let mut gone = None;
        let mut left = None;
        if let Some(at) = state.holding.iter().position(|held| held.number == number) {
            left = Some(state.holding.remove(at));
            if namespace.is_some() {
                state.namespace = namespace;
            }
        } else if let Ok(at) = state
            .waiting
            .binary_search_by_key(&number, |(entry, _)| entry.number)
        {
            gone = state.waiting.remove(at);
        }
        let wakers = state.grant();
        drop(state);
        // Tokens and wakers are foreign code.
        drop((gone, left));
        wakers.into_iter().for_each(wake);
    }

    fn poll_ticket(
        self: &Arc<Self>,
        number: u64,
        access: Access,
        mut waker: Option<Waker>,
    ) -> Option<Turn<N>> {
        let mut state = lock(&self.state);
        if state.holding.iter().any(|held| held.number == number) {
            let namespace = state.take(access);
            drop(state);
            return Some(Turn {
                queue: self.clone(),
                number,
                access,
                namespace,
            });
        }
        let place = state
            .waiting
            .binary_search_by_key(&number, |(entry, _)| entry.number)
            .expect("a ticket is in one of the lists");
        if waker.is_some() {
            std::mem::swap(&mut state.waiting[place].1, &mut waker);
        }
        drop(state);
        None
    }
}

/// A place in line. Dropping it gives it up.
pub(crate) struct Ticket<N> {
    pub(crate) number: u64,
    access: Access,
    stage: Stage<N>,
}

enum Stage<N> {
    /// Granted at once, and not taken yet.
    Granted(Turn<N>),
    /// In one of the lists.
    Waits(Arc<Queue<N>>),
    /// It has become a turn.
    Over,
}

impl<N> Ticket<N> {
    /// The turn, if it is granted already.
    pub(crate) fn try_turn(mut self) -> Result<Turn<N>, Self> {
        match self.poll_turn(None) {
            Some(turn) => Ok(turn),
            None => Err(self),
        }
    }

    fn poll_turn(&mut self, waker: Option<Waker>) -> Option<Turn<N>> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Granted(turn) => Some(turn),
            Stage::Waits(queue) => {
                let turn = queue.poll_ticket(self.number, self.access, waker);
                if turn.is_none() {
                    self.stage = Stage::Waits(queue);
                }
                turn
            }
            Stage::Over => panic!("polled after it was ready"),
        }
    }
}

impl<N> Future for Ticket<N> {
    type Output = Turn<N>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn<N>> {
        // Cloned in advance: cloning is foreign code, which must not run under the lock; if it
        // panics, the ticket stays as it was.
        match self.poll_turn(Some(cx.waker().clone())) {
            Some(turn) => Poll::Ready(turn),
            None => Poll::Pending,
        }
    }
}

impl<N> Drop for Ticket<N> {
    fn drop(&mut self) {
        // (A turn that was granted gives itself back.)
        if let Stage::Waits(queue) = &self.stage {
            queue.leave(self.number, None);
        }
    }
}

/// The right to the namespace. Dropping it lets the next one in.
pub(crate) struct Turn<N> {
    queue: Arc<Queue<N>>,
    pub(crate) number: u64,
    access: Access,
    // `None` if it was taken out for good, and after `drop`.
    namespace: Option<Arc<N>>,
}

impl<N> Turn<N> {
    pub(crate) fn get(&self) -> &N {
        self.namespace.as_deref().expect(THERE)
    }

    /// For writers.
    pub(crate) fn get_mut(&mut self) -> &mut N {
        debug_assert_eq!(self.access, Access::Write);
        let namespace = self.namespace.as_mut().expect(THERE);
        Arc::get_mut(namespace).expect("a writer has the only reference")
    }

    /// Takes the namespace for good, if it was not taken before. For the last writer.
    pub(crate) fn take(&mut self) -> Option<N> {
        let namespace = self.namespace.take()?;
        Some(Arc::into_inner(namespace).expect("a writer has the only reference"))
    }
}

/// The session is closed before its namespace is taken, and the turn that takes it is the last.
const THERE: &str = "the namespace is there as long as there are turns";

impl<N> Drop for Turn<N> {
    fn drop(&mut self) {
        let mut namespace = self.namespace.take();
        if self.access == Access::Read {
            // Before the turn is given back: the next holder may be a writer, which needs the only
            // reference. This reference is never the last, as the queue has one.
            namespace = None;
        }
        self.queue.leave(self.number, namespace);
    }
}

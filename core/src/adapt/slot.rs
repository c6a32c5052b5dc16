//! Where a result waits for its joiner: [`Slot`].

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::contain::discard;
use crate::JoinError;

type Result<T> = std::result::Result<T, JoinError>;

/// One result, one joiner. The lock is held for a few moves only: wakers are
/// cloned, dropped and woken, and results dropped, outside of it.
pub(super) struct Slot<T> {
    state: Mutex<State<T>>,
}

enum State<T> {
    /// No result yet; the last joiner's waker.
    Empty(Option<Waker>),
    Full(Result<T>),
    /// There was a result.
    Taken,
    /// No result yet, and nobody will take it.
    Abandoned,
}

impl<T> Slot<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State::Empty(None)),
        }
    }

    /// Publishes the result and wakes the joiner. All of the user's values that
    /// belong to the work must have been destroyed before (JO-2).
    pub(super) fn fill(&self, result: Result<T>) {
        let mut state = self.lock();
        match &mut *state {
            State::Empty(_) => {
                let before = std::mem::replace(&mut *state, State::Full(result));
                drop(state);
                if let State::Empty(Some(joiner)) = before {
                    joiner.wake();
                }
            }
            State::Abandoned => {
                *state = State::Taken;
                drop(state);
                discard(result);
            }
            State::Full(_) | State::Taken => {
                drop(state);
                discard(result);
            }
        }
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T>> {
        // Cloned before the lock is taken, for it is user code.
        let waker = cx.waker().clone();
        let mut state = self.lock();
        match &mut *state {
            State::Empty(joiner) => {
                let before = joiner.replace(waker);
                drop(state);
                drop(before);
                Poll::Pending
            }
            State::Full(_) => match std::mem::replace(&mut *state, State::Taken) {
                State::Full(result) => Poll::Ready(result),
                _ => unreachable!("just matched"),
            },
            State::Taken | State::Abandoned => {
                drop(state);
                panic!("a task handle was polled after it was ready")
            }
        }
    }

    /// The handle goes away: drops the result, now or when it comes.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        let after = match *state {
            State::Empty(_) | State::Abandoned => State::Abandoned,
            State::Full(_) | State::Taken => State::Taken,
        };
        let before = std::mem::replace(&mut *state, after);
        drop(state);
        if let State::Full(result) = before {
            discard(result);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        matches!(*self.lock(), State::Full(_) | State::Taken)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No user code runs under the lock, so that nothing can poison it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

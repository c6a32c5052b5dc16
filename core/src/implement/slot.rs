//! Where a result waits for its joiner: [`Slot`].

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::PoisonError,
    task::{Context, Poll, Waker},
};

use super::contain::discard;
use crate::{
    JoinError,
    sync::{Mutex, MutexGuard},
};

type Result<T> = std::result::Result<T, JoinError>;

/// Hands one result to one joiner.
///
/// A wake goes to the last joiner that polled ([a task is awaited anywhere][JO-1]). Results that
/// are not taken are dropped with their panics contained. No lock is held while a waker is cloned,
/// dropped or woken, or a result dropped.
///
/// [JO-1]: crate::contract#JO-1
pub struct Slot<T> {
    state: Mutex<State<T>>,
}

enum State<T> {
    /// No result yet; the last joiner's waker.
    Empty(Option<Waker>),
    /// A result that must not be seen yet; the last joiner's waker.
    Sealed(Option<Waker>, Result<T>),
    Full(Result<T>),
    /// There was a result.
    Taken,
    /// No result yet, and none will be taken.
    Abandoned,
}

impl<T> Slot<T> {
    /// An empty slot.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State::Empty(None)),
        }
    }

    /// Publishes the result and wakes the joiner. All of the user's values that
    /// belong to the work must have been destroyed before ([destroyed before the join][JO-2]).
    ///
    /// [JO-2]: crate::contract#JO-2
    pub fn fill(&self, result: Result<T>) {
        let mut state = self.lock();
        match &mut *state {
            State::Empty(_) => {
                let before = std::mem::replace(&mut *state, State::Full(result));
                drop(state);
                if let State::Empty(Some(joiner)) = before {
                    wake(joiner);
                }
            }
            State::Abandoned => {
                *state = State::Taken;
                drop(state);
                discard(result);
            }
            State::Sealed(..) | State::Full(_) | State::Taken => {
                drop(state);
                discard(result);
            }
        }
    }

    /// Settles the result, without showing it before [`unseal`](Self::unseal). Gives it back if
    /// nobody will take it; the caller drops it.
    pub fn seal(&self, result: Result<T>) -> Option<Result<T>> {
        let mut state = self.lock();
        match &mut *state {
            State::Empty(joiner) => {
                let joiner = joiner.take();
                *state = State::Sealed(joiner, result);
                None
            }
            State::Abandoned | State::Sealed(..) | State::Full(_) | State::Taken => Some(result),
        }
    }

    /// Publishes a sealed result and wakes the joiner. Runs no destructor of a
    /// result.
    pub fn unseal(&self) {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Sealed(joiner, result) => {
                *state = State::Full(result);
                drop(state);
                if let Some(joiner) = joiner {
                    wake(joiner);
                }
            }
            // Given back by `seal`, or given up since.
            State::Abandoned | State::Taken => {}
            before @ (State::Empty(_) | State::Full(_)) => *state = before,
        }
    }

    /// Takes the result, or registers the joiner for it.
    ///
    /// # Panics
    ///
    /// If the result was taken or abandoned before.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let state = self.lock();
        if let State::Empty(joiner) | State::Sealed(joiner, _) = &*state {
            if joiner
                .as_ref()
                .is_some_and(|joiner| joiner.will_wake(cx.waker()))
            {
                return Poll::Pending;
            }
            // Cloned outside of the lock, because it is user code.
            drop(state);
            return self.register(cx.waker().clone());
        }
        self.take(state)
    }

    /// Registers the joiner, or takes the result if it is there.
    ///
    /// # Panics
    ///
    /// As for [`poll`](Self::poll).
    pub fn register(&self, waker: Waker) -> Poll<Result<T>> {
        let mut state = self.lock();
        match &mut *state {
            State::Empty(joiner) | State::Sealed(joiner, _) => {
                let before = joiner.replace(waker);
                drop(state);
                drop(before);
                Poll::Pending
            }
            _ => {
                let poll = self.take(state);
                drop(waker);
                poll
            }
        }
    }

    /// Takes the result, which there is or was.
    fn take(&self, mut state: MutexGuard<'_, State<T>>) -> Poll<Result<T>> {
        match &mut *state {
            State::Full(_) => match std::mem::replace(&mut *state, State::Taken) {
                State::Full(result) => Poll::Ready(result),
                _ => unreachable!("just matched"),
            },
            _ => {
                drop(state);
                panic!("a task handle was polled after it was ready")
            }
        }
    }

    /// The handle goes away: drops the result, now or when it comes.
    pub fn abandon(&self) {
        discard(self.give_up());
    }

    /// The handle goes away. Returns the result if it is there, sealed or not. A later result is
    /// given back by [`seal`](Self::seal), and dropped by [`fill`](Self::fill).
    #[must_use]
    pub fn give_up(&self) -> Option<Result<T>> {
        let mut state = self.lock();
        let after = match *state {
            State::Empty(_) | State::Abandoned => State::Abandoned,
            State::Sealed(..) | State::Full(_) | State::Taken => State::Taken,
        };
        let before = std::mem::replace(&mut *state, after);
        drop(state);
        let (joiner, result) = match before {
            State::Empty(joiner) => (joiner, None),
            State::Sealed(joiner, result) => (joiner, Some(result)),
            State::Full(result) => (None, Some(result)),
            State::Taken | State::Abandoned => (None, None),
        };
        // If the destructor of the waker panics, the task must still be cancelled.
        discard(joiner);
        result
    }

    /// Has there been a result?
    pub fn is_full(&self) -> bool {
        matches!(*self.lock(), State::Full(_) | State::Taken)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No user code runs under the lock, so that nothing can poison it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls a waker. A hand-made waker may panic, but the caller, such as a worker or the timer
/// thread, has other joiners to serve.
pub fn wake(waker: Waker) {
    // Unwind safety: the waker is gone either way.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        discard(payload);
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("full", &self.is_full())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_is_given_back_wherever_it_is() {
        let sealed = Slot::new();
        assert!(sealed.seal(Ok(1)).is_none());
        assert!(matches!(sealed.give_up(), Some(Ok(1))));
        sealed.unseal();
        assert!(sealed.give_up().is_none());

        let full = Slot::new();
        full.fill(Ok(2));
        assert!(matches!(full.give_up(), Some(Ok(2))));

        let empty = Slot::new();
        assert!(empty.give_up().is_none());
        assert!(matches!(empty.seal(Ok(3)), Some(Ok(3))));
    }
}

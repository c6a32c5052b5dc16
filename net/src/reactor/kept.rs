//! The waiters of a socket of Tokio, for the end of its runtime alone: [`Kept`].
//!
//! Tokio's driver wakes them when the socket is ready. So their wakers stay here from one wait to the
//! next, where it takes a lock only if another task waits.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering, fence},
};
use std::task::Waker;

use fourway_adapt::KeptWaker;

use super::{
    life::Told,
    waiting::{Entry, Waiting},
};
use crate::io::Direction;

/// The waiters of a socket. It keeps the last waker of each direction, also after the wait, until
/// another task waits or the socket is dropped: to release it would take a lock in each wait.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Of `poll`, in each direction.
    polls: [KeptWaker; 2],
    /// Of the first that waits in `run`, in each direction; and whether there is one.
    firsts: [KeptWaker; 2],
    is_taken: [AtomicBool; 2],
    /// Of the others, if there were any.
    others: OnceLock<Box<Waiting>>,
}

impl Kept {
    /// Called before a look at the life.
    pub(super) fn keep(&self, direction: Direction, waker: &Waker) {
        self.polls[direction as usize].keep(waker);
    }

    /// One that waits in `run`.
    pub(super) fn place(&self, direction: Direction) -> Place<'_> {
        Place {
            kept: self,
            direction,
            at: None,
        }
    }
}

impl Told for Kept {
    fn wake_all(&self) {
        self.polls.iter().for_each(KeptWaker::wake);
        self.firsts.iter().for_each(KeptWaker::wake);
        // After the fences of `wake`, which pair with that of `Place::keep`.
        if let Some(others) = self.others.get() {
            others.wake_all();
        }
    }
}

/// Where one of many waiters leaves its waker.
pub(super) struct Place<'a> {
    kept: &'a Kept,
    direction: Direction,
    at: Option<At<'a>>,
}

enum At<'a> {
    First,
    Other(Entry<'a>),
}

impl Place<'_> {
    /// Called before a look at the life.
    pub(super) fn keep(&mut self, waker: &Waker) {
        let Self {
            kept, direction, ..
        } = *self;
        let at = self.at.get_or_insert_with(|| {
            // Acquire: it pairs with the Release of the one before, whose waker is there.
            if kept.is_taken[direction as usize].swap(true, Ordering::Acquire) {
                let others = kept.others.get_or_init(Box::default);
                At::Other(others.entry(direction))
            } else {
                At::First
            }
        });
        match at {
            At::First => kept.firsts[direction as usize].keep(waker),
            At::Other(entry) => {
                entry.set(waker);
                // Either `wake_all` finds the others, or the look that follows sees that it is over.
                fence(Ordering::SeqCst);
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(At::First) = self.at {
            // Pairs with the Acquire above.
            self.kept.is_taken[self.direction as usize].store(false, Ordering::Release);
        }
    }
}

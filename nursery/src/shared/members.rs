//! The members that keep a nursery open, counted in one word: [`Members`].
//!
//! Most children come and go by an operation on this word alone, without the lock. A limit, a line
//! or a cancellation needs a decision under the lock. Then the word is *guarded*, once and for
//! good, and children come in under the lock only.

use crate::sync::atomic::{AtomicUsize, Ordering};

/// The body, children, those of them that wait in line, and holds. Once there is no member, the
/// nursery is over, and stays so.
pub(super) struct Members(AtomicUsize);

/// The limit, the line or a cancellation must be looked at before a member comes in, and when one
/// leaves.
const GUARDED: usize = 1;
/// There has been a child.
const SPAWNED: usize = 2;
const ONE: usize = 4;

/// The state when a member left.
pub(super) struct Left {
    /// It was the last; only one member is told so.
    pub(super) last: bool,
    pub(super) guarded: bool,
}

impl Members {
    /// One member: the body.
    pub(super) fn new() -> Self {
        Self(AtomicUsize::new(ONE))
    }

    /// A child comes in, unless the lock has to decide that.
    #[inline]
    pub(super) fn try_spawn(&self) -> bool {
        self.enter(GUARDED, SPAWNED)
    }

    /// A child comes in. Call it under the lock; `false` if the nursery is over.
    pub(super) fn spawn(&self) -> bool {
        self.enter(0, SPAWNED)
    }

    /// Something that is no child comes in. As [`spawn`](Self::spawn).
    pub(super) fn hold(&self) -> bool {
        self.enter(0, 0)
    }

    #[inline]
    fn enter(&self, unless: usize, set: usize) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        // Not by addition alone: after the last member left, the nursery was reported as over.
        while word >= ONE && word & unless == 0 {
            // Relaxed: the code that lets a member in has seen all that the member must see.
            match self.0.compare_exchange_weak(
                word,
                (word + ONE) | set,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// A member leaves.
    #[inline]
    pub(super) fn leave(&self) -> Left {
        // Release, and Acquire for the last: a thread that learns that it is over sees what all
        // have done before they left. Pairs with itself, and with `count`.
        let before = self.0.fetch_sub(ONE, Ordering::AcqRel);
        Left {
            last: before < 2 * ONE,
            guarded: before & GUARDED != 0,
        }
    }

    /// From here on children come in under the lock only. Call it under the lock.
    pub(super) fn guard(&self) {
        // Relaxed: a member that comes in without the lock does so before this, in the order of
        // this word.
        self.0.fetch_or(GUARDED, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        // Acquire: see `leave`.
        self.0.load(Ordering::Acquire) / ONE
    }

    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.count() == 0
    }

    pub(super) fn had_children(&self) -> bool {
        self.0.load(Ordering::Relaxed) & SPAWNED != 0
    }
}

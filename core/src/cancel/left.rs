//! Waiting for a token that the caller keeps elsewhere: [`LeftWaker`].

use std::task::Waker;

use super::CancellationToken;

/// A waker that was left with a token: [`WaitForCancellation`](super::WaitForCancellation) in three
/// words, for a future that has the token at hand without holding it.
///
/// It is for tokens without a deadline. Dropping it leaves the waker with the token; [take it
/// back](Self::take_back).
#[derive(Debug)]
pub struct LeftWaker {
    /// The number of the waker in the token's list.
    key: usize,
    known: Known,
}

/// Tells a waker from others, as long as the list has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    data: usize,
    vtable: usize,
}

impl Known {
    pub(super) fn of(waker: &Waker) -> Self {
        Self {
            data: waker.data().addr(),
            vtable: std::ptr::from_ref(waker.vtable()).addr(),
        }
    }
}

impl LeftWaker {
    /// Leaves `waker` with `token`, in place of the one that was left there with `before`, if any.
    /// `None` if the token was cancelled: then there is nothing to take back.
    #[must_use]
    pub fn leave(before: Option<Self>, token: &CancellationToken, waker: &Waker) -> Option<Self> {
        let mut key = before.map(|before| before.key);
        let known = token.node.register(&mut key, waker)?;
        Some(Self { key: key?, known })
    }

    /// Was this waker left? Touches neither the token nor its lock.
    ///
    /// `true` is reliable while the token is not cancelled. Until then it keeps the waker, so that
    /// no other waker has the same data.
    #[inline]
    #[must_use]
    pub fn is(&self, waker: &Waker) -> bool {
        self.known == Known::of(waker)
    }

    /// Takes the waker back from `token`, with which it was left, and drops it.
    pub fn take_back(self, token: &CancellationToken) {
        token.node.unregister(self.key);
    }
}

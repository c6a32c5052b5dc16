//! The token that asks the body and the children to end: [`Asked`].

use std::{sync::OnceLock, task::Waker};

use fourway_core::{
    Runtime,
    cancel::{CancellationToken, Reason},
    implement::{Enclosed, wake},
    values::Values,
};

use super::Shared;
use crate::sync::lock;

/// The current token of the body and of the children. A nursery with no token around it and no
/// deadline is cancelled only by those who ask for its token, and makes it for the first of them.
pub(super) struct Asked {
    token: OnceLock<CancellationToken>,
    /// Among the values of the body, where work looks for it.
    entry: Enclosed,
}

impl Asked {
    pub(super) fn new(entry: Enclosed) -> Self {
        Self {
            token: OnceLock::new(),
            entry,
        }
    }

    /// Sets the token that the entry was made with.
    // Not in `new`: a cell that is made of a token is slow to move.
    pub(super) fn set(&self, token: CancellationToken) {
        let _ = self.token.set(token);
    }
}

impl<R: Runtime, E> Shared<R, E> {
    /// The token, if it has been made. If not, the nursery is not cancelled.
    #[inline]
    pub(crate) fn made_token(&self) -> Option<&CancellationToken> {
        self.asked.token.get()
    }

    #[inline]
    pub(crate) fn is_asked(&self) -> bool {
        self.made_token()
            .is_some_and(CancellationToken::is_cancelled)
    }

    /// Why it was cancelled; `None` if it was not.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.made_token()?.reason()
    }

    /// The token, made now if it has not been. Wakes the nursery's future then: do not call it
    /// under a lock.
    pub(crate) fn token(&self) -> &CancellationToken {
        match self.made_token() {
            Some(token) => token,
            None => self.make_token(),
        }
    }

    #[cold]
    fn make_token(&self) -> &CancellationToken {
        let Asked { token, entry } = &self.asked;
        // Whoever is first, it is the same token: that of the entry.
        let token = entry.token_with(|made| token.get_or_init(|| made.clone()));
        if self.is_inherited() {
            // Its future is the parent's, and so is the lock.
            return token;
        }
        // It waits without the token, see `wait_for_token`.
        let host = lock(&self.state).host.take();
        host.into_iter().for_each(wake);
        token
    }

    /// Has the nursery's future woken when the token is made. Look after that whether it has been:
    /// who makes it sets it before taking the lock, and then finds the waker, or is seen.
    pub(crate) fn wait_for_token(&self, waker: &Waker) {
        let known = lock(&self.state)
            .host
            .as_ref()
            .is_some_and(|host| host.will_wake(waker));
        if !known {
            // Cloned and dropped outside of the lock, because it is foreign code.
            let waker = waker.clone();
            let before = lock(&self.state).host.replace(waker);
            drop(before);
        }
    }

    /// Are these the values with which the body began?
    #[inline]
    pub(crate) fn are_of_body(&self, values: &Values) -> bool {
        self.asked.entry.is_of(values)
    }
}

use super::{CancellationToken, Reason};

/// Cancels a token when it is dropped. Made by [`CancellationToken::drop_guard`].
#[derive(Debug)]
#[must_use = "the token is cancelled when this is dropped"]
pub struct DropGuard {
    token: CancellationToken,
    armed: bool,
}

impl DropGuard {
    pub(super) fn new(token: CancellationToken) -> Self {
        Self { token, armed: true }
    }

    /// The token that it guards.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Gives the token back, uncancelled.
    #[must_use]
    pub fn disarm(mut self) -> CancellationToken {
        self.armed = false;
        self.token.clone()
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        if self.armed {
            self.token.cancel_with(Reason::Dropped);
        }
    }
}

/// Cancels a token when it is dropped. Made by [`CancellationToken::drop_guard_ref`].
#[derive(Debug)]
#[must_use = "the token is cancelled when this is dropped"]
pub struct DropGuardRef<'a> {
    token: &'a CancellationToken,
    armed: bool,
}

impl<'a> DropGuardRef<'a> {
    pub(super) fn new(token: &'a CancellationToken) -> Self {
        Self { token, armed: true }
    }

    /// The token that it guards.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        self.token
    }

    /// Gives the token back, uncancelled.
    #[must_use]
    pub fn disarm(mut self) -> &'a CancellationToken {
        self.armed = false;
        self.token
    }
}

impl Drop for DropGuardRef<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.token.cancel_with(Reason::Dropped);
        }
    }
}

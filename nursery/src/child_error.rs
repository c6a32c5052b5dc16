//! Why a child has no output: [`ChildError`].

use std::{error::Error, fmt};

use fourway_core::cancel::{Cancelled, Reason};

use crate::error::Failure;

/// Why a child has no output.
pub struct ChildError<E> {
    kind: ChildErrorKind<E>,
}

enum ChildErrorKind<E> {
    Failed(Failure<E>),
    /// Failed, and the failure is with the nursery.
    Told,
    Cancelled(Cancelled),
}

impl<E> ChildError<E> {
    pub(crate) fn failed(failure: Failure<E>) -> Self {
        Self {
            kind: ChildErrorKind::Failed(failure),
        }
    }

    pub(crate) fn told() -> Self {
        Self {
            kind: ChildErrorKind::Told,
        }
    }

    pub(crate) fn cancelled(reason: Reason) -> Self {
        Self {
            kind: ChildErrorKind::Cancelled(Cancelled::new(reason)),
        }
    }

    /// Was the child cancelled, and if so, why?
    #[must_use]
    pub fn cancellation(&self) -> Option<&Cancelled> {
        match &self.kind {
            ChildErrorKind::Cancelled(cancelled) => Some(cancelled),
            _ => None,
        }
    }

    /// Was the child cancelled?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancellation().is_some()
    }

    /// How it failed; `None` if it was cancelled, or if the failure is with the nursery, which
    /// ends because of it.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure<E>> {
        match &self.kind {
            ChildErrorKind::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// How it failed. See [`failure`](Self::failure).
    #[must_use]
    pub fn into_failure(self) -> Option<Failure<E>> {
        match self.kind {
            ChildErrorKind::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for ChildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ChildErrorKind::Failed(failure) => write!(f, "the child failed: {failure}"),
            ChildErrorKind::Told => {
                f.write_str("the child failed: its nursery ends because of it, and has the failure")
            }
            ChildErrorKind::Cancelled(cancelled) => cancelled.fmt(f),
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for ChildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ChildErrorKind::Failed(failure) => f.debug_tuple("Failed").field(failure).finish(),
            ChildErrorKind::Told => f.write_str("Failed"),
            ChildErrorKind::Cancelled(cancelled) => f
                .debug_tuple("Cancelled")
                .field(cancelled.reason())
                .finish(),
        }
    }
}

impl<E: Error + 'static> Error for ChildError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            // Its own message is in this one's.
            ChildErrorKind::Failed(failure) => failure.source(),
            ChildErrorKind::Told => None,
            // The same message again: by its type the nursery of the reader tells it apart.
            ChildErrorKind::Cancelled(cancelled) => Some(cancelled),
        }
    }
}

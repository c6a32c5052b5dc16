//! Failures: recording them, and cancelling the others if the policy says so.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fourway_core::{JoinError, Runtime, cancel::Reason, implement::discard};

use super::Shared;
use crate::error::{Failure, is_cancellation};

impl<R: Runtime, E: Send + 'static> Shared<R, E> {
    /// Records a failure, and cancels the others if the policy says so.
    pub(crate) fn failed(&self, failure: Failure<E>) {
        if self.is_inherited() {
            // The failures, and their lock, are the parent's.
            return discard(failure);
        }
        // If the runtime drops a child, it has been shut down, or has no thread. The next in line
        // would be started where this one is dropped, and be dropped in turn: so all are cancelled,
        // also under `supervise`, or many in line would overflow the stack.
        let (gone, unstarted) = match &failure {
            Failure::Join(error) => (error.is_shutdown(), error.is_unstarted()),
            Failure::Error(_) => (false, false),
        };
        self.record(failure);
        if gone {
            self.cancel(&Reason::Shutdown);
        } else if unstarted || !self.settings.supervise {
            self.cancel(&Reason::SiblingFailed);
        }
    }

    /// Records a failure, or hands it to `on_failure`.
    fn record(&self, mut failure: Failure<E>) {
        if let Some(on_failure) = &self.settings.on_failure {
            // Unwind safety: the closure is shared, and says itself that it may be.
            match catch_unwind(AssertUnwindSafe(|| on_failure(failure))) {
                Ok(()) if self.settings.forgives => return,
                Ok(()) => {
                    let was_cancelled = self.is_asked();
                    return self.ledger(&mut self.lock()).handed_over(was_cancelled);
                }
                Err(payload) => failure = Failure::Join(JoinError::panicked(payload)),
            }
        }
        let was_cancelled = self.is_asked();
        let surplus = self.ledger(&mut self.lock()).record(failure, was_cancelled);
        surplus.into_iter().for_each(discard);
    }

    /// The body is over. Its failure cancels the children under every policy.
    pub(crate) fn body_failed(&self, failure: Failure<E>) {
        let was_cancelled = self.is_asked();
        let mut state = self.lock();
        let ledger = self.ledger(&mut state);
        ledger.body_failed = true;
        let surplus = ledger.record(failure, was_cancelled);
        drop(state);
        surplus.into_iter().for_each(discard);
        self.cancel(&Reason::SiblingFailed);
    }

    /// Counts a child that was refused because of the cancellation as cancelled.
    pub(crate) fn count_refused(&self) {
        self.ledger(&mut self.lock()).cancelled += 1;
    }

    /// Is an error of a child or the body a cancellation? It is if the nursery is being cancelled
    /// and the error says nothing else; otherwise it is a failure.
    pub(crate) fn is_cancellation(&self, error: &E) -> bool {
        self.is_asked() && self.says_cancelled(error)
    }

    /// Does the error say that the work was cancelled, and nothing else?
    pub(crate) fn says_cancelled(&self, error: &E) -> bool {
        match &self.settings.is_cancellation {
            // Unwind safety: it only looks. A panic has been reported by its hook, and the
            // error is kept as a failure.
            Some(says) => catch_unwind(AssertUnwindSafe(|| says(error))).unwrap_or(false),
            None => is_cancellation(error),
        }
    }
}

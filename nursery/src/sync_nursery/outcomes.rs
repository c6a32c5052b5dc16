//! The state that is left when the threads are gone: failures, the token, and work that outlives a
//! child.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use fourway_core::{
    JoinError, Payload,
    cancel::{CancellationToken, Reason},
    implement::{Enclosing, Hold, discard, enclose_with, fork::Process, wake},
    values::Values,
};

use crate::{
    error::{Failure, is_cancellation},
    ledger::Ledger,
    shared::{OnFailure, Says},
    sync::{Mutex, lock},
};

use super::{sink::SyncOutcome, wait::Wait};

/// The state that is left when the threads are gone.
pub(super) struct SyncOutcomes<E> {
    /// In which the nursery was opened.
    pub(super) process: Process,
    pub(super) token: CancellationToken,
    pub(super) supervise: bool,
    /// A failure that `on_failure` has taken is no failure of the nursery.
    pub(super) forgives: bool,
    pub(super) on_failure: Option<OnFailure<E>>,
    pub(super) is_cancellation: Option<Says<E>>,
    pub(super) ledger: Mutex<Ledger<E>>,
    pub(super) wait: Arc<dyn Wait>,
    /// This, for the context of the children.
    pub(super) me: Weak<dyn Enclosing>,
    /// Bodies of calls, and async nurseries, that outlive the child in which they were.
    pub(super) holds: Mutex<Holds>,
}

#[derive(Default)]
pub(super) struct Holds {
    pub(super) count: usize,
    /// The nursery's own thread, which waits for the last.
    pub(super) host: Option<Waker>,
}

impl<E: Send + 'static> SyncOutcomes<E> {
    /// The values that are current in the body.
    pub(super) fn values(&self) -> Values {
        self.around(Values::current())
    }

    /// `values`, with the nursery as the enclosing scope, and with its token.
    pub(super) fn around(&self, values: Values) -> Values {
        enclose_with(values, &self.me, &self.token)
    }

    /// Records a failure, or hands it to `on_failure`.
    pub(super) fn record(&self, mut failure: Failure<E>) {
        if let Some(on_failure) = &self.on_failure {
            // Unwind safety: the closure is shared, and says itself that it may be.
            match catch_unwind(AssertUnwindSafe(|| on_failure(failure))) {
                Ok(()) if self.forgives => return,
                Ok(()) => {
                    let was_cancelled = self.token.is_cancelled();
                    return lock(&self.ledger).handed_over(was_cancelled);
                }
                Err(payload) => failure = Failure::Join(JoinError::panicked(payload)),
            }
        }
        self.keep(failure);
    }

    pub(super) fn keep(&self, failure: Failure<E>) {
        let was_cancelled = self.token.is_cancelled();
        let surplus = lock(&self.ledger).record(failure, was_cancelled);
        surplus.into_iter().for_each(discard);
    }

    pub(super) fn cancel(&self, reason: Reason) {
        if !self.token.is_cancelled() {
            lock(&self.ledger).by_itself = true;
        }
        self.token.cancel_with(reason);
    }

    /// Waits until no work of the children is left.
    pub(super) fn poll_free(&self, cx: &Context<'_>) -> Poll<()> {
        let mut waker = Some(cx.waker().clone());
        let mut holds = lock(&self.holds);
        let poll = if holds.count == 0 {
            Poll::Ready(())
        } else {
            std::mem::swap(&mut holds.host, &mut waker);
            Poll::Pending
        };
        drop(holds);
        drop(waker);
        poll
    }

    pub(super) fn reason(&self) -> Reason {
        // If it was not cancelled, it has no thread for the child.
        self.token.reason().unwrap_or(Reason::Shutdown)
    }

    pub(super) fn failed_or_cancelled<T>(&self, error: E) -> SyncOutcome<T, E> {
        let cancelled = self.token.is_cancelled()
            && match &self.is_cancellation {
                // Unwind safety: it only looks; the error is kept as a failure.
                Some(says) => catch_unwind(AssertUnwindSafe(|| says(&error))).unwrap_or(false),
                None => is_cancellation(&error),
            };
        if cancelled {
            discard(error);
            SyncOutcome::Cancelled(self.reason())
        } else {
            SyncOutcome::Failed(Failure::Error(error))
        }
    }
}

impl<E: Send + 'static> Enclosing for SyncOutcomes<E> {
    fn hold(self: Arc<Self>) -> Option<Box<dyn Hold>> {
        lock(&self.holds).count += 1;
        Some(Box::new(Held(self)))
    }

    fn killed(&self) -> CancellationToken {
        // Nothing drops a thread, or the values in it.
        CancellationToken::new()
    }

    fn drops(&self) -> bool {
        false
    }
}

pub(super) struct Held<E: Send + 'static>(Arc<SyncOutcomes<E>>);

impl<E: Send + 'static> Hold for Held<E> {
    fn panicked(&mut self, payload: Payload) {
        self.0.record(Failure::Join(JoinError::panicked(payload)));
        if !self.0.supervise {
            // Those in line are ended by the threads that come to them.
            self.0.cancel(Reason::SiblingFailed);
        }
    }
}

impl<E: Send + 'static> Drop for Held<E> {
    fn drop(&mut self) {
        let mut holds = lock(&self.0.holds);
        holds.count -= 1;
        let host = if holds.count == 0 {
            holds.host.take()
        } else {
            None
        };
        drop(holds);
        host.into_iter().for_each(wake);
    }
}

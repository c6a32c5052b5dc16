//! The receiver of a child's output: [`SyncSink`].

use fourway_core::{cancel::Reason, implement::discard};

use crate::{ChildError, error::Failure};

/// How a child ended; see [`SyncSink`].
pub(crate) enum SyncOutcome<T, E> {
    Done(T),
    Failed(Failure<E>),
    Cancelled(Reason),
}

/// The receiver of a child's outcome; the nursery gets the rest.
pub(crate) trait SyncSink<T, E>: Send {
    /// `fail` takes a failure that the nursery must know of at once.
    fn take(
        self,
        outcome: SyncOutcome<T, E>,
        supervise: bool,
        fail: &dyn Fn(Failure<E>),
    ) -> SyncOutcome<(), E>;

    /// Does an output end the nursery, because the rest is not needed?
    fn ends_it(&self) -> bool {
        false
    }
}

pub(super) struct NoSink;

impl<T, E> SyncSink<T, E> for NoSink {
    fn take(
        self,
        outcome: SyncOutcome<T, E>,
        _: bool,
        _: &dyn Fn(Failure<E>),
    ) -> SyncOutcome<(), E> {
        match outcome {
            SyncOutcome::Done(output) => {
                discard(output);
                SyncOutcome::Done(())
            }
            SyncOutcome::Failed(failure) => SyncOutcome::Failed(failure),
            SyncOutcome::Cancelled(reason) => SyncOutcome::Cancelled(reason),
        }
    }
}

/// The handle's part, and the nursery's.
pub(crate) fn split<T, E>(
    outcome: SyncOutcome<T, E>,
    supervise: bool,
) -> (Result<T, ChildError<E>>, SyncOutcome<(), E>) {
    match outcome {
        SyncOutcome::Done(output) => (Ok(output), SyncOutcome::Done(())),
        SyncOutcome::Failed(failure) if supervise => {
            (Err(ChildError::failed(failure)), SyncOutcome::Done(()))
        }
        SyncOutcome::Failed(failure) => (Err(ChildError::told()), SyncOutcome::Failed(failure)),
        SyncOutcome::Cancelled(reason) => (
            Err(ChildError::cancelled(reason.clone())),
            SyncOutcome::Cancelled(reason),
        ),
    }
}

//! Handles of children: [`SyncHandle`].

use std::{fmt, sync::Arc};

use fourway_core::{
    BlockOnError, JoinError,
    implement::{self, Slot, discard},
};

use crate::{ChildError, error::Failure};

use super::{
    outcomes::SyncOutcomes,
    sink::{SyncOutcome, SyncSink, split},
    wait::wait_for,
};

/// The handle of a child of a sync nursery.
///
/// Dropping it gives up the output; a failure that was not taken goes to the nursery.
#[must_use = "without a handle a child costs less: use `spawn`"]
pub struct SyncHandle<T, E: Send + 'static> {
    pub(super) slot: Arc<Slot<Result<T, ChildError<E>>>>,
    pub(super) outcome: Arc<SyncOutcomes<E>>,
}

impl<T, E: Send + 'static> SyncHandle<T, E> {
    /// Has the child ended?
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_inherited() || self.slot.is_full()
    }

    /// Is this a forked child of the process in which the nursery was opened? The child is the
    /// parent's then, and so is the lock of the slot (FK-1, forked children).
    fn is_inherited(&self) -> bool {
        !self.outcome.process.is_this()
    }

    /// Blocks until the child has ended, and gives its output.
    ///
    /// In an offloaded closure, the closure's place in the pool is lent meanwhile.
    ///
    /// If the children that have all the places wait for another child that is behind them in line,
    /// they wait for ever.
    ///
    /// In a forked child, the handle of a child from before the fork gives a failure whose error
    /// [`is_forked`](JoinError::is_forked), at once.
    ///
    /// # Errors
    ///
    /// [`ChildError`] if there is none. Under fail fast the failure itself goes to the nursery.
    ///
    /// # Panics
    ///
    /// On a thread that runs async code, which must not block, at the caller's line ([no blocking
    /// in async code](fourway_core::contract#BL-2)).
    #[track_caller]
    pub fn join(self) -> Result<T, ChildError<E>> {
        match self.try_join() {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    /// [`join`](Self::join) with an error in place of the panic.
    ///
    /// # Errors
    ///
    /// [`is_nested`](BlockOnError::is_nested) on a thread that runs async code; the output is
    /// given up then. The inner result is that of `join`.
    pub fn try_join(self) -> Result<Result<T, ChildError<E>>, BlockOnError> {
        implement::check_may_block()?;
        if self.is_inherited() {
            return Ok(Err(ChildError::failed(Failure::Join(JoinError::forked()))));
        }
        match wait_for(&*self.outcome.wait, |cx| self.slot.poll(cx)) {
            Ok(result) => Ok(result),
            Err(_) => unreachable!("the sink fills it with `Ok`"),
        }
    }
}

impl<T, E: Send + 'static> Drop for SyncHandle<T, E> {
    fn drop(&mut self) {
        if self.is_inherited() {
            // Never the last: an output that is there is the parent's.
            std::mem::forget((self.slot.clone(), self.outcome.clone()));
            return;
        }
        // In one step: the child may be ending at this moment.
        match self.slot.give_up() {
            Some(Ok(Err(error))) => {
                // There is one if the nursery supervises: it cancels no other child.
                if let Some(failure) = error.into_failure() {
                    self.outcome.record(failure);
                }
            }
            output => discard(output),
        }
    }
}

impl<T, E: Send + 'static> fmt::Debug for SyncHandle<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

pub(super) struct HandleSink<T, E>(pub(super) Arc<Slot<Result<T, ChildError<E>>>>);

impl<T: Send, E: Send> SyncSink<T, E> for HandleSink<T, E> {
    fn take(
        self,
        outcome: SyncOutcome<T, E>,
        supervise: bool,
        fail: &dyn Fn(Failure<E>),
    ) -> SyncOutcome<(), E> {
        let (result, rest) = split(outcome, supervise);
        let rest = match rest {
            // Before the handle gets it: a reader of the handle that fails because of it comes
            // second.
            SyncOutcome::Failed(failure) => {
                fail(failure);
                SyncOutcome::Done(())
            }
            rest => rest,
        };
        let unwanted = self.0.seal(Ok(result));
        self.0.unseal();
        match unwanted {
            None => rest,
            Some(Ok(Err(error))) => error.into_failure().map_or(rest, SyncOutcome::Failed),
            Some(unwanted) => {
                discard(unwanted);
                rest
            }
        }
    }
}

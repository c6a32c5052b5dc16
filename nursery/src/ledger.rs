//! The failures of a nursery, and its verdict: [`Ledger`].

use fourway_core::{
    cancel::{Cancelled, Reason},
    implement::discard,
};

use crate::error::{Failure, Kind, NurseryError};

/// The failures and cancellations of one nursery.
pub(crate) struct Ledger<E> {
    failures: Vec<Failure<E>>,
    /// How many failures are kept.
    keep: usize,
    not_kept: usize,
    /// The first failure came before any cancellation.
    failed_first: bool,
    /// One of the failures is the body's.
    pub(crate) body_failed: bool,
    /// How many children were cancelled, or refused after the cancellation.
    pub(crate) cancelled: usize,
    /// It was the nursery that cancelled itself, and not the work around it.
    pub(crate) by_itself: bool,
}

impl<E> Ledger<E> {
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            failures: Vec::new(),
            keep,
            not_kept: 0,
            failed_first: false,
            body_failed: false,
            cancelled: 0,
            by_itself: false,
        }
    }

    /// Records a failure. One too many is only counted, and given back to be dropped outside of the
    /// lock.
    pub(crate) fn record(
        &mut self,
        failure: Failure<E>,
        was_cancelled: bool,
    ) -> Option<Failure<E>> {
        self.failed_first |= !was_cancelled;
        if self.failures.len() < self.keep {
            self.failures.push(failure);
            None
        } else {
            self.not_kept += 1;
            Some(failure)
        }
    }

    /// Counts a failure that other code has taken.
    pub(crate) fn handed_over(&mut self, was_cancelled: bool) {
        self.failed_first |= !was_cancelled;
        self.not_kept += 1;
    }

    /// Takes the failures, for use when no caller asks for the verdict.
    pub(crate) fn take_failures(&mut self) -> Vec<Failure<E>> {
        std::mem::take(&mut self.failures)
    }

    /// Has anything failed?
    pub(crate) fn has_failed(&self) -> bool {
        !self.failures.is_empty() || self.not_kept > 0
    }

    /// The verdict, once the nursery is over. `body`: the body's value, if it was not cut short and
    /// did not fail. `reason`: why the nursery was cancelled, if it was.
    pub(crate) fn verdict<T>(
        self,
        body: Option<T>,
        reason: impl FnOnce() -> Option<Reason>,
    ) -> Result<T, NurseryError<E>> {
        let failed = self.has_failed();
        let body = match body {
            // Whether it was cancelled makes no difference: that has cut nothing short.
            Some(value) if !failed && self.cancelled == 0 => return Ok(value),
            body => body,
        };
        let reason = reason();
        // Has a cancellation from around cut something short, or made it fail?
        let cut = body.is_none() || self.cancelled > 0 || (failed && !self.failed_first);
        let kind = match reason {
            Some(reason) if !self.by_itself && cut => Kind::Cancelled(Cancelled::new(reason)),
            _ if failed => Kind::Failed,
            reason => match body {
                Some(value) => return Ok(value),
                // By itself, without a failure: by `Nursery::cancel`, or its children were lost.
                None => Kind::Cancelled(Cancelled::new(reason.unwrap_or(Reason::NotNeeded))),
            },
        };
        discard(body);
        Err(NurseryError {
            kind,
            failures: self.failures,
            not_kept: self.not_kept,
            cancelled: self.cancelled,
        })
    }
}

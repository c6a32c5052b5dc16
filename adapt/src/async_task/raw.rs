//! A shared native task, and the result that is made of its end.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use async_task::FallibleTask;
use fourway_core::{
    JoinError, Payload,
    implement::{Outcome, discard},
};

use super::panics::{Interest, Watched, take_kept};

/// `async_task`'s own way to cancel: a future that waits for the destruction.
pub(super) type Cancelling<T> = Pin<Box<dyn Future<Output = Option<Outcome<T>>> + Send + Sync>>;

/// A shared native task, and its state.
pub(super) enum Raw<T> {
    Live(FallibleTask<Outcome<T>>),
    /// Cancelled on request, and not known to be destroyed yet.
    Cancelled(
        Cancelling<T>,
        #[expect(dead_code, reason = "it counts while it is there")] Interest,
    ),
    Ended(Result<T, JoinError>),
    /// Joined, detached, or taken out for a moment.
    Empty,
}

impl<T: Send + 'static> Raw<T> {
    pub(super) fn poll(&mut self, number: u64, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let poll = match self {
            Raw::Live(task) => poll_live(task, number, cx),
            Raw::Cancelled(task, _) => {
                let outcome = task.as_mut().poll(cx);
                outcome.map(|outcome| result(outcome, number, JoinError::cancelled))
            }
            Raw::Ended(_) => {
                let Raw::Ended(result) = std::mem::replace(self, Raw::Empty) else {
                    unreachable!("just matched")
                };
                return Poll::Ready(result);
            }
            Raw::Empty => panic!("{AGAIN}"),
        };
        if poll.is_ready() {
            *self = Raw::Empty;
        }
        poll
    }

    /// Asks the native task to cancel, which may schedule it and wake its joiner: do not call this
    /// under a lock.
    pub(super) fn cancel(&mut self, number: u64) {
        if let Raw::Live(task) = self {
            if task.is_finished() {
                // It has an output, or was destroyed with the executor; in both
                // cases the next poll tells, and there is nothing to cancel.
                return;
            }
            let Raw::Live(task) = std::mem::replace(self, Raw::Empty) else {
                unreachable!("just matched")
            };
            let interest = Interest::new(number);
            let mut cancelling: Cancelling<T> = Box::pin(task.cancel());
            // The request is made by the first poll. Its waker is replaced by
            // the joiner's next one.
            let mut cx = Context::from_waker(Waker::noop());
            *self = match cancelling.as_mut().poll(&mut cx) {
                // It ended just before.
                Poll::Ready(Some(outcome)) => {
                    Raw::Ended(result(Some(outcome), number, JoinError::shutdown))
                }
                // The next poll looks up the destructor's panic.
                Poll::Ready(None) => Raw::Cancelled(Box::pin(async { None }), interest),
                Poll::Pending => Raw::Cancelled(cancelling, interest),
            };
        }
    }

    /// Lets a live task run on, and drops the result of an ended one.
    pub(super) fn detach(mut self, number: u64) {
        self.discard_result(number);
        if let Raw::Live(task) = self {
            task.detach();
        }
    }

    /// Drops a result that is there already, on this thread and in its context. A later result is
    /// dropped on behalf of the executor.
    pub(super) fn discard_result(&mut self, number: u64) {
        if self.may_be_over() {
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(result) = self.poll(number, &mut cx) {
                discard(result);
            }
        }
    }

    /// Is it worth asking for a result?
    fn may_be_over(&self) -> bool {
        match self {
            Raw::Live(task) => task.is_finished(),
            Raw::Cancelled(..) | Raw::Ended(_) => true,
            Raw::Empty => false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Raw::Ended(_) | Raw::Empty)
    }
}

pub(super) const AGAIN: &str = "a task handle was polled after it was ready";

#[inline]
pub(super) fn poll_live<T>(
    task: &mut FallibleTask<Outcome<T>>,
    number: u64,
    cx: &mut Context<'_>,
) -> Poll<Result<T, JoinError>> {
    match Pin::new(task).poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(result(outcome, number, JoinError::shutdown)),
        Poll::Pending => Poll::Pending,
    }
}

/// The joiner's result of a native task that has ended.
#[inline]
fn result<T>(
    outcome: Option<Outcome<T>>,
    number: u64,
    otherwise: fn() -> JoinError,
) -> Result<T, JoinError> {
    match outcome.and_then(Outcome::into_option) {
        Some(Ok(output)) => Ok(output),
        Some(Err(payload)) => Err(panicked(payload)),
        None => Err(without_outcome(number, otherwise)),
    }
}

#[cold]
fn panicked(payload: Payload) -> JoinError {
    JoinError::panicked(match payload.downcast::<Watched>() {
        Ok(watched) => watched.payload(),
        Err(payload) => payload,
    })
}

#[cold]
fn without_outcome(number: u64, otherwise: fn() -> JoinError) -> JoinError {
    match take_kept(number) {
        Some(payload) => JoinError::panicked(payload),
        None => otherwise(),
    }
}

//! The result of one child: [`ChildHandle`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use fourway_core::{
    JoinError, Runtime,
    cancel::Reason,
    implement::{Slot, discard},
};

use crate::{
    child::{Outcome, Sink},
    child_error::ChildError,
    error::Failure,
    shared::{End, Shared},
};

/// A sink, and the handle that gets what goes into it. One allocation.
pub(crate) fn pair<R: Runtime, T, E: Send + 'static>(
    shared: &Arc<Shared<R, E>>,
) -> (HandleSink<T, E>, ChildHandle<T, R, E>) {
    let slot = Arc::new(Slot::new());
    let handle = ChildHandle {
        slot: slot.clone(),
        shared: shared.clone(),
        done: false,
    };
    (HandleSink { slot }, handle)
}

/// The handle of a child. Awaiting it gives the child's output.
///
/// Under fail fast, the failure of a child goes to the nursery, which ends with it; the handle says
/// only that the child failed. Under [`supervise`](crate::Builder::supervise) the failure is inside
/// of the [`ChildError`].
///
/// In a forked child, the handle of a child from before the fork gives a failure whose error
/// [`is_forked`](JoinError::is_forked), at once, and dropping it does nothing.
///
/// **Dropping** it only gives up the output, because the child belongs to the nursery. A failure
/// that was not taken goes to the nursery.
///
/// # Panics
///
/// Polling it again after it was ready panics.
///
/// # Cancel safety
///
/// Polled by reference (`&mut handle`), it loses nothing.
#[must_use = "without a handle a child costs less: use `spawn`, `offload` or `call`"]
pub struct ChildHandle<T, R: Runtime, E: Send + 'static> {
    slot: Arc<Slot<Result<T, ChildError<E>>>>,
    shared: Arc<Shared<R, E>>,
    done: bool,
}

impl<T, R: Runtime, E: Send + 'static> ChildHandle<T, R, E> {
    /// Has the child ended?
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.shared.is_inherited() || self.slot.is_full()
    }
}

impl<T, R: Runtime, E: Send + 'static> Future for ChildHandle<T, R, E> {
    type Output = Result<T, ChildError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.shared.is_inherited() {
            return Poll::Ready(Err(ChildError::failed(Failure::Join(JoinError::forked()))));
        }
        let result = ready!(self.slot.poll(cx));
        self.done = true;
        Poll::Ready(result.unwrap_or_else(|_| unreachable!("the sink fills it with `Ok`")))
    }
}

impl<T, R: Runtime, E: Send + 'static> Drop for ChildHandle<T, R, E> {
    fn drop(&mut self) {
        if self.shared.is_inherited() {
            // Never the last: an output that is there is the parent's.
            std::mem::forget((self.slot.clone(), self.shared.clone()));
            return;
        }
        if self.done {
            return;
        }
        // In one step: the child may be ending at this moment.
        match self.slot.give_up() {
            Some(Ok(Err(error))) => {
                if let Some(failure) = error.into_failure() {
                    self.shared.failed(failure);
                }
            }
            output => discard(output),
        }
    }
}

impl<T, R: Runtime, E: Send + 'static> fmt::Debug for ChildHandle<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

pub(crate) struct HandleSink<T, E> {
    slot: Arc<Slot<Result<T, ChildError<E>>>>,
}

impl<R, T, E> Sink<R, T, E> for HandleSink<T, E>
where
    R: Runtime,
    T: Send + 'static,
    E: Send + 'static,
{
    fn take(self, outcome: Outcome<T, E>, shared: &Shared<R, E>) -> End<E> {
        let (result, end) = match outcome {
            Outcome::Done(output) => (Ok(output), End::Done),
            Outcome::Cancelled => {
                let reason = shared.reason().unwrap_or(Reason::NotNeeded);
                (Err(ChildError::cancelled(reason)), End::Cancelled)
            }
            Outcome::Failed(failure) if shared.settings.supervise => {
                (Err(ChildError::failed(failure)), End::Done)
            }
            Outcome::Failed(failure) => {
                // Before the handle gets it: a reader of the handle that fails because of it comes
                // second.
                shared.failed(failure);
                (Err(ChildError::told()), End::Done)
            }
        };
        let unwanted = self.slot.seal(Ok(result));
        self.slot.unseal();
        match unwanted {
            None => end,
            // The handle is gone: the failure goes to the nursery.
            Some(Ok(Err(error))) => error.into_failure().map_or(end, End::Failed),
            Some(rest) => {
                discard(rest);
                end
            }
        }
    }
}

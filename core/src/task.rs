//! The handle of a spawned task or an offloaded closure: [`Task`].

use alloc::boxed::Box;
use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{AbortHandle, JoinError};

/// The owned handle of work that a runtime is doing.
///
/// * **Awaiting** it gives `Ok(output)`, or a [`JoinError`] that says what went
///   wrong (JO-1 to JO-5). It may be awaited on any thread and any executor;
///   polled from several places, the waker registered last is the one woken.
///   The future behind it has been destroyed before the result is seen (JO-2).
/// * **Dropping** it cancels the work (CA-1), without waiting.
/// * [`detach`](Self::detach) lets the work run on unattended.
/// * [`cancel`](Self::cancel) cancels, and waits until the work is destroyed.
///
/// All of this holds for every runtime alike. For a closure run by
/// [`Offload`](crate::Offload), "cancel" means rule OF-3: not yet started, it
/// never runs; running, it runs to its end and its result is dropped.
///
/// # Panics
///
/// Polling a handle again after it was ready panics.
///
/// # Cancel safety
///
/// Polling borrows nothing: a join that is dropped by `select!` while the
/// handle lives on loses nothing, if the handle was polled by reference
/// (`&mut task`). Dropping the handle itself cancels the task.
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub trait Task<T>: Future<Output = Result<T, JoinError>> + Send + Sync + Unpin {
    /// Has the work ended, and its future been destroyed?
    ///
    /// `true` means that awaiting the handle is ready at once.
    fn is_finished(&self) -> bool;

    /// Asks for cancellation, and returns at once. The handle can still be
    /// awaited, to learn how the work ended.
    fn abort(&self);

    /// A handle that can cancel the work from elsewhere.
    fn abort_handle(&self) -> AbortHandle;

    /// Lets the work run on without a handle (CA-1). Its output is dropped
    /// where it ends; a panic is reported by the panic hook (JO-3).
    fn detach(self)
    where
        Self: Sized;

    /// [`detach`](Self::detach) for a `Box<dyn Task<T>>`. Implementers write
    /// `(*self).detach()`.
    fn detach_boxed(self: Box<Self>);

    /// Cancels, and waits until the future has been destroyed (CA-3).
    ///
    /// Cancellation is asked for by the call itself, not by the first poll; the
    /// returned future only waits. It gives `Ok(output)` if the work had
    /// finished already, and otherwise an error: cancelled, or the panic of the
    /// work or of its destructor (CA-4).
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future gives up the waiting, not the cancelling.
    fn cancel(self) -> Cancel<Self>
    where
        Self: Sized,
    {
        self.abort();
        Cancel { task: self }
    }
}

/// A handle whose type is not known is a handle as any other: [`cancel`](Task::cancel) works
/// on each of a `Vec<Box<dyn Task<T>>>`.
impl<T> Task<T> for Box<dyn Task<T>> {
    fn is_finished(&self) -> bool {
        (**self).is_finished()
    }

    fn abort(&self) {
        (**self).abort();
    }

    fn abort_handle(&self) -> AbortHandle {
        (**self).abort_handle()
    }

    fn detach(self) {
        <dyn Task<T>>::detach_boxed(self);
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }
}

/// Waits for a cancelled task to be destroyed. Made by [`Task::cancel`].
#[derive(Debug)]
#[must_use = "the task is being cancelled; await this to know that it is gone"]
pub struct Cancel<K> {
    task: K,
}

impl<K: Future + Unpin> Future for Cancel<K> {
    type Output = K::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.task).poll(cx)
    }
}

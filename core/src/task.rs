//! The handle of a spawned task or an offloaded closure: [`Task`]; and what is known of the
//! work from the outside: [`Metadata`].

mod metadata;

use alloc::boxed::Box;
use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

pub use metadata::{Id, Metadata};

#[cfg(feature = "std")]
use crate::BlockOnError;
use crate::{AbortHandle, JoinError};

/// The owned handle of work that a runtime is doing.
///
/// * **Awaiting** it gives `Ok(output)`, or a [`JoinError`] that says what went
///   wrong (the rules from [a task is awaited anywhere][JO-1] to [every join resolves][JO-5]). It may be awaited
///   on any thread and any executor; if it is polled from several places, only the waker registered
///   last is woken. The future behind it has been destroyed before the result is seen ([destroyed
///   before the join][JO-2]).
/// * **Waiting** for it from sync code, with [`wait`](Self::wait), gives what awaiting gives
///   ([waiting from sync code][WT-1]).
/// * **Dropping** it cancels the work ([drop cancels, detach does not][CA-1]), without waiting.
/// * [`detach`](Self::detach) lets the work run on unattended.
/// * [`cancel`](Self::cancel) cancels, and waits until the work is destroyed.
///
/// All of this holds for every runtime alike. For a closure run by [`Offload`](crate::Offload),
/// "cancel" means rule [OF-3]: a closure that has not started never runs; a running one runs to its
/// end, and its result is dropped.
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
///
/// [JO-1]: crate::contract#JO-1
/// [JO-5]: crate::contract#JO-5
/// [JO-2]: crate::contract#JO-2
/// [WT-1]: crate::contract#WT-1
/// [CA-1]: crate::contract#CA-1
/// [OF-3]: crate::contract#OF-3
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the handle of a task that gives a `{T}`",
    note = "handles are what `spawn` and `offload` return: `R::Task<T>`, `R::OffloadTask<T>`, or `Box<dyn Task<T>>`"
)]
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

    /// Where the work was started, its name and its number; `None` if the runtime does not
    /// keep them.
    fn metadata(&self) -> Option<&Metadata> {
        None
    }

    /// Lets the work run on without a handle ([drop cancels, detach does not][CA-1]). Its output is
    /// dropped where it ends; a panic is reported by the panic hook ([a panic reaches the
    /// joiner][JO-3]).
    ///
    /// [CA-1]: crate::contract#CA-1
    /// [JO-3]: crate::contract#JO-3
    fn detach(self)
    where
        Self: Sized;

    /// [`detach`](Self::detach) for a `Box<dyn Task<T>>`. Implementers write
    /// `(*self).detach()`.
    fn detach_boxed(self: Box<Self>);

    /// Waits for the work from sync code, and gives what awaiting the handle gives ([waiting from
    /// sync code][WT-1]).
    ///
    /// It needs no runtime: the calling thread is parked until the work has ended. A
    /// thread that runs an offloaded closure lends its place in the pool meanwhile ([nested offload
    /// never starves][OF-4]).
    ///
    /// # The calling thread may help
    ///
    /// If the work is a closure that was offloaded, has not started, and has a place in the
    /// pool, the calling thread may run it, which spares two hand-overs from thread to
    /// thread. The closure cannot tell, except by what belongs to a thread: it runs as an
    /// offloaded one ([closures block no tasks][OF-1]), within the pool's limit ([limits are
    /// exact][OF-5]), without the [values](crate::values) of the caller unless a layer passes them
    /// on ([values travel with the work][CX-3]), and is cancelled as any other ([cancelled
    /// closures][OF-3]). A lock that the caller holds while it waits, and that the closure needs,
    /// blocks the closure on either thread. On the caller's thread the closure also finds the
    /// thread-locals that the caller has borrowed, and can take a reentrant lock that the caller
    /// holds.
    ///
    /// # Errors
    ///
    /// The error that awaiting the handle gives.
    ///
    /// # Panics
    ///
    /// On a thread that runs async code, at the caller's line, with a message that says
    /// what to do instead ([no blocking in async code][BL-2]). The handle is dropped then, which
    /// cancels the work.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{JoinError, Runtime, Task};
    ///
    /// fn sum(rt: &impl Runtime) -> Result<u64, JoinError> {
    ///     let squares = rt.offload(|| (1..=10_u64).map(|n| n * n).sum::<u64>());
    ///     let cubes = rt.spawn(async { (1..=10_u64).map(|n| n.pow(3)).sum::<u64>() });
    ///     Ok(squares.wait()? + cubes.wait()?)
    /// }
    /// ```
    ///
    /// [WT-1]: crate::contract#WT-1
    /// [OF-4]: crate::contract#OF-4
    /// [OF-1]: crate::contract#OF-1
    /// [OF-5]: crate::contract#OF-5
    /// [CX-3]: crate::contract#CX-3
    /// [OF-3]: crate::contract#OF-3
    /// [BL-2]: crate::contract#BL-2
    #[cfg(feature = "std")]
    #[track_caller]
    fn wait(mut self) -> Result<T, JoinError>
    where
        Self: Sized,
    {
        match self.try_wait() {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`wait`](Self::wait), with an error in place of the panic. The handle can still be
    /// awaited then.
    ///
    /// # Errors
    ///
    /// [`is_nested`](BlockOnError::is_nested): the thread is running async code. The work
    /// goes on, and has not been polled.
    ///
    /// # Panics
    ///
    /// If the result was taken before, as polling does.
    #[cfg(feature = "std")]
    fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
        crate::implement::wait_for(self)
    }

    /// Cancels, and waits until the future has been destroyed ([cancel waits for the end][CA-3]).
    ///
    /// The call itself cancels, not the first poll; the returned future only waits. It gives
    /// `Ok(output)` if the work had finished already, and otherwise an error: cancelled, or the
    /// panic of the work or of its destructor ([destructors that panic or block][CA-4]). A future
    /// that was ready at the end of the poll during which it was cancelled gives its output on the
    /// runtimes std-thread and Tokio, and "cancelled" on smol.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future gives up the waiting, not the cancelling.
    ///
    /// [CA-3]: crate::contract#CA-3
    /// [CA-4]: crate::contract#CA-4
    fn cancel(self) -> Cancel<Self>
    where
        Self: Sized,
    {
        self.abort();
        Cancel { task: self }
    }
}

/// A handle of an erased type works as any other: [`cancel`](Task::cancel) and [`wait`](Task::wait)
/// work on each of a `Vec<Box<dyn Task<T>>>`.
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

    fn metadata(&self) -> Option<&Metadata> {
        (**self).metadata()
    }

    fn detach(self) {
        <dyn Task<T>>::detach_boxed(self);
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }

    #[cfg(feature = "std")]
    fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
        (**self).try_wait()
    }
}

/// Waits for a cancelled task to be destroyed. Made by [`Task::cancel`].
///
/// # Cancel safety
///
/// Dropping it gives up the waiting, not the cancelling.
#[derive(Debug)]
#[must_use = "the task is being cancelled; await this to know that it is gone"]
pub struct Cancel<K> {
    task: K,
}

#[cfg(feature = "std")]
impl<K> Cancel<K> {
    /// Waits from sync code until the work is gone ([waiting from sync code][WT-1]). As
    /// [`Task::wait`].
    ///
    /// # Errors
    ///
    /// As [`Task::cancel`] says: there is an output only if the work had finished already, or
    /// finished in the poll that was running.
    ///
    /// # Panics
    ///
    /// On a thread that runs async code, at the caller's line ([no blocking in async code][BL-2]).
    /// The work is cancelled all the same.
    ///
    /// [WT-1]: crate::contract#WT-1
    /// [BL-2]: crate::contract#BL-2
    #[track_caller]
    pub fn wait<T>(self) -> Result<T, JoinError>
    where
        K: Task<T>,
    {
        self.task.wait()
    }

    /// As [`wait`](Self::wait), with an error in place of the panic.
    ///
    /// # Errors
    ///
    /// [`is_nested`](BlockOnError::is_nested): the thread is running async code.
    pub fn try_wait<T>(&mut self) -> Result<Result<T, JoinError>, BlockOnError>
    where
        K: Task<T>,
    {
        self.task.try_wait()
    }
}

impl<K: Future + Unpin> Future for Cancel<K> {
    type Output = K::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.task).poll(cx)
    }
}

use std::{fmt, future::Future, panic::Location, pin::Pin, task::Context, task::Poll, task::ready};

use pin_project_lite::pin_project;

use crate::{AbortHandle, BlockOnError, JoinError, Task, task::Metadata};

/// The runtime could not do what a call needed of it.
///
/// Only failures of the runtime: a panic of the call's body continues in the awaiting code.
/// Given by [`Call::fallible`](super::Call::fallible).
pub struct CallError {
    error: JoinError,
}

impl CallError {
    /// Why a closure or task that was part of a call did not give its output.
    ///
    /// # Panics
    ///
    /// If it panicked: the panic goes on.
    #[track_caller]
    pub(super) fn or_resume(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(payload) => std::panic::resume_unwind(payload),
            Err(error) => Self { error },
        }
    }

    /// Has the runtime been shut down?
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        self.error.is_shutdown()
    }

    /// Was the runtime made in a parent process, before a `fork`? Then
    /// [`is_shutdown`](Self::is_shutdown) is true as well ([forked children][FK-1]).
    ///
    /// [FK-1]: crate::contract#FK-1
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.error.is_forked()
    }

    /// Could no thread be started for a blocking body?
    #[must_use]
    pub fn is_unstarted(&self) -> bool {
        self.error.is_unstarted()
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_shutdown() && !self.is_forked() {
            f.write_str(
                "the call could not be finished: its runtime has been shut down, and a blocking \
                 body that is awaited or spawned needs it. Keep the runtime running until its \
                 calls are done, or `.wait()` for them in sync code",
            )
        } else {
            write!(f, "the call could not be finished: {}", self.error)
        }
    }
}

impl fmt::Debug for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallError").field(&self.error).finish()
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The error that a join on the call would have given.
impl From<CallError> for JoinError {
    fn from(error: CallError) -> Self {
        error.error
    }
}

/// The error that [`try_wait`](super::Call::try_wait) gives.
impl From<CallError> for BlockOnError {
    fn from(error: CallError) -> Self {
        if error.is_unstarted() {
            Self::unstarted()
        } else if error.is_forked() {
            Self::forked()
        } else {
            // No other code has the handle, so it cannot have been cancelled.
            Self::shutdown()
        }
    }
}

/// For functions that return an [`io::Result`](std::io::Result). The kind is `Other`, and
/// the error itself is [inside](std::io::Error::get_ref).
impl From<CallError> for std::io::Error {
    fn from(error: CallError) -> Self {
        Self::other(error)
    }
}

pin_project! {
    /// The future of an awaited call that needs its runtime.
    ///
    /// # Panics
    ///
    /// A panic of the body goes on in the awaiting task, with its payload. If the runtime
    /// has been shut down, or has no thread for a blocking body, there is no output, and
    /// polling panics with a message that says so and names the line that awaits;
    /// [`Call::fallible`](super::Call::fallible) gives an error in place of that. Polling it
    /// again after it was ready panics.
    ///
    /// # Cancel safety
    ///
    /// Dropping it cancels the pending work: a closure that has not started never runs. A running
    /// one runs to its end, and its output is dropped ([cancelled closures][OF-3]).
    ///
    /// [OF-3]: crate::contract#OF-3
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct CallFuture<F> {
        #[pin]
        future: F,
        // The line of the `.await`, for the panic message: `poll` does not know its caller's line.
        at: &'static Location<'static>,
    }
}

impl<F> CallFuture<F> {
    #[track_caller]
    pub(super) fn new(future: F) -> Self {
        Self {
            future,
            at: Location::caller(),
        }
    }
}

impl<F, T> Future for CallFuture<F>
where
    F: Future<Output = Result<T, CallError>>,
{
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = self.project();
        match ready!(this.future.poll(cx)) {
            Ok(output) => Poll::Ready(output),
            Err(error) => panic!("{error}. Awaited at {}", this.at),
        }
    }
}

impl<F> fmt::Debug for CallFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture")
            .field("at", &format_args!("{}", self.at))
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The fallible future of a call that does not need its runtime: it never fails.
    ///
    /// # Cancel safety
    ///
    /// That of the future inside: dropping it drops that.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct Infallible<F> {
        #[pin]
        future: F,
    }
}

impl<F> Infallible<F> {
    pub(super) fn new(future: F) -> Self {
        Self { future }
    }
}

impl<F: Future> Future for Infallible<F> {
    type Output = Result<F::Output, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(Ok)
    }
}

impl<F> fmt::Debug for Infallible<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Infallible").finish_non_exhaustive()
    }
}

/// The handle of a spawned call of several parts: a part that its runtime could not do
/// makes the whole fail as that part would have failed by itself.
///
/// # Cancel safety
///
/// As [`Task`](crate::Task): polling it borrows nothing, and dropping the handle cancels.
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct CallTask<K> {
    task: K,
}

impl<K> CallTask<K> {
    pub(super) fn new(task: K) -> Self {
        Self { task }
    }
}

impl<K, T> Future for CallTask<K>
where
    K: Future<Output = Result<Result<T, CallError>, JoinError>> + Unpin,
{
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let joined = ready!(Pin::new(&mut self.task).poll(cx))?;
        Poll::Ready(joined.map_err(JoinError::from))
    }
}

impl<K, T> Task<T> for CallTask<K>
where
    K: Task<Result<T, CallError>>,
{
    fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    fn abort(&self) {
        self.task.abort();
    }

    fn abort_handle(&self) -> AbortHandle {
        self.task.abort_handle()
    }

    fn metadata(&self) -> Option<&Metadata> {
        self.task.metadata()
    }

    fn detach(self) {
        self.task.detach();
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }

    fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
        let joined = self.task.try_wait()?;
        Ok(joined.and_then(|output| output.map_err(JoinError::from)))
    }
}

impl<K> fmt::Debug for CallTask<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallTask").finish_non_exhaustive()
    }
}

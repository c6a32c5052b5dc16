use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use fourway_core::{
    BlockOnError, CancellationToken, JoinError, Offload, Runtime, Spawner, Task, cancel::Reason,
};

use super::ExecutionError;

/// The number of an execution in its session, in the order of turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutionId(pub(super) u64);

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

pub(super) type Output<T> = Result<T, ExecutionError>;

/// The handle of work in a [`Session`](super::Session). Dropping it cancels, as with a task ([drop
/// cancels, detach does not](fourway_core::contract#CA-1)): waiting work never runs, and async work
/// is dropped. Blocking work sees its token cancelled and keeps the turn until it has ended.
///
/// # Cancel safety
///
/// Polling it borrows nothing: by reference (`&mut execution`) it can be a branch of a
/// `select!`. Dropping the handle cancels.
#[must_use = "dropping it cancels the execution; call `.detach()` to let it run on"]
pub struct Execution<R: Runtime, T: Send + 'static> {
    inner: Inner<R, T>,
    id: Option<ExecutionId>,
    guard: Guard,
}

/// Cancels the execution with its handle. (A `DropGuard` beside the token would be another
/// reference, and disarming it two more, for each execution.)
struct Guard {
    token: CancellationToken,
    armed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            self.token.cancel_with(Reason::Dropped);
        }
    }
}

enum Inner<R: Runtime, T: Send + 'static> {
    Refused(Option<Reason>),
    Spawned(<R as Spawner>::Task<Output<T>>),
    Offloaded(<R as Offload>::OffloadTask<Output<T>>),
}

impl<R: Runtime, T: Send + 'static> Execution<R, T> {
    pub(super) fn refused(reason: Reason) -> Self {
        let token = CancellationToken::new();
        token.cancel_with(reason.clone());
        Self {
            inner: Inner::Refused(Some(reason)),
            id: None,
            guard: Guard {
                token,
                armed: false,
            },
        }
    }

    pub(super) fn spawned(
        id: ExecutionId,
        token: CancellationToken,
        task: <R as Spawner>::Task<Output<T>>,
    ) -> Self {
        Self {
            inner: Inner::Spawned(task),
            id: Some(id),
            guard: Guard { token, armed: true },
        }
    }

    pub(super) fn offloaded(
        id: ExecutionId,
        token: CancellationToken,
        task: <R as Offload>::OffloadTask<Output<T>>,
    ) -> Self {
        Self {
            inner: Inner::Offloaded(task),
            id: Some(id),
            guard: Guard { token, armed: true },
        }
    }

    /// Its number; `None` if the session was closed, so that it never got one.
    #[must_use]
    pub fn id(&self) -> Option<ExecutionId> {
        self.id
    }

    /// Asks it to end. Async work is dropped at its next await. It then gives an error that
    /// [`is_interrupted`](ExecutionError::is_interrupted), and so does work that waits for its
    /// turn. Blocking work sees its token cancelled and gives its own result.
    pub fn interrupt(&self) {
        self.guard.token.cancel();
    }

    /// The token that asks it to end: on an interruption, its
    /// [deadline](super::SessionBuilder::deadline), the end of the session, or the drop of the
    /// handle. The deadline counts from its turn.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.guard.token
    }

    /// Has it ended?
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match &self.inner {
            Inner::Refused(_) => true,
            Inner::Spawned(task) => task.is_finished(),
            Inner::Offloaded(task) => task.is_finished(),
        }
    }

    /// Lets it run on without its handle.
    pub fn detach(mut self) {
        self.ended();
        match self.inner {
            Inner::Refused(_) => {}
            Inner::Spawned(task) => task.detach(),
            Inner::Offloaded(task) => task.detach(),
        }
    }

    /// Waits for it, from sync code.
    ///
    /// # Errors
    ///
    /// The execution's error.
    ///
    /// # Panics
    ///
    /// On a thread that runs async code, at the caller's line ([no blocking in async
    /// code](fourway_core::contract#BL-2)).
    #[track_caller]
    pub fn wait(mut self) -> Result<T, ExecutionError> {
        match self.try_wait() {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// [`wait`](Self::wait), with an error in place of the panic.
    ///
    /// # Errors
    ///
    /// On a thread that runs async code; the handle stays usable. The inner result is that of
    /// awaiting.
    pub fn try_wait(&mut self) -> Result<Result<T, ExecutionError>, BlockOnError> {
        let output = match &mut self.inner {
            Inner::Refused(reason) => refuse(reason),
            Inner::Spawned(task) => flatten(task.try_wait()?),
            Inner::Offloaded(task) => flatten(task.try_wait()?),
        };
        self.ended();
        Ok(output)
    }

    /// Disarms the guard: there is nothing left to cancel, and cancelling would walk the token's
    /// tree.
    fn ended(&mut self) {
        self.guard.armed = false;
    }
}

fn refuse<T>(reason: &mut Option<Reason>) -> Output<T> {
    let reason = reason.take().expect("polled after it was ready");
    Err(ExecutionError::closed(reason))
}

fn flatten<T>(result: Result<Output<T>, JoinError>) -> Output<T> {
    result.unwrap_or_else(|error| Err(ExecutionError::join(error)))
}

// Task handles are `Unpin`, and outputs are never pinned.
impl<R: Runtime, T: Send + 'static> Unpin for Execution<R, T> {}

impl<R: Runtime, T: Send + 'static> Future for Execution<R, T> {
    type Output = Result<T, ExecutionError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = match &mut self.inner {
            Inner::Refused(reason) => Poll::Ready(refuse(reason)),
            Inner::Spawned(task) => Pin::new(task).poll(cx).map(flatten),
            Inner::Offloaded(task) => Pin::new(task).poll(cx).map(flatten),
        };
        if polled.is_ready() {
            self.ended();
        }
        polled
    }
}

impl<R: Runtime, T: Send + 'static> fmt::Debug for Execution<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution")
            .field("id", &self.id)
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

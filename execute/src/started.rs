//! The handle of work in a chosen model: [`Started`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use fourway_core::{
    AbortHandle, BlockOnError, Call, CancellationToken, JoinError, Offload, Runtime, Spawner, Task,
    cancel::{Cancelled, DropGuard},
    implement::{Abort, wait_until_cancelled},
    task::Metadata,
};

/// A handle of work that an [`Executor`](crate::Executor) has started. Dropping it cancels.
///
/// It is a [`Task`] and wraps a task of the runtime. `C` is the handle of such work in the model
/// *route*.
///
/// # Cancel safety
///
/// As [`Task`]: polling it borrows nothing, and dropping the handle cancels.
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct Started<R: Runtime, T: Send + 'static, C>(Inner<R, T, C>);

enum Inner<R: Runtime, T: Send + 'static, C> {
    Routed(C),
    Spawned(<R as Spawner>::Task<T>),
    Offloaded(<R as Offload>::OffloadTask<T>),
    Driven(Driven<R, T>),
}

/// Async work or a call on a pool thread. The closure cannot be cancelled once it runs; the token
/// ends the future that it drives.
struct Driven<R: Runtime, T: Send + 'static> {
    task: <R as Offload>::OffloadTask<Result<T, Cancelled>>,
    // `None` once it is detached.
    guard: Option<DropGuard>,
    token: CancellationToken,
}

impl<R: Runtime, T: Send + 'static, C> Started<R, T, C> {
    pub(crate) fn routed(task: C) -> Self {
        Self(Inner::Routed(task))
    }

    pub(crate) fn spawned(task: <R as Spawner>::Task<T>) -> Self {
        Self(Inner::Spawned(task))
    }

    pub(crate) fn offloaded(task: <R as Offload>::OffloadTask<T>) -> Self {
        Self(Inner::Offloaded(task))
    }

    #[track_caller]
    pub(crate) fn driven<F>(rt: &R, metadata: Metadata, future: F) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let driver = rt.clone();
        Self::ending(rt, metadata, move |token| {
            driver.block_on(token.run_until_cancelled(future))
        })
    }

    /// A call, waited for on a thread of this runtime. There a blocking body is a plain call, and an
    /// async one is dropped when the handle is.
    #[track_caller]
    pub(crate) fn waiting(rt: &R, metadata: Metadata, call: impl Call<Output = T>) -> Self {
        Self::ending(rt, metadata, move |token| {
            match wait_until_cancelled(call, token) {
                Ok(output) => output,
                // As `Call::wait` does.
                Err(error) => panic!("{error}"),
            }
        })
    }

    /// A closure that ends early if its token is cancelled.
    #[track_caller]
    fn ending<F>(rt: &R, metadata: Metadata, run: F) -> Self
    where
        F: FnOnce(&CancellationToken) -> Result<T, Cancelled> + Send + 'static,
    {
        let token = CancellationToken::new();
        let watched = token.clone();
        let task = rt.offload_with(metadata, move || run(&watched));
        Self(Inner::Driven(Driven {
            task,
            guard: Some(token.clone().drop_guard()),
            token,
        }))
    }
}

fn flatten<T>(result: Result<Result<T, Cancelled>, JoinError>) -> Result<T, JoinError> {
    result?.map_err(|_| JoinError::cancelled())
}

impl<R: Runtime, T: Send + 'static, C: Task<T>> Future for Started<R, T, C> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Inner::Routed(task) => Pin::new(task).poll(cx),
            Inner::Spawned(task) => Pin::new(task).poll(cx),
            Inner::Offloaded(task) => Pin::new(task).poll(cx),
            Inner::Driven(driven) => {
                Poll::Ready(flatten(ready!(Pin::new(&mut driven.task).poll(cx))))
            }
        }
    }
}

// Handles are never pinned.
impl<R: Runtime, T: Send + 'static, C> Unpin for Started<R, T, C> {}

impl<R: Runtime, T: Send + 'static, C: Task<T>> Task<T> for Started<R, T, C> {
    fn is_finished(&self) -> bool {
        match &self.0 {
            Inner::Routed(task) => task.is_finished(),
            Inner::Spawned(task) => task.is_finished(),
            Inner::Offloaded(task) => task.is_finished(),
            Inner::Driven(driven) => driven.task.is_finished(),
        }
    }

    fn abort(&self) {
        match &self.0 {
            Inner::Routed(task) => task.abort(),
            Inner::Spawned(task) => task.abort(),
            Inner::Offloaded(task) => task.abort(),
            Inner::Driven(driven) => {
                // First the token, so that the closure can end.
                driven.token.cancel();
                driven.task.abort();
            }
        }
    }

    fn abort_handle(&self) -> AbortHandle {
        match &self.0 {
            Inner::Routed(task) => task.abort_handle(),
            Inner::Spawned(task) => task.abort_handle(),
            Inner::Offloaded(task) => task.abort_handle(),
            Inner::Driven(driven) => AbortHandle::new(Arc::new(AbortDriven {
                task: driven.task.abort_handle(),
                token: driven.token.clone(),
            })),
        }
    }

    fn metadata(&self) -> Option<&Metadata> {
        match &self.0 {
            Inner::Routed(task) => task.metadata(),
            Inner::Spawned(task) => task.metadata(),
            Inner::Offloaded(task) => task.metadata(),
            Inner::Driven(driven) => driven.task.metadata(),
        }
    }

    fn detach(self) {
        match self.0 {
            Inner::Routed(task) => task.detach(),
            Inner::Spawned(task) => task.detach(),
            Inner::Offloaded(task) => task.detach(),
            Inner::Driven(mut driven) => {
                if let Some(guard) = driven.guard.take() {
                    drop(guard.disarm());
                }
                driven.task.detach();
            }
        }
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }

    fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
        // The runtime's own wait: it may run a closure on the waiting thread (WT-1, waiting from
        // sync code).
        match &mut self.0 {
            Inner::Routed(task) => task.try_wait(),
            Inner::Spawned(task) => task.try_wait(),
            Inner::Offloaded(task) => task.try_wait(),
            Inner::Driven(driven) => driven.task.try_wait().map(flatten),
        }
    }
}

struct AbortDriven {
    task: AbortHandle,
    token: CancellationToken,
}

impl Abort for AbortDriven {
    fn abort(&self) {
        self.token.cancel();
        self.task.abort();
    }

    fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl<R: Runtime, T: Send + 'static, C> fmt::Debug for Started<R, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Inner::Routed(_) => "Started::Routed",
            Inner::Spawned(_) => "Started::Spawned",
            Inner::Offloaded(_) => "Started::Offloaded",
            Inner::Driven(_) => "Started::Driven",
        })
    }
}

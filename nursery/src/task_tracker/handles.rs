//! The handles of tracked tasks, which let them run on: [`JoinHandle`], [`LocalJoinHandle`].

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use fourway_core::{AbortHandle, AnyRuntime, JoinError, Spawner, Task, local::LocalTask};

/// The handle of a task that a [`TaskTracker`](super::TaskTracker) has started, which lets the task run on when it is
/// dropped, as Tokio's does. Awaiting it gives the task's output.
///
/// `JoinHandle<T>` is that of a [`spawn`](super::TaskTracker::spawn) on the runtime that the caller
/// is in.
///
/// # Cancel safety
///
/// Dropping it has no effect on the task.
pub struct JoinHandle<T, K: Task<T> = <AnyRuntime as Spawner>::Task<T>> {
    // `None` once it is dropped.
    task: Option<K>,
    output: PhantomData<fn() -> T>,
}

impl<T, K: Task<T>> JoinHandle<T, K> {
    pub(super) fn new(task: K) -> Self {
        Self {
            task: Some(task),
            output: PhantomData,
        }
    }

    fn task(&self) -> &K {
        self.task.as_ref().expect("taken by `drop` alone")
    }

    /// Asks for the task's cancellation.
    pub fn abort(&self) {
        self.task().abort();
    }

    /// A handle that can cancel the task from elsewhere.
    pub fn abort_handle(&self) -> AbortHandle {
        self.task().abort_handle()
    }

    /// Has the task ended?
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task().is_finished()
    }
}

impl<T, K: Task<T>> Future for JoinHandle<T, K> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let task = self.task.as_mut().expect("taken by `drop` alone");
        Pin::new(task).poll(cx)
    }
}

impl<T, K: Task<T>> Drop for JoinHandle<T, K> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl<T, K: Task<T>> fmt::Debug for JoinHandle<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// As [`JoinHandle`], of a task that stays on its thread, as the handle does.
///
/// # Cancel safety
///
/// Dropping it has no effect on the task.
pub struct LocalJoinHandle<T: 'static> {
    // `None` once it is dropped.
    task: Option<LocalTask<T>>,
}

impl<T: 'static> LocalJoinHandle<T> {
    pub(super) fn new(task: LocalTask<T>) -> Self {
        Self { task: Some(task) }
    }

    fn task(&self) -> &LocalTask<T> {
        self.task.as_ref().expect("taken by `drop` alone")
    }

    /// Asks for the task's cancellation.
    pub fn abort(&self) {
        self.task().abort();
    }

    /// A handle that can cancel the task from elsewhere, also from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.task().abort_handle()
    }

    /// Has the task ended?
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task().is_finished()
    }
}

impl<T: 'static> Future for LocalJoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let task = self.task.as_mut().expect("taken by `drop` alone");
        Pin::new(task).poll(cx)
    }
}

impl<T: 'static> Drop for LocalJoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl<T: 'static> fmt::Debug for LocalJoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalJoinHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

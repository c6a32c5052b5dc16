use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use fourway_core::{AbortHandle, BlockOnError, JoinError, Task, task::Metadata};

use super::{Value, unbox};

/// A subject's task handle.
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub(crate) struct ErasedTask<T> {
    task: Box<dyn DynTask>,
    output: PhantomData<fn() -> T>,
}

/// A [`Task`] of which both ways to detach can be called.
pub(super) trait DynTask: Task<Value> {
    fn detach_dyn(self: Box<Self>);
}

impl<K: Task<Value>> DynTask for K {
    fn detach_dyn(self: Box<Self>) {
        (*self).detach();
    }
}

impl<T> ErasedTask<T> {
    pub(super) fn new(task: Box<dyn DynTask>) -> Self {
        Self {
            task,
            output: PhantomData,
        }
    }
}

impl<T: 'static> Future for ErasedTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut *self.task)
            .poll(cx)
            .map(|result| result.map(unbox))
    }
}

impl<T: 'static> Task<T> for ErasedTask<T> {
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
        self.task.detach_dyn();
    }

    fn detach_boxed(self: Box<Self>) {
        self.task.detach_boxed();
    }

    fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
        Ok(self.task.try_wait()?.map(unbox))
    }
}

impl<T> fmt::Debug for ErasedTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErasedTask").finish_non_exhaustive()
    }
}

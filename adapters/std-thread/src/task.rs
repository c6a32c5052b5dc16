use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use fourway_core::{AbortHandle, JoinError, implement::Abort, task::Metadata};

use crate::cell::{Join, TaskRef};

/// The handle of a task on [`StdThread`](crate::StdThread).
///
/// See [`fourway_core::Task`] for what it promises.
///
/// # Cancel safety
///
/// Polling it borrows nothing, and dropping the handle cancels.
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct Task<T: 'static> {
    join: Join<T>,
    metadata: Metadata,
}

// A panic reaches the joiner as a value, and no foreign code runs under a lock of the handle. Said here
// because the task keeps a joiner's waker.
impl<T: 'static> std::panic::UnwindSafe for Task<T> {}
impl<T: 'static> std::panic::RefUnwindSafe for Task<T> {}

impl<T: Send + 'static> Task<T> {
    #[inline]
    pub(crate) fn new(join: Join<T>, metadata: Metadata) -> Self {
        Self { join, metadata }
    }
}

impl<T: Send + 'static> Future for Task<T> {
    type Output = Result<T, JoinError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { join, metadata } = &mut *self;
        join.poll_join(cx, metadata)
    }
}

impl<T: Send + 'static> fourway_core::Task<T> for Task<T> {
    fn is_finished(&self) -> bool {
        self.join.task().is_finished()
    }

    fn abort(&self) {
        self.join.task().abort();
    }

    fn abort_handle(&self) -> AbortHandle {
        AbortHandle::new(Arc::new(AbortTask(self.join.task().clone())))
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }

    fn detach(self) {
        self.join.give_up();
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }
}

impl<T: 'static> Drop for Task<T> {
    #[inline]
    fn drop(&mut self) {
        // First give up the result, so that it is dropped where the task ends if it
        // should still finish. A handle that was joined or detached has given it up already.
        if self.join.give_up() && !self.join.task().is_done() {
            self.join.task().abort();
        }
    }
}

impl<T: 'static> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("finished", &self.join.task().is_finished())
            .finish_non_exhaustive()
    }
}

/// An abort handle's target.
struct AbortTask(TaskRef);

impl Abort for AbortTask {
    fn abort(&self) {
        self.0.abort();
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

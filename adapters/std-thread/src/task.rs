use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use fourway_core::{AbortHandle, JoinError};

use crate::cell::Joinable;

/// The handle of a task on [`StdThread`](crate::StdThread).
///
/// See [`fourway_core::Task`] for what it promises.
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct Task<T: 'static> {
    // `None` once it was detached or is being dropped.
    cell: Option<Arc<dyn Joinable<T>>>,
}

impl<T: Send + 'static> Task<T> {
    pub(crate) fn new(cell: Arc<dyn Joinable<T>>) -> Self {
        Self { cell: Some(cell) }
    }

    fn cell(&self) -> &Arc<dyn Joinable<T>> {
        self.cell
            .as_ref()
            .expect("only `detach` and `drop`, which consume the handle, take the cell")
    }
}

impl<T: Send + 'static> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.cell().poll_join(cx)
    }
}

impl<T: Send + 'static> fourway_core::Task<T> for Task<T> {
    fn is_finished(&self) -> bool {
        self.cell().is_finished()
    }

    fn abort(&self) {
        self.cell().clone().abort_cell();
    }

    fn abort_handle(&self) -> AbortHandle {
        self.cell().clone().abort_handle()
    }

    fn detach(mut self) {
        if let Some(cell) = self.cell.take() {
            cell.abandon();
        }
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }
}

impl<T: 'static> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(cell) = self.cell.take() {
            // First give up the result, so that it is dropped where the task
            // ends if it should still finish.
            cell.abandon();
            cell.abort_cell();
        }
    }
}

impl<T: 'static> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

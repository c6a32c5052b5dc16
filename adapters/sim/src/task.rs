use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use fourway_core::{
    AbortHandle, BlockOnError, JoinError,
    implement::{Abort, join::JoinTask},
    task::Metadata,
};

use crate::{
    block_on,
    failure::Wait,
    state::Inner,
    trace::{Action, UnitId},
};

/// The handle of a task in a [`Sim`](crate::Sim).
///
/// See [`fourway_core::Task`] for what it promises.
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct Task<T: Send + 'static> {
    join: JoinTask<T>,
    id: UnitId,
    inner: Arc<Inner>,
}

impl<T: Send + 'static> Task<T> {
    pub(crate) fn new(join: JoinTask<T>, id: UnitId, inner: Arc<Inner>) -> Self {
        Self { join, id, inner }
    }

    /// The task's number in the traces.
    #[must_use]
    pub fn unit(&self) -> UnitId {
        self.id
    }

    fn note_abort(&self) {
        if self.join.is_finished() {
            return;
        }
        let mut state = self.inner.lock();
        let by = self.inner.current_unit(&state);
        state.event(by, Action::Cancelled(self.id));
    }
}

impl<T: Send + 'static> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = Pin::new(&mut self.join).poll(cx);
        if poll.is_pending() {
            if let Some(here) = self.inner.here() {
                here.note(Wait::Join(self.id));
            }
        }
        poll
    }
}

use fourway_core::Task as _;

impl<T: Send + 'static> fourway_core::Task<T> for Task<T> {
    fn is_finished(&self) -> bool {
        self.join.is_finished()
    }

    fn abort(&self) {
        self.note_abort();
        self.join.abort();
    }

    fn abort_handle(&self) -> AbortHandle {
        AbortHandle::new(Arc::new(Aborts {
            target: self.join.abort_handle(),
            id: self.id,
            inner: self.inner.clone(),
        }))
    }

    fn metadata(&self) -> Option<&Metadata> {
        self.join.metadata()
    }

    fn detach(self) {
        self.join.detach();
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }

    #[track_caller]
    fn wait(self) -> Result<T, JoinError> {
        block_on::wait(&self.inner.clone(), self)
    }

    fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
        block_on::try_wait(&self.inner.clone(), self)
    }
}

impl<T: Send + 'static> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("unit", &self.id)
            .field("finished", &self.join.is_finished())
            .finish_non_exhaustive()
    }
}

/// An abort handle's target.
struct Aborts {
    target: AbortHandle,
    id: UnitId,
    inner: Arc<Inner>,
}

impl Abort for Aborts {
    fn abort(&self) {
        if !self.target.is_finished() {
            let mut state = self.inner.lock();
            let by = self.inner.current_unit(&state);
            state.event(by, Action::Cancelled(self.id));
        }
        self.target.abort();
    }

    fn is_finished(&self) -> bool {
        self.target.is_finished()
    }
}

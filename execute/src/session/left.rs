//! Tasks that executions leave behind.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use fourway_core::{
    AbortHandle, BlockOnError, CancellationToken, JoinError, Runtime, Spawner, Task,
    cancel::Cancelled, task::Metadata,
};

use super::{ExecutionId, Shared};
use crate::sync::{Mutex, lock};

/// All living tasks, oldest first.
#[derive(Default)]
pub(super) struct LeftBehind {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tasks: Vec<Entry>,
    next: u64,
}

struct Entry {
    number: u64,
    by: Option<ExecutionId>,
    metadata: Metadata,
    token: CancellationToken,
}

/// A task that an execution has left behind, and that is still alive.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeftTask {
    /// The execution that started it; `None` if it was started [from
    /// elsewhere](super::Session::spawn).
    pub by: Option<ExecutionId>,
    /// Where, and under which name.
    pub metadata: Metadata,
    token: CancellationToken,
}

impl LeftTask {
    /// Ends it: it is dropped at its next await.
    pub fn cancel(&self) {
        self.token.cancel();
    }
}

impl LeftBehind {
    pub(super) fn tasks(&self) -> Vec<LeftTask> {
        let state = lock(&self.state);
        let all = state.tasks.iter().map(|entry| LeftTask {
            by: entry.by,
            metadata: entry.metadata.clone(),
            token: entry.token.clone(),
        });
        all.collect()
    }
}

/// Removes the entry when the task is gone, for any reason.
struct Gone {
    left: Arc<LeftBehind>,
    number: u64,
}

impl Drop for Gone {
    fn drop(&mut self) {
        let mut state = lock(&self.left.state);
        let place = state.tasks.iter().position(|e| e.number == self.number);
        let entry = place.map(|place| state.tasks.remove(place));
        drop(state);
        drop(entry);
    }
}

#[track_caller]
pub(super) fn spawn<R, N, F>(
    shared: &Shared<R, N>,
    by: Option<ExecutionId>,
    name: Option<Cow<'static, str>>,
    future: F,
) -> Background<R, F::Output>
where
    R: Runtime,
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let metadata = match name {
        Some(name) => Metadata::caller().named(name),
        None => Metadata::caller(),
    };
    // A child of the session's token: the execution's token ends with the execution.
    let token = shared.token.child();
    let left = shared.left.clone();
    let mut state = lock(&left.state);
    state.next += 1;
    let number = state.next;
    state.tasks.push(Entry {
        number,
        by,
        metadata: metadata.clone(),
        token: token.clone(),
    });
    drop(state);
    let gone = Gone { left, number };
    let watched = token.scope_future(token.run_until_cancelled(future));
    let task = shared.executor.runtime().spawn_with(metadata, async move {
        let _gone = gone;
        watched.await
    });
    Background { task: Some(task) }
}

/// The handle of a task that an execution may leave behind. Dropping it leaves the task alone.
///
/// Awaited, it gives what the task's own handle gives; a task that ended with its session, or was
/// cancelled, gives [`is_cancelled`](JoinError::is_cancelled).
///
/// # Cancel safety
///
/// Dropping it has no effect on the task.
#[must_use = "to let the task run on is as good as `drop`; write that"]
pub struct Background<R: Runtime, T: Send + 'static> {
    // `None` in `drop`.
    task: Option<<R as Spawner>::Task<Result<T, Cancelled>>>,
}

impl<R: Runtime, T: Send + 'static> Background<R, T> {
    fn task(&self) -> &<R as Spawner>::Task<Result<T, Cancelled>> {
        self.task.as_ref().expect("taken in `drop` alone")
    }

    fn task_mut(&mut self) -> &mut <R as Spawner>::Task<Result<T, Cancelled>> {
        self.task.as_mut().expect("taken in `drop` alone")
    }

    /// Has it ended?
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task().is_finished()
    }

    /// Cancels it.
    pub fn abort(&self) {
        self.task().abort();
    }

    /// A handle that cancels it from elsewhere.
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        self.task().abort_handle()
    }

    /// Waits for it, from sync code.
    ///
    /// # Errors
    ///
    /// On a thread that runs async code ([no blocking in async code](fourway_core::contract#BL-2)).
    /// The inner result is that of awaiting.
    pub fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
        self.task_mut().try_wait().map(flatten)
    }
}

fn flatten<T>(result: Result<Result<T, Cancelled>, JoinError>) -> Result<T, JoinError> {
    result?.map_err(|_| JoinError::cancelled())
}

impl<R: Runtime, T: Send + 'static> Future for Background<R, T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(self.task_mut()).poll(cx).map(flatten)
    }
}

impl<R: Runtime, T: Send + 'static> Drop for Background<R, T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl<R: Runtime, T: Send + 'static> fmt::Debug for Background<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

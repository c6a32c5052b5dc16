use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use fourway_adapt::Outcome;
use fourway_core::{Abort, AbortHandle, JoinError, task::Metadata};
use tokio::task::JoinHandle;

/// The handle of a task on [`Tokio`](crate::Tokio).
///
/// See [`fourway_core::Task`] for what it promises. Natively it is Tokio's
/// `JoinHandle`; what is added is that dropping it cancels, and that "cancelled"
/// and "shut down", which are one to Tokio, are told apart: the handle remembers
/// whether anyone asked.
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct Task<T> {
    /// `None` once joined, for Tokio keeps the joiner's waker as long as the handle;
    /// or detached.
    native: Option<JoinHandle<Outcome<T>>>,
    /// Was cancellation asked for through this handle?
    aborted: AtomicBool,
    /// Made with the first abort handle.
    shared: OnceLock<Arc<Target>>,
    metadata: Metadata,
}

impl<T> Task<T> {
    #[inline]
    pub(crate) fn new(native: JoinHandle<Outcome<T>>, metadata: Metadata) -> Self {
        Self {
            native: Some(native),
            aborted: AtomicBool::new(false),
            shared: OnceLock::new(),
            metadata,
        }
    }

    fn was_aborted(&self) -> bool {
        // Acquire pairs with the Release of whoever asked: the task can only
        // have been cancelled by it after that.
        let by_handle = |target: &Arc<Target>| target.aborted.load(Ordering::Acquire);
        self.aborted.load(Ordering::Acquire) || self.shared.get().is_some_and(by_handle)
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let native = self
            .native
            .as_mut()
            .expect("a task handle was polled after it was ready");
        let result = ready!(Pin::new(native).poll(cx));
        self.native = None;
        Poll::Ready(match result {
            Ok(outcome) => outcome
                .into_result()
                .map_err(|payload| self.describe(JoinError::panicked(payload))),
            Err(error) => Err(self.describe(self.reason(error))),
        })
    }
}

impl<T> Task<T> {
    #[cold]
    fn describe(&self, mut error: JoinError) -> JoinError {
        error.set_task(&self.metadata);
        error
    }

    #[cold]
    fn reason(&self, error: tokio::task::JoinError) -> JoinError {
        match error.try_into_panic() {
            Ok(payload) => JoinError::panicked(payload),
            Err(_) if self.was_aborted() => JoinError::cancelled(),
            Err(_) => JoinError::shutdown(),
        }
    }
}

impl<T: Send + 'static> fourway_core::Task<T> for Task<T> {
    fn is_finished(&self) -> bool {
        self.native.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn abort(&self) {
        let Some(native) = &self.native else { return };
        // One that has ended was not cancelled by this, whatever else ended it.
        if !native.is_finished() {
            self.aborted.store(true, Ordering::Release);
            native.abort();
        }
    }

    fn abort_handle(&self) -> AbortHandle {
        let target = self.shared.get_or_init(|| {
            Arc::new(Target {
                native: self.native.as_ref().map(JoinHandle::abort_handle),
                aborted: AtomicBool::new(false),
            })
        });
        AbortHandle::new(target.clone())
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }

    fn detach(mut self) {
        // Dropped, Tokio's own handle detaches.
        self.native = None;
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }
}

impl<T> Drop for Task<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(native) = &self.native {
            // Of no effect on a task that has ended.
            native.abort();
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("joined", &self.native.is_none())
            .finish_non_exhaustive()
    }
}

/// What abort handles share with the task's handle.
struct Target {
    /// `None`: the task had been joined before.
    native: Option<tokio::task::AbortHandle>,
    aborted: AtomicBool,
}

impl Abort for Target {
    fn abort(&self) {
        if let Some(native) = self.native.as_ref().filter(|native| !native.is_finished()) {
            self.aborted.store(true, Ordering::Release);
            native.abort();
        }
    }

    fn is_finished(&self) -> bool {
        let native = self.native.as_ref();
        native.is_none_or(tokio::task::AbortHandle::is_finished)
    }
}

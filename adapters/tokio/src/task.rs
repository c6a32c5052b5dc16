use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use fourway_adapt::{
    Outcome, discard,
    fork::{self, ForgetInChild, Process},
};
use fourway_core::{
    AbortHandle, JoinError,
    implement::{Abort, drop_outcome_here},
    task::Metadata,
};
use tokio::task::JoinHandle;

/// The handle of a task on [`Tokio`](crate::Tokio).
///
/// See [`fourway_core::Task`] for what it promises. It is Tokio's `JoinHandle` with two additions.
/// Dropping it cancels. It also tells "cancelled" from "shut down", which are one to Tokio: the
/// handle remembers whether a cancellation was asked for.
///
/// # Cancel safety
///
/// Polling it borrows nothing, and dropping the handle cancels.
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct Task<T> {
    /// `None` once joined, for Tokio keeps the joiner's waker as long as the handle;
    /// or detached.
    native: Option<JoinHandle<Outcome<T>>>,
    /// Was cancellation asked for through this handle?
    aborted: AtomicBool,
    /// In any other process, Tokio's handle is neither asked nor dropped (FK-1, forked children).
    process: Process,
    /// Made with the first abort handle.
    shared: OnceLock<Arc<Target>>,
    metadata: Metadata,
}

// A panic reaches the joiner as a value, and no foreign code runs under a lock of the handle. Said here
// because the task keeps a joiner's waker.
impl<T> std::panic::UnwindSafe for Task<T> {}
impl<T> std::panic::RefUnwindSafe for Task<T> {}

impl<T> Task<T> {
    #[inline]
    pub(crate) fn new(native: JoinHandle<Outcome<T>>, metadata: Metadata) -> Self {
        Self {
            native: Some(native),
            aborted: AtomicBool::new(false),
            process: Process::this(),
            shared: OnceLock::new(),
            metadata,
        }
    }

    /// The handle of a task that a runtime from before a fork has refused.
    pub(crate) fn refused_in_child(metadata: Metadata) -> Self {
        Self {
            native: None,
            aborted: AtomicBool::new(false),
            process: Process::GONE,
            shared: OnceLock::new(),
            metadata,
        }
    }

    #[inline]
    fn is_inherited(&self) -> bool {
        !self.process.is_this()
    }

    fn was_aborted(&self) -> bool {
        // Acquire pairs with the Release of the request: only after that can it have cancelled the
        // task.
        let by_handle = |target: &Arc<Target>| target.aborted.load(Ordering::Acquire);
        self.aborted.load(Ordering::Acquire) || self.shared.get().is_some_and(by_handle)
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_inherited() {
            return Poll::Ready(Err(fork::error(&self.metadata)));
        }
        let native = self
            .native
            .as_mut()
            .expect("a task handle was polled after it was ready");
        // Taken apart where Tokio has put it, and not moved first: a processor would wait for that,
        // because it was stored in other parts a moment ago.
        let result = match Pin::new(native).poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(outcome)) => outcome
                .into_result()
                .map_err(|payload| self.describe(JoinError::panicked(payload))),
            Poll::Ready(Err(error)) => Err(self.describe(self.reason(error))),
        };
        // With the joiner's waker, whose destructor is user code: the result must not be lost.
        discard(self.native.take());
        Poll::Ready(result)
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
        self.is_inherited() || self.native.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn abort(&self) {
        if self.is_inherited() {
            return;
        }
        let Some(native) = &self.native else { return };
        // A task that has ended was not cancelled by this.
        if !native.is_finished() {
            self.aborted.store(true, Ordering::Release);
            native.abort();
        }
    }

    fn abort_handle(&self) -> AbortHandle {
        let target = |native: Option<&JoinHandle<_>>| {
            Arc::new(Target {
                native: native.map(|native| ForgetInChild::new(native.abort_handle())),
                aborted: AtomicBool::new(false),
            })
        };
        if self.is_inherited() {
            return AbortHandle::new(target(None));
        }
        let shared = self.shared.get_or_init(|| target(self.native.as_ref()));
        AbortHandle::new(shared.clone())
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }

    fn detach(mut self) {
        let native = self.native.take();
        if self.is_inherited() {
            std::mem::forget(native);
        } else if let Some(native) = native {
            // Dropping Tokio's own handle detaches the task.
            let_go(native);
        }
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }
}

impl<T> Drop for Task<T> {
    #[inline]
    fn drop(&mut self) {
        if self.is_inherited() {
            std::mem::forget(self.native.take());
        } else if let Some(native) = self.native.take() {
            // Of no effect on a task that has ended.
            native.abort();
            let_go(native);
        }
    }
}

/// Drops Tokio's own handle, and with it the joiner's waker and the output, if there are any. Both
/// have destructors of user code: they run in the calling thread's context (CX-1, the current context
/// is exact), and their panics end here. Other outputs are dropped by Tokio's own threads.
#[inline]
pub(crate) fn let_go<T>(native: JoinHandle<Outcome<T>>) {
    drop_outcome_here(|| discard(native));
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("joined", &self.native.is_none())
            .finish_non_exhaustive()
    }
}

/// The state that abort handles share with the task's handle.
struct Target {
    /// `None`: the task had been joined before.
    native: Option<ForgetInChild<tokio::task::AbortHandle>>,
    aborted: AtomicBool,
}

impl Abort for Target {
    fn abort(&self) {
        let Some(native) = &self.native else { return };
        if !ForgetInChild::is_inherited(native) && !native.is_finished() {
            self.aborted.store(true, Ordering::Release);
            native.abort();
        }
    }

    fn is_finished(&self) -> bool {
        let native = self.native.as_ref();
        native.is_none_or(|native| ForgetInChild::is_inherited(native) || native.is_finished())
    }
}

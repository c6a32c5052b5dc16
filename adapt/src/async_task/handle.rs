//! The handle: [`AsyncTask`].

use std::{
    fmt,
    future::Future,
    mem::forget,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use async_task::FallibleTask;
use fourway_core::{
    AbortHandle, JoinError, Task,
    implement::{Abort, Outcome},
    task::Metadata,
};

use super::{
    raw::{AGAIN, Raw, poll_live},
    shared::{Reaper, Shared},
};
use crate::{
    fork::{self, Process},
    sync::{Mutex, MutexGuard},
};

/// The handle of a task that runs as an [`async_task::Task`].
///
/// # Cancel safety
///
/// Polling it borrows nothing, and dropping the handle cancels.
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct AsyncTask<T: Send + 'static> {
    metadata: Metadata,
    /// The number under which a destructor's panic is kept.
    number: u64,
    // Polling has the handle to itself and needs no locking.
    native: Mutex<Native<T>>,
    /// Has a joiner left its waker with the native task? The waker cannot be taken out again, and a
    /// clone of it would cost as much as the rest of this handle.
    polled: bool,
    /// In any other process, the native task is neither asked nor dropped: both may take the
    /// executor's locks (FK-1, forked children).
    process: Process,
}

// Small, because a handle is moved from where it is made to where it is awaited.
pub(super) enum Native<T: Send + 'static> {
    Live(FallibleTask<Outcome<T>>),
    /// From the first abort handle on.
    Shared(Arc<Shared<T>>),
    Refused(Box<JoinError>),
    /// Joined or detached.
    Gone,
}

impl<T: Send + 'static> AsyncTask<T> {
    #[inline]
    pub(super) fn new(metadata: Metadata, number: u64, native: Native<T>) -> Self {
        Self {
            metadata,
            number,
            native: Mutex::new(native),
            polled: false,
            process: Process::this(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Native<T>> {
        self.native.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn native(&mut self) -> &mut Native<T> {
        self.native
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn is_inherited(&self) -> bool {
        !self.process.is_this()
    }

    /// Moves the native task to where abort handles can reach it.
    fn share(&self) -> Arc<Shared<T>> {
        let mut native = self.lock();
        let raw = match std::mem::replace(&mut *native, Native::Gone) {
            Native::Shared(shared) => {
                *native = Native::Shared(shared.clone());
                return shared;
            }
            Native::Live(task) => Raw::Live(task),
            Native::Refused(error) => Raw::Ended(Err(*error)),
            Native::Gone => Raw::Empty,
        };
        let shared = Arc::new(Shared::new(self.number, raw, self.polled));
        *native = Native::Shared(shared.clone());
        shared
    }
}

// The output is moved out, never pinned.
impl<T: Send + 'static> Unpin for AsyncTask<T> {}

impl<T: Send + 'static> Future for AsyncTask<T> {
    type Output = Result<T, JoinError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_inherited() {
            return Poll::Ready(Err(fork::error(&self.metadata)));
        }
        let number = self.number;
        self.polled = true;
        let native = self.native();
        let mut poll = if let Native::Live(task) = native {
            let poll = poll_live(task, number, cx);
            if poll.is_ready() {
                if let Native::Live(task) = std::mem::replace(native, Native::Gone) {
                    // Not dropped, which would ask it to cancel.
                    task.detach();
                }
            }
            poll
        } else {
            native.poll_other(cx)
        };
        if let Poll::Ready(Err(error)) = &mut poll {
            error.set_task(&self.metadata);
        }
        poll
    }
}

impl<T: Send + 'static> Native<T> {
    #[cold]
    #[inline(never)]
    fn poll_other(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        if let Native::Shared(shared) = self {
            return shared.poll(cx);
        }
        match std::mem::replace(self, Native::Gone) {
            Native::Refused(error) => Poll::Ready(Err(*error)),
            _ => panic!("{AGAIN}"),
        }
    }
}

impl<T: Send + 'static> Task<T> for AsyncTask<T> {
    fn is_finished(&self) -> bool {
        if self.is_inherited() {
            return true;
        }
        match &*self.lock() {
            // "Finished" may also mean that the executor is destroying it at this moment. Only a
            // poll tells whether the destruction is over.
            Native::Live(task) if !task.is_finished() => return false,
            Native::Refused(_) | Native::Gone => return true,
            Native::Live(_) | Native::Shared(_) => {}
        }
        self.share().is_finished()
    }

    fn abort(&self) {
        if !self.is_inherited() {
            self.share().abort();
        }
    }

    fn abort_handle(&self) -> AbortHandle {
        if self.is_inherited() {
            return AbortHandle::new(Arc::new(Inherited));
        }
        AbortHandle::new(self.share())
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }

    fn detach(mut self) {
        if self.is_inherited() {
            return;
        }
        let number = self.number;
        match std::mem::replace(self.native(), Native::Gone) {
            Native::Live(task) => Raw::Live(task).detach(number),
            Native::Refused(_) | Native::Gone => {}
            Native::Shared(shared) => {
                // Without abort handles, the native task is detached with it.
                if Arc::strong_count(&shared) > 1 {
                    let reaper = Reaper(Arc::downgrade(&shared));
                    shared.detach(Waker::from(Arc::new(reaper)));
                }
            }
        }
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }
}

impl<T: Send + 'static> Drop for AsyncTask<T> {
    #[inline]
    fn drop(&mut self) {
        if self.is_inherited() {
            forget(std::mem::replace(self.native(), Native::Gone));
            return;
        }
        let number = self.number;
        match self.native() {
            Native::Live(_) => {
                if let Native::Live(task) = std::mem::replace(self.native(), Native::Gone) {
                    Raw::Live(task).discard_result(number);
                    // Dropping it cancels it, if it is still live.
                }
            }
            Native::Refused(_) | Native::Gone => {}
            Native::Shared(shared) => {
                shared.request_abort();
                // The result will not be read. If there is none yet, there will be none: the task
                // is cancelled.
                shared.detach(Waker::noop().clone());
            }
        }
    }
}

impl<T: Send + 'static> fmt::Debug for AsyncTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncTask").finish_non_exhaustive()
    }
}

/// The target of an abort handle that is made in a forked child. It cancels nothing.
struct Inherited;

impl Abort for Inherited {
    fn abort(&self) {}

    fn is_finished(&self) -> bool {
        true
    }
}

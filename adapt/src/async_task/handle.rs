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

/// Two words, as little as there can be. Both are `None` if it was joined or detached.
pub(super) struct Native<T: Send + 'static> {
    live: Option<FallibleTask<Outcome<T>>>,
    /// From the first abort handle on; and that of a task that was refused.
    shared: Option<Arc<Shared<T>>>,
}

impl<T: Send + 'static> Native<T> {
    #[inline]
    pub(super) fn live(task: FallibleTask<Outcome<T>>) -> Self {
        Self {
            live: Some(task),
            shared: None,
        }
    }

    #[cold]
    pub(super) fn refused(error: JoinError) -> Self {
        let ended = Raw::Ended(Err(error));
        Self {
            live: None,
            shared: Some(Arc::new(Shared::new(0, ended, false))),
        }
    }
}

// A panic reaches the joiner as a value, and no foreign code runs under a lock of the handle. Said here
// because the task keeps a joiner's waker.
impl<T: Send + 'static> std::panic::UnwindSafe for AsyncTask<T> {}
impl<T: Send + 'static> std::panic::RefUnwindSafe for AsyncTask<T> {}

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
        if let Some(shared) = &native.shared {
            return shared.clone();
        }
        let raw = native.live.take().map_or(Raw::Empty, Raw::Live);
        let shared = Arc::new(Shared::new(self.number, raw, self.polled));
        native.shared = Some(shared.clone());
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
        let mut poll = if let Some(task) = &mut native.live {
            let poll = poll_live(task, number, cx);
            if poll.is_ready() {
                if let Some(task) = native.live.take() {
                    // Not dropped, which would ask it to cancel.
                    task.detach();
                }
            }
            poll
        } else {
            native.poll_shared(cx)
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
    fn poll_shared(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        self.shared.as_ref().expect(AGAIN).poll(cx)
    }
}

impl<T: Send + 'static> Task<T> for AsyncTask<T> {
    fn is_finished(&self) -> bool {
        if self.is_inherited() {
            return true;
        }
        let native = self.lock();
        match &native.live {
            // "Finished" may also mean that the executor is destroying it at this moment. Only a
            // poll tells whether the destruction is over.
            Some(task) if !task.is_finished() => return false,
            None if native.shared.is_none() => return true,
            _ => {}
        }
        drop(native);
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
        let native = self.native();
        if let Some(task) = native.live.take() {
            Raw::Live(task).detach(number);
        }
        if let Some(shared) = native.shared.take() {
            // Without abort handles, the native task is detached with it.
            if Arc::strong_count(&shared) > 1 {
                let reaper = Reaper(Arc::downgrade(&shared));
                shared.detach(Waker::from(Arc::new(reaper)));
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
        let native = self.native();
        if native.live.is_some() || native.shared.is_some() {
            self.drop_unjoined();
        }
    }
}

impl<T: Send + 'static> AsyncTask<T> {
    #[inline(never)]
    fn drop_unjoined(&mut self) {
        let is_inherited = self.is_inherited();
        let number = self.number;
        let native = self.native();
        let live = native.live.take();
        let shared = native.shared.take();
        if is_inherited {
            forget((live, shared));
            return;
        }
        if let Some(task) = live {
            Raw::Live(task).discard_result(number);
            // Dropping it cancels it, if it is still live.
        }
        if let Some(shared) = shared {
            shared.request_abort();
            // The result will not be read. If there is none yet, there will be none: the task
            // is cancelled.
            shared.detach(Waker::noop().clone());
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

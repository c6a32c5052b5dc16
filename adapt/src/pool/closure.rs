//! One closure in a pool, and its handle.

use std::{
    fmt,
    mem::forget,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
};

use super::{Inner, help::help};
use crate::{
    Slot, discard,
    fork::{self, Process},
    park,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use fourway_core::{
    AbortHandle, BlockOnError, JoinError, Task,
    implement::{self, Abort, refuse_by},
    task::Metadata,
};

/// A closure in the queue. The winner of [`claim`](Self::claim) decides its fate.
pub(super) trait Job: Send + Sync {
    /// Takes the sole right to run or destroy the closure. Runs no user code.
    fn claim(&self) -> bool;
    fn is_waiting(&self) -> bool;
    /// Runs the closure and keeps the result back. An unwanted result is destroyed here: its
    /// destructor is part of the closure, and holds the slot (OF-3, cancelled closures).
    fn run(&self);
    /// Hands the result to the joiner. Runs no user code but the joiner's waker:
    /// the thread that calls this counts as idle already.
    fn publish(&self);
    /// Destroys the closure, which the caller has claimed.
    fn refuse_claimed(&self, error: JoinError);
    fn refuse(&self, error: JoinError) {
        if self.claim() {
            self.refuse_claimed(error);
        }
    }
}

struct Closure<F, T> {
    claimed: AtomicBool,
    /// Set when the handle asks for cancellation; read once the closure ended.
    cancelled: AtomicBool,
    /// The closure before it runs. Taken out before anything is done with it; the
    /// lock is never contended.
    body: Mutex<Option<F>>,
    slot: Slot<T>,
    pool: Arc<Inner>,
}

pub(super) fn closure<F, T>(
    pool: &Arc<Inner>,
    metadata: Metadata,
    f: F,
) -> (Arc<dyn Job>, OffloadTask<T>)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let cell = Arc::new(Closure {
        claimed: AtomicBool::new(false),
        cancelled: AtomicBool::new(false),
        body: Mutex::new(Some(f)),
        slot: Slot::new(),
        pool: pool.clone(),
    });
    (
        cell.clone(),
        OffloadTask {
            cell: Some(cell),
            metadata,
            process: Process::this(),
            joined: false,
        },
    )
}

impl<F, T> Closure<F, T> {
    fn take(&self) -> Option<F> {
        let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        body.take()
    }
}

impl<F, T> Job for Closure<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn claim(&self) -> bool {
        // Relaxed: the swap alone decides; the body is guarded by its lock.
        !self.claimed.swap(true, Ordering::Relaxed)
    }

    fn is_waiting(&self) -> bool {
        !self.claimed.load(Ordering::Relaxed)
    }

    fn run(&self) {
        let Some(f) = self.take() else { return };
        // A cancellation that came after the claim, but before this point, still
        // keeps the closure from running. Acquire pairs with the store in
        // `abort`.
        let result = if self.cancelled.load(Ordering::Acquire) {
            destroyed(f)
        } else {
            // Unwind safety: the closure is gone either way.
            match catch_unwind(AssertUnwindSafe(f)) {
                // Cancelled while it ran: its output goes, a panic is kept.
                Ok(output) if self.cancelled.load(Ordering::Acquire) => destroyed(output),
                result => result.map_err(JoinError::panicked),
            }
        };
        // From here on a cancellation comes too late.
        if let Some(unwanted) = self.slot.seal(result) {
            discard(unwanted);
        }
    }

    fn publish(&self) {
        self.slot.unseal();
    }

    fn refuse_claimed(&self, error: JoinError) {
        if let Some(f) = self.take() {
            let result = match refuse_by(self.pool.config.runtime, &error, || destroyed::<_, T>(f))
            {
                Err(panic) if panic.is_panic() => Err(panic),
                _ => Err(error),
            };
            self.slot.fill(result);
        }
    }
}

/// Drops a cancelled value: an error either way, with the payload if its
/// destructor panicked (CA-4, destructors that panic or block).
fn destroyed<V, T>(value: V) -> Result<T, JoinError> {
    Err(match catch_unwind(AssertUnwindSafe(|| drop(value))) {
        Ok(()) => JoinError::cancelled(),
        Err(payload) => JoinError::panicked(payload),
    })
}

/// The handle's side of a closure, without the closure's type.
trait Joinable<T>: Abort {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>>;
    fn abandon(&self);
    /// The calling thread, which may block, is about to wait.
    fn help(&self);
    // Upcasting a trait object needs a newer compiler than the one we promise.
    fn into_abort(self: Arc<Self>) -> Arc<dyn Abort>;
}

impl<F, T> Abort for Closure<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn abort(&self) {
        if self.pool.is_inherited() {
            return;
        }
        // Pairs with the Acquire loads in `run`.
        self.cancelled.store(true, Ordering::Release);
        if self.claim() {
            self.pool.forget_one(self.pool.lock());
            self.refuse_claimed(JoinError::cancelled());
        }
    }

    fn is_finished(&self) -> bool {
        // In a forked child it has resolved.
        self.pool.is_inherited() || self.slot.is_full()
    }
}

impl<F, T> Joinable<T> for Closure<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        self.slot.poll(cx)
    }

    fn abandon(&self) {
        self.slot.abandon();
    }

    fn help(&self) {
        help(&self.pool, self);
    }

    fn into_abort(self: Arc<Self>) -> Arc<dyn Abort> {
        self
    }
}

/// The handle of a closure in a [`Pool`](super::Pool).
///
/// # Cancel safety
///
/// Polling it borrows nothing. Dropping the handle cancels: a closure that has not started never
/// runs ([cancelled closures](fourway_core::contract#OF-3)).
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct OffloadTask<T: 'static> {
    // `None` once detached or being dropped.
    cell: Option<Arc<dyn Joinable<T>>>,
    metadata: Metadata,
    /// In any other process, the closure is not touched (FK-1, forked children).
    process: Process,
    joined: bool,
}

// A panic reaches the joiner as a value, and no foreign code runs under a lock of the handle. Said here
// because the task keeps a joiner's waker.
impl<T: 'static> std::panic::UnwindSafe for OffloadTask<T> {}
impl<T: 'static> std::panic::RefUnwindSafe for OffloadTask<T> {}

impl<T: 'static> OffloadTask<T> {
    fn cell(&self) -> &Arc<dyn Joinable<T>> {
        self.cell
            .as_ref()
            .expect("a task handle is gone after `detach`")
    }
}

impl<T: Send + 'static> std::future::Future for OffloadTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.process.is_this() {
            return Poll::Ready(Err(fork::error(&self.metadata)));
        }
        let mut poll = self.cell().poll(cx);
        if let Poll::Ready(Err(error)) = &mut poll {
            error.set_task(&self.metadata);
        }
        if poll.is_ready() {
            // Nothing is left to cancel.
            self.joined = true;
        }
        poll
    }
}

impl<T: Send + 'static> Task<T> for OffloadTask<T> {
    fn is_finished(&self) -> bool {
        self.cell().is_finished()
    }

    fn abort(&self) {
        self.cell().abort();
    }

    fn abort_handle(&self) -> AbortHandle {
        AbortHandle::new(self.cell().clone().into_abort())
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }

    fn detach(mut self) {
        let process = self.process;
        let Some(cell) = self.cell.take() else { return };
        if process.is_this() {
            cell.abandon();
        } else {
            // The closure's captures are the parent's.
            forget(cell);
        }
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }

    fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
        implement::check_may_block()?;
        if !self.process.is_this() {
            return Ok(Err(fork::error(&self.metadata)));
        }
        self.cell().help();
        Ok(park::drive(self, None))
    }
}

impl<T: 'static> Drop for OffloadTask<T> {
    fn drop(&mut self) {
        let Some(cell) = self.cell.take() else { return };
        if !self.process.is_this() {
            forget(cell);
        } else if !self.joined {
            // The result will not be read. First give it up, then cancel, so that the output of a
            // running closure is dropped where it ends.
            cell.abandon();
            cell.abort();
        }
    }
}

impl<T: 'static> fmt::Debug for OffloadTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OffloadTask").finish_non_exhaustive()
    }
}

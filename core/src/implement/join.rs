//! A task on top of anything that can run a future: [`task`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use pin_project_lite::pin_project;

use super::{
    contain,
    fork::{self, Process},
    refusal::refusal_of,
    slot::{Slot, wake},
};
use crate::{
    AbortHandle, JoinError, Task, context,
    implement::{self, Abort, RuntimeId},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::Metadata,
};

/// Splits `future` into a [`Runner`], to be run to its end by any executor, and
/// the [`JoinTask`] that is its handle.
///
/// Together they keep the whole contract, whatever the executor does about handles, panics and
/// cancellation. The executor only has to poll the runner when its waker is called, and drop it
/// when it shuts down.
///
/// One allocation, besides what the executor needs for the runner.
pub fn task<F>(
    metadata: Metadata,
    future: F,
    runtime: Option<RuntimeId>,
) -> (Runner<F>, JoinTask<F::Output>)
where
    F: Future,
    F::Output: Send + 'static,
{
    let cell = Arc::new(Cell {
        slot: Slot::new(),
        aborted: AtomicBool::new(false),
        process: Process::this(),
        control: Mutex::new(Control {
            handles: 1,
            runner: None,
        }),
    });
    let handle = Handle {
        cell: cell.clone(),
        done: false,
    };
    (
        Runner {
            future: Some(future),
            runtime,
            registered: false,
            cell,
        },
        JoinTask {
            handle,
            metadata,
            polled: false,
            joined_or_detached: false,
        },
    )
}

struct Cell<T> {
    slot: Slot<T>,
    aborted: AtomicBool,
    /// In any other process, its locks may be held for ever (FK-1, forked children).
    process: Process,
    control: Mutex<Control>,
}

struct Control {
    /// Task and abort handles that exist.
    handles: usize,
    /// Wakes the runner to look at `aborted`. Kept only while there are
    /// handles: the waker keeps the runner alive, and the runner this cell, so
    /// that a pending task without handles would never be destroyed (WA-3, lost tasks are
    /// destroyed).
    runner: Option<Waker>,
}

impl<T> Cell<T> {
    fn control(&self) -> MutexGuard<'_, Control> {
        // No user code runs under the lock, so that nothing can poison it.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the runner's waker, if a handle could need it. `again`: has this been called before,
    /// so that there may be a waker to compare with?
    fn register(&self, waker: &Waker, again: bool) {
        if again {
            let control = self.control();
            let known = control.runner.as_ref();
            if control.handles == 0 || known.is_some_and(|known| known.will_wake(waker)) {
                return;
            }
        }
        // Cloned outside of the lock, because it is foreign code.
        let waker = waker.clone();
        let mut control = self.control();
        let rest = if control.handles == 0 {
            Some(waker)
        } else {
            control.runner.replace(waker)
        };
        drop(control);
        drop(rest);
    }

    fn forget_runner(&self) {
        let runner = self.control().runner.take();
        drop(runner);
    }
}

pin_project! {
    /// The future that an executor runs for a task. Made by [`task`].
    ///
    /// It never panics. If it is dropped before it is ready, it resolves the handle: as cancelled
    /// if that was asked for, otherwise as shut down ([every join resolves][JO-5]).
    ///
    /// [JO-5]: crate::contract#JO-5
    #[must_use = "the task runs only if this is given to an executor"]
    pub struct Runner<F: Future> {
        // `None` once it has been destroyed.
        #[pin]
        future: Option<F>,
        runtime: Option<RuntimeId>,
        // Has the cell been given a waker?
        registered: bool,
        cell: Arc<Cell<F::Output>>,
    }

    impl<F: Future> PinnedDrop for Runner<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if this.future.is_some() {
                let reason = if this.cell.aborted.load(Ordering::Acquire) {
                    JoinError::cancelled()
                } else {
                    refusal_of(*this.runtime)
                };
                end(this.future, *this.runtime, this.cell, reason);
            }
        }
    }
}

/// Destroys the future unfinished, and resolves the handle.
fn end<F: Future>(
    future: Pin<&mut Option<F>>,
    runtime: Option<RuntimeId>,
    cell: &Cell<F::Output>,
    reason: JoinError,
) {
    let error = match contain::destroy_contained(future, runtime) {
        Ok(()) => reason,
        Err(payload) => JoinError::panicked(payload),
    };
    cell.forget_runner();
    cell.slot.fill(Err(error));
}

impl<F: Future> Future for Runner<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if this.future.is_none() {
            return Poll::Ready(());
        }
        let poll = if this.cell.aborted.load(Ordering::Acquire) {
            Poll::Pending
        } else {
            contain::poll_contained(this.future.as_mut(), *this.runtime, cx)
        };
        match poll {
            Poll::Ready(result) => {
                if *this.registered {
                    this.cell.forget_runner();
                }
                // An output that is not taken is destroyed here, on the executor's thread, which
                // must not block (BL-2, no blocking in async code).
                let _mark = implement::enter(context::Context::Async, *this.runtime);
                this.cell.slot.fill(result.map_err(JoinError::panicked));
                Poll::Ready(())
            }
            Poll::Pending => {
                // First the waker, then the flag: an abort that comes in between
                // either finds the waker or is seen here. (`abort` does it the
                // other way round.) Not before the poll: most tasks need none.
                if !this.cell.aborted.load(Ordering::Acquire) {
                    let again = std::mem::replace(this.registered, true);
                    this.cell.register(cx.waker(), again);
                }
                if !this.cell.aborted.load(Ordering::Acquire) {
                    return Poll::Pending;
                }
                let reason = JoinError::cancelled();
                end(this.future, *this.runtime, this.cell, reason);
                Poll::Ready(())
            }
        }
    }
}

impl<F: Future> fmt::Debug for Runner<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("done", &self.future.is_none())
            .finish_non_exhaustive()
    }
}

/// Counts the handles of one task.
struct Handle<T> {
    cell: Arc<Cell<T>>,
    /// Has the result been seen? Then the runner's waker is gone for good. The count guards only
    /// that waker, so it does not matter any more.
    done: bool,
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        if !self.done && self.cell.process.is_this() {
            self.cell.control().handles += 1;
        }
        Self {
            cell: self.cell.clone(),
            done: self.done,
        }
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        if self.done || !self.cell.process.is_this() {
            return;
        }
        let mut control = self.cell.control();
        control.handles -= 1;
        let runner = if control.handles == 0 {
            control.runner.take()
        } else {
            None
        };
        drop(control);
        drop(runner);
    }
}

impl<T: Send + 'static> Abort for Handle<T> {
    fn abort(&self) {
        if !self.cell.process.is_this() {
            return;
        }
        // AcqRel: Release for the runner's Acquire load; the flag is set before
        // the waker is looked for, see `poll`.
        if !self.cell.aborted.swap(true, Ordering::AcqRel) {
            let runner = self.cell.control().runner.take();
            if let Some(runner) = runner {
                // The executor's waker may panic like any other. The caller, which may be dropping
                // one of many handles, must not be unwound.
                wake(runner);
            }
        }
    }

    fn is_finished(&self) -> bool {
        // In a forked child it has resolved.
        !self.cell.process.is_this() || self.cell.slot.is_full()
    }
}

/// The handle of a task made by [`task`].
///
/// # Cancel safety
///
/// As [`Task`]: polling it borrows nothing, and dropping the handle cancels.
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct JoinTask<T: Send + 'static> {
    handle: Handle<T>,
    metadata: Metadata,
    polled: bool,
    joined_or_detached: bool,
}

impl<T: Send + 'static> Future for JoinTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.handle.cell.process.is_this() {
            return Poll::Ready(Err(fork::error(&self.metadata)));
        }
        let first = !std::mem::replace(&mut self.polled, true);
        let slot = &self.handle.cell.slot;
        let mut poll = if first {
            // No waker to compare with; and most tasks are not done yet.
            slot.register(cx.waker().clone())
        } else {
            slot.poll(cx)
        };
        self.handle.done |= poll.is_ready();
        self.joined_or_detached |= poll.is_ready();
        if let Poll::Ready(Err(error)) = &mut poll {
            error.set_task(&self.metadata);
        }
        poll
    }
}

impl<T: Send + 'static> Task<T> for JoinTask<T> {
    fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    fn abort(&self) {
        self.handle.abort();
    }

    fn abort_handle(&self) -> AbortHandle {
        AbortHandle::new(Arc::new(self.handle.clone()))
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }

    fn detach(mut self) {
        self.joined_or_detached = true;
        if self.handle.cell.process.is_this() {
            self.handle.cell.slot.abandon();
        }
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }
}

impl<T: Send + 'static> Drop for JoinTask<T> {
    fn drop(&mut self) {
        if !self.joined_or_detached && self.handle.cell.process.is_this() {
            // First give up the result, so that it is dropped where the task
            // ends if it should still finish.
            self.handle.cell.slot.abandon();
            self.handle.abort();
        }
    }
}

impl<T: Send + 'static> fmt::Debug for JoinTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinTask")
            .field("finished", &self.handle.is_finished())
            .finish()
    }
}

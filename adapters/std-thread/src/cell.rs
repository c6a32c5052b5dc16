//! One task: its future, its state, its result, in one allocation.
//!
//! # Who may touch what
//!
//! The `state` says who has the future. It is touched by the thread that runs
//! the task while the state is [`RUNNING`] or [`NOTIFIED`], and, when there is no
//! reference left, by the destructor.
//!
//! ```text
//!            wake                    run
//!   IDLE ───────────▶ QUEUED ────────────────▶ RUNNING ──ready, cancelled──▶ DONE
//!    ▲                  ▲                       │    │
//!    │                  │                       │    └──wake──▶ NOTIFIED
//!    │                  └───────────────────────┼─────pending──────┘
//!    └──────────────────pending─────────────────┘
//! ```
//!
//! A wake moves `IDLE` to `QUEUED` and puts the task into the executor's queue,
//! or `RUNNING` to `NOTIFIED`, which has the running thread put it there. So a
//! task is in the queue at most once, each wake is followed by a poll, and wakes
//! before that poll coalesce (WA-1).
//!
//! # Who keeps it alive
//!
//! Wakers, handles and the queue hold it strongly, the executor's registry
//! weakly. A pending task without wakers and handles is destroyed with its last
//! reference (WA-3); that is why this is not built on `async-task`, whose tasks
//! have no weak references: a registry that can destroy all tasks at shutdown
//! (JO-5) would have to hold wakers, and keep such tasks for ever.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use fourway_core::{
    Abort, AbortHandle, JoinError,
    adapt::{Slot, destroy_contained, poll_contained},
    context::{self, RuntimeId},
};

use crate::{
    executor::{Executor, Key},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

/// Suspended: nobody has it.
const IDLE: u8 = 0;
/// In the queue, or about to be put there by whoever set this. At shutdown it may
/// be destroyed before it gets there.
const QUEUED: u8 = 1;
/// Being polled or destroyed.
const RUNNING: u8 = 2;
/// As `RUNNING`, and woken since.
const NOTIFIED: u8 = 3;
/// The future is gone.
const DONE: u8 = 4;

struct Cell<F: Future> {
    state: AtomicU8,
    aborted: AtomicBool,
    /// Guards nothing that `state` does not guard already; it is here so that
    /// the access is sound without an `unsafe` argument about the states.
    /// Never contended.
    future: Mutex<Option<F>>,
    slot: Slot<F::Output>,
    executor: Arc<Executor>,
    /// Its place in the executor's registry; set once, by `spawn`.
    key: Key,
}

/// Makes a task of `future` and queues it for its first poll.
pub(crate) fn spawn<F>(executor: &Arc<Executor>, future: F) -> Arc<dyn Joinable<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_cell(executor, future)
}

fn spawn_cell<F>(executor: &Arc<Executor>, future: F) -> Arc<Cell<F>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let cell = Arc::new(Cell {
        state: AtomicU8::new(QUEUED),
        aborted: AtomicBool::new(false),
        future: Mutex::new(Some(future)),
        slot: Slot::new(),
        executor: executor.clone(),
        key: Key::default(),
    });
    let weak = Arc::downgrade(&cell);
    if executor.register(&cell.key, weak) {
        executor.push(cell.clone());
    } else {
        // SP-3. Nobody else has seen the task.
        cell.end(JoinError::shutdown());
    }
    cell
}

/// As [`spawn`], with a waker from the start.
#[cfg(all(test, fourway_loom))]
pub(crate) fn spawn_with_waker<F>(
    executor: &Arc<Executor>,
    future: F,
) -> (Arc<dyn Joinable<F::Output>>, Waker)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let cell = spawn_cell(executor, future);
    (cell.clone(), Waker::from(cell))
}

/// What the executor does with a task.
pub(crate) trait Run: Send + Sync {
    /// Polls it once, or destroys it if the executor is closing. The caller has
    /// taken it out of the queue.
    fn run(self: Arc<Self>);
    /// Destroys it unfinished, if it is due for a poll.
    fn destroy(self: Arc<Self>);
    /// Queues it, if it is suspended.
    fn wake_up(self: Arc<Self>);
}

/// What a handle does with a task.
pub(crate) trait Joinable<T>: Send + Sync {
    fn poll_join(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>>;
    fn is_finished(&self) -> bool;
    fn abandon(&self);
    fn abort_cell(self: Arc<Self>);
    fn abort_handle(self: Arc<Self>) -> AbortHandle;
}

impl<F> Cell<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn runtime(&self) -> Option<RuntimeId> {
        Some(self.executor.runtime())
    }

    /// Does the caller, who has taken the task out of the queue or off the list of
    /// those left over, have the future now? Not if a shutdown was faster.
    fn begin(&self) -> bool {
        // An exchange, not a store: its Acquire pairs with the Release of every
        // wake so far, also of those that found the task QUEUED and left it so.
        // What was done before them is visible to the poll.
        self.state
            .compare_exchange(QUEUED, RUNNING, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Calls `f` with the future, pinned.
    fn with_future<R>(&self, f: impl FnOnce(Pin<&mut Option<F>>) -> R) -> R {
        let mut future = self.future.lock().unwrap_or_else(PoisonError::into_inner);
        #[allow(
            unsafe_code,
            reason = "pins the future inside the task's one allocation"
        )]
        // SAFETY: the future is pinned for as long as it is there:
        // * It is inside an `Arc<Cell<F>>` whenever this is called: all callers
        //   are methods of a cell that `spawn` has put into its `Arc`, or that
        //   `Drop` is dropping in place. It is never moved out of that: there
        //   is no `Arc::into_inner`, `try_unwrap` or `get_mut` in this module,
        //   and the field is private to it.
        // * `future` is accessed nowhere else but in `Drop`, which pins it too,
        //   and `f` cannot move it out of a `Pin`; it can only assign to the
        //   option, which drops the old value in place.
        // * It is dropped before its memory is reused, with the `Arc`.
        let pinned = unsafe { Pin::new_unchecked(&mut *future) };
        f(pinned)
    }

    /// Destroys the future and resolves the handle. The caller has the future.
    fn end(&self, reason: JoinError) {
        let destroyed = self.with_future(|future| destroy_contained(future, self.runtime()));
        self.finish(Err(match destroyed {
            Ok(()) => reason,
            Err(payload) => JoinError::panicked(payload),
        }));
    }

    /// The future is gone; tells everyone.
    fn finish(&self, result: Result<F::Output, JoinError>) {
        // Release pairs with the Acquire of a wake that finds the task done;
        // nothing but the state itself depends on it.
        self.state.store(DONE, Ordering::Release);
        self.executor.forget(&self.key);
        // An output that nobody takes is destroyed here, on a worker, which must
        // not block (BL-2).
        let _mark = context::enter(context::Context::Async, self.runtime());
        self.slot.fill(result);
    }
}

impl<F> Run for Cell<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn run(self: Arc<Self>) {
        if !self.begin() {
            return;
        }
        if self.aborted.load(Ordering::Acquire) {
            return self.end(JoinError::cancelled());
        }
        if self.executor.is_closing() {
            return self.end(JoinError::shutdown());
        }
        let waker = Waker::from(self.clone());
        let mut cx = Context::from_waker(&waker);
        let poll = self.with_future(|future| poll_contained(future, self.runtime(), &mut cx));
        if let Poll::Ready(result) = poll {
            return self.finish(result.map_err(JoinError::panicked));
        }
        if self.aborted.load(Ordering::Acquire) {
            // Cancelled during the poll: dropped after that poll (CA-2).
            return self.end(JoinError::cancelled());
        }
        // Release: the next thread to run it sees what this poll did.
        let suspended =
            self.state
                .compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire);
        if suspended.is_err() {
            // NOTIFIED: nobody else moves it from there.
            self.state.store(QUEUED, Ordering::Release);
            let executor = self.executor.clone();
            executor.push(self);
        }
    }

    fn destroy(self: Arc<Self>) {
        if !self.begin() {
            return;
        }
        let reason = if self.aborted.load(Ordering::Acquire) {
            JoinError::cancelled()
        } else {
            JoinError::shutdown()
        };
        self.end(reason);
    }

    fn wake_up(self: Arc<Self>) {
        self.wake();
    }
}

impl<F> Wake for Cell<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let next = match state {
                IDLE => QUEUED,
                RUNNING => NOTIFIED,
                // A poll is coming that will see what came before this wake: for
                // QUEUED through the exchange below, which is a no-op but for
                // its Release.
                QUEUED | NOTIFIED => state,
                _ => return,
            };
            // Release: see `begin`. Acquire: for the next round.
            match self
                .state
                .compare_exchange(state, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(IDLE) => return self.executor.push(self.clone()),
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }
}

impl<F> Joinable<F::Output> for Cell<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn poll_join(&self, cx: &mut Context<'_>) -> Poll<Result<F::Output, JoinError>> {
        self.slot.poll(cx)
    }

    fn is_finished(&self) -> bool {
        self.slot.is_full()
    }

    fn abandon(&self) {
        self.slot.abandon();
    }

    fn abort_cell(self: Arc<Self>) {
        // Release pairs with the loads in `run`. If the task is running, it
        // looks again after the poll, or is NOTIFIED and runs once more.
        self.aborted.store(true, Ordering::Release);
        self.wake();
    }

    fn abort_handle(self: Arc<Self>) -> AbortHandle {
        AbortHandle::new(Arc::new(CellAbort(self)))
    }
}

/// An abort handle's target.
struct CellAbort<T>(Arc<dyn Joinable<T>>);

impl<T: 'static> Abort for CellAbort<T> {
    fn abort(&self) {
        self.0.clone().abort_cell();
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<F: Future> Drop for Cell<F> {
    fn drop(&mut self) {
        // The last reference went while the task was pending: nobody could ever
        // wake it again, and nobody waits for it (WA-3).
        let runtime = Some(self.executor.runtime());
        let future = self
            .future
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if future.is_some() {
            #[allow(unsafe_code, reason = "the future stays pinned until it is dropped")]
            // SAFETY: the cell is being dropped in place, and the future in it:
            // it is not moved, see `with_future`.
            let pinned = unsafe { Pin::new_unchecked(future) };
            // The panic hook has reported a panic of its destructor.
            if let Err(payload) = destroy_contained(pinned, runtime) {
                fourway_core::adapt::discard(payload);
            }
            self.executor.forget(&self.key);
        }
    }
}

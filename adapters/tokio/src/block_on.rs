use std::{
    cell::Cell,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use fourway_adapt::{
    Root, discard,
    timer::{self, Timers},
};
use fourway_core::{
    BlockOn, BlockOnError, Timer,
    context::{self, Context as Code},
    implement,
};
use pin_project_lite::pin_project;
use tokio::runtime::Handle;

use crate::{Tokio, parker, probe, relay};

impl BlockOn for Tokio {
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = future.into_future();
        implement::check_may_block()?;
        if self.is_inherited() || cannot_block() {
            return fourway_adapt::block_on(future, Some(self.id()));
        }
        let polled = Cell::new(false);
        let future = Watched {
            future,
            polled: &polled,
        };
        let mut root = pin!(Some(relay::Relayed::new(
            Root::new(future, Some(self.id())).without_parking()
        )));
        let handle = &self.shared.handle;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let root = Destroyed {
                root: root.as_mut(),
            };
            if self.is_current_thread() && self.shared.native.is_none() {
                handle.block_on(Driven::new(root, handle, self.drive_timeout))
            } else {
                Ok(handle.block_on(root))
            }
        }));
        if polled.get() {
            parker::used();
            if root.is_some() {
                // It was not ready. Its destructor finds what it finds in a task.
                let _entered = handle.enter();
                let destroyed = catch_unwind(AssertUnwindSafe(|| root.set(None)));
                match destroyed {
                    Err(payload) if result.is_ok() => resume_unwind(payload),
                    // The first panic counts.
                    destroyed => discard(destroyed),
                }
            }
            return result.unwrap_or_else(|payload| resume_unwind(payload));
        }
        // Tokio itself refuses, before the first poll.
        match result {
            Ok(result) => result,
            Err(payload) => {
                discard(payload);
                // The thread is one of its workers, between polls, where a driver calls wakers. The
                // budget does not show that, only this panic does.
                if Handle::try_current().is_ok() {
                    return Err(BlockOnError::nested());
                }
                // Or it has no parker any more.
                parker::set_gone();
                fourway_adapt::block_on(Destroyed { root }, Some(self.id()))
            }
        }
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        if context::current() != Code::Async {
            return Ok(f());
        }
        let here = |handle: Handle| handle.id() == self.shared.handle.id();
        let foreign_mark = implement::runtime_id().is_some_and(|id| id != self.id());
        if self.is_inherited()
            || self.is_current_thread()
            || foreign_mark
            || !Handle::try_current().is_ok_and(here)
        {
            if implement::runtime_id() == Some(self.id()) && cannot_block() {
                // A root future, driven without Tokio, which blocks only itself.
                let _mark = implement::enter(Code::Blocking, Some(self.id()));
                return Ok(f());
            }
            return Err(BlockOnError::unsupported());
        }
        // Between polls, where the driver calls wakers, Tokio would lose the worker:
        // it takes the worker's core, and then finds that the parker is in use.
        // A task of ours is known by its mark, a raw one by its budget.
        if implement::runtime_id().is_none() && !probe::budget_is_finite() {
            return Err(BlockOnError::unsupported());
        }
        let mut f = Some(f);
        let result = catch_unwind(AssertUnwindSafe(|| {
            tokio::task::block_in_place(|| {
                let _mark = implement::enter(Code::Blocking, Some(self.id()));
                f.take().map(|f| f())
            })
        }));
        match result {
            Ok(Some(value)) => Ok(value),
            Ok(None) => unreachable!("Tokio calls the closure once"),
            Err(payload) if f.is_none() => resume_unwind(payload),
            // Tokio refuses: a local set inside of a `block_on`, for example.
            Err(payload) => {
                discard(payload);
                Err(BlockOnError::unsupported())
            }
        }
    }
}

/// Is this the destructor of a thread-local that outlives what Tokio's `block_on` needs?
fn cannot_block() -> bool {
    parker::is_gone() || context_is_gone()
}

/// Is this the destructor of a thread-local that outlives Tokio's own? Code that enters a runtime
/// does not work there any more: Tokio panics, which ends the process. Other code does.
pub(crate) fn context_is_gone() -> bool {
    Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed())
}

/// Destroys a root as soon as it is ready, while the thread is still in Tokio's runtime: its
/// destructor may need that, as it may in a task.
struct Destroyed<'a, F> {
    root: Pin<&'a mut Option<F>>,
}

impl<F: Future> Future for Destroyed<'_, F> {
    type Output = F::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let root = self.root.as_mut().as_pin_mut();
        let poll = root.expect("polled until it is ready").poll(cx);
        if poll.is_ready() {
            self.root.set(None);
        }
        poll
    }
}

pin_project! {
    /// Notices the first poll.
    struct Watched<'a, F> {
        #[pin]
        future: F,
        polled: &'a Cell<bool>,
    }
}

impl<F: Future> Future for Watched<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.polled.set(true);
        this.future.poll(cx)
    }
}

pin_project! {
    /// Gives up if no thread drives the runtime.
    ///
    /// When the future has to wait, it spawns a task whose only work is to run. If that task has
    /// not run after some time, no other task of this runtime will either.
    struct Driven<'a, F> {
        #[pin]
        future: F,
        handle: &'a Handle,
        timeout: Duration,
        #[pin]
        limit: Option<timer::Sleep>,
        beat: Arc<AtomicBool>,
    }
}

impl<'a, F> Driven<'a, F> {
    fn new(future: F, handle: &'a Handle, timeout: Duration) -> Self {
        Self {
            future,
            handle,
            timeout,
            limit: None,
            beat: Arc::default(),
        }
    }
}

impl<F: Future> Future for Driven<'_, F> {
    type Output = Result<F::Output, BlockOnError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        // Acquire and Release only for form: nothing else depends on it.
        if this.beat.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        if this.limit.is_none() {
            let beat = this.beat.clone();
            this.handle
                .spawn(async move { beat.store(true, Ordering::Release) });
            // Not Tokio's timers: they need driving as well.
            this.limit.set(Some(Timers::global().sleep(*this.timeout)));
        }
        let limit = this.limit.as_pin_mut().expect("set above");
        if limit.poll(cx).is_ready() && !this.beat.load(Ordering::Acquire) {
            return Poll::Ready(Err(BlockOnError::not_driven()));
        }
        Poll::Pending
    }
}

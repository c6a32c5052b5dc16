//! The contenders' interface: one trait for each capability, so that all contenders do the same
//! job, written once. The traits are resolved at compile time and cost nothing.

pub(crate) mod apalis;
mod fourway;
mod futures_pool;
mod pools;
mod smol;
mod tokio;
#[cfg(feature = "peers")]
mod wrappers;

use std::{any::Any, future::Future, time::Duration};

#[cfg(feature = "peers")]
pub(crate) use self::wrappers::{agnostic, async_executors, async_rt};
pub(crate) use self::{
    fourway::{
        Fourway, composed, on_smol, on_tokio, own_smol, own_tokio, threads, threads_limited,
    },
    futures_pool::futures_pool,
    pools::{rayon, threadpool},
    smol::{async_executor, smol},
    tokio::{tokio, tokio_with_blocking_threads},
};

/// The number of threads that run tasks, for every contender.
pub(crate) const WORKERS: usize = 2;

/// Runs tasks, and futures on the calling thread.
pub(crate) trait Tasks: Clone + Send + Sync + 'static {
    type Join<T: Send + 'static>: Future<Output: Send> + Send + Unpin + 'static;

    fn spawn<F>(&self, future: F) -> Self::Join<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// The output of a task, from the result of awaiting its handle.
    fn output<T: Send + 'static>(joined: <Self::Join<T> as Future>::Output) -> T;

    fn block_on<F: Future>(&self, future: F) -> F::Output;

    /// Yields to other tasks, in the runtime's own way.
    fn yield_now() -> impl Future<Output = ()> + Send {
        futures_lite::future::yield_now()
    }

    /// Runs `future` as a task, and waits for it on the calling thread.
    fn in_task<F>(&self, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Self::output(self.block_on(self.spawn(future)))
    }
}

/// Runs closures on threads that may be blocked.
pub(crate) trait Blocking: Clone + Send + Sync + 'static {
    /// The handle that async code awaits.
    type Join<T: Send + 'static>: Future<Output: Send> + Send + Unpin + 'static;
    /// The handle for a thread that runs no tasks.
    type Handle<T: Send + 'static>;

    fn offload<F, T>(&self, f: F) -> Self::Join<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static;

    /// The output of a closure, from the result of awaiting it.
    fn output<T: Send + 'static>(joined: <Self::Join<T> as Future>::Output) -> T;

    fn start<F, T>(&self, f: F) -> Self::Handle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static;

    fn wait<T: Send + 'static>(&self, handle: Self::Handle<T>) -> T;
}

/// Lets time pass.
pub(crate) trait Time: Clone + Send + Sync + 'static {
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static;
}

/// A peer, and a value that must live as long as it is used.
pub(crate) struct Started<P> {
    pub(crate) name: &'static str,
    pub(crate) ours: bool,
    pub(crate) peer: P,
    /// Dropped by the main thread: some runtimes must not be dropped in async code.
    pub(crate) owner: Box<dyn Any>,
}

impl<P> Started<P> {
    pub(crate) fn new(name: &'static str, ours: bool, peer: P, owner: impl Any) -> Self {
        Self {
            name,
            ours,
            peer,
            owner: Box::new(owner),
        }
    }

    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }
}

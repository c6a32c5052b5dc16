//! Other crates that abstract over runtimes, each over a Tokio of two workers.

use std::{future::Future, io};

use agnostic::{LocalRuntimeLite as _, RuntimeLite as _, tokio::TokioRuntime};
use async_executors::{SpawnBlocking, SpawnHandleExt, TokioTp};
use async_rt::{Executor, ExecutorBlocking, rt::tokio::TokioRuntimeExecutor};
use tokio::{
    runtime::Handle,
    task::{JoinError, JoinHandle},
};

use super::{Blocking, Started, Tasks, tokio::tokio};

pub(crate) fn agnostic() -> io::Result<Started<OverTokio<Agnostic>>> {
    over_tokio("agnostic on Tokio", |_| Ok(Agnostic))
}

pub(crate) fn async_executors() -> io::Result<Started<OverTokio<AsyncExecutors>>> {
    over_tokio("async_executors on Tokio", |handle| {
        let refused = |_| io::Error::other("async_executors refuses the runtime");
        TokioTp::try_from(handle)
            .map(AsyncExecutors)
            .map_err(refused)
    })
}

pub(crate) fn async_rt() -> io::Result<Started<OverTokio<AsyncRt>>> {
    over_tokio("async-rt on Tokio", |handle| {
        Ok(AsyncRt(TokioRuntimeExecutor::with_handle(handle)))
    })
}

fn over_tokio<W>(
    name: &'static str,
    wrap: impl FnOnce(Handle) -> io::Result<W>,
) -> io::Result<Started<OverTokio<W>>> {
    let native = tokio()?;
    let handle = native.peer.0;
    let wrapper = wrap(handle.clone())?;
    Ok(Started::new(
        name,
        false,
        OverTokio { handle, wrapper },
        native.owner,
    ))
}

/// A wrapper, and the runtime below it.
#[derive(Clone, Debug)]
pub(crate) struct OverTokio<W> {
    handle: Handle,
    wrapper: W,
}

/// The differences between the wrappers.
pub(crate) trait Wrapper: Clone + Send + Sync + 'static {
    type Task<T: Send + 'static>: Future<Output: Send> + Send + Unpin + 'static;
    type Closure<T: Send + 'static>: Future<Output: Send> + Send + Unpin + 'static;

    fn spawn<F>(&self, future: F) -> Self::Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    fn blocking<F, T>(&self, f: F) -> Self::Closure<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static;

    fn of_task<T: Send + 'static>(joined: <Self::Task<T> as Future>::Output) -> T;

    fn of_closure<T: Send + 'static>(joined: <Self::Closure<T> as Future>::Output) -> T;
}

impl<W: Wrapper> Tasks for OverTokio<W> {
    type Join<T: Send + 'static> = W::Task<T>;

    #[inline]
    fn spawn<F>(&self, future: F) -> Self::Join<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.wrapper.spawn(future)
    }

    #[inline]
    fn output<T: Send + 'static>(joined: <W::Task<T> as Future>::Output) -> T {
        W::of_task(joined)
    }

    #[inline]
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle.block_on(future)
    }

    /// The ambient ones spawn in a context only.
    fn in_task<F>(&self, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = async { self.wrapper.spawn(future).await };
        W::of_task(self.handle.block_on(task))
    }
}

impl<W: Wrapper> Blocking for OverTokio<W> {
    type Join<T: Send + 'static> = W::Closure<T>;
    type Handle<T: Send + 'static> = W::Closure<T>;

    #[inline]
    fn offload<F, T>(&self, f: F) -> Self::Join<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.wrapper.blocking(f)
    }

    #[inline]
    fn output<T: Send + 'static>(joined: <W::Closure<T> as Future>::Output) -> T {
        W::of_closure(joined)
    }

    #[inline]
    fn start<F, T>(&self, f: F) -> Self::Handle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let _guard = self.handle.enter();
        self.wrapper.blocking(f)
    }

    #[inline]
    fn wait<T: Send + 'static>(&self, handle: Self::Handle<T>) -> T {
        W::of_closure(self.handle.block_on(handle))
    }
}

/// Ambient: it spawns on the Tokio around.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agnostic;

impl Wrapper for Agnostic {
    type Task<T: Send + 'static> = JoinHandle<T>;
    type Closure<T: Send + 'static> = JoinHandle<T>;

    #[inline]
    fn spawn<F>(&self, future: F) -> Self::Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        TokioRuntime::spawn(future)
    }

    #[inline]
    fn blocking<F, T>(&self, f: F) -> Self::Closure<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        TokioRuntime::spawn_blocking(f)
    }

    #[inline]
    fn of_task<T: Send + 'static>(joined: Result<T, JoinError>) -> T {
        joined.expect("no task panics")
    }

    #[inline]
    fn of_closure<T: Send + 'static>(joined: Result<T, JoinError>) -> T {
        joined.expect("no closure panics")
    }
}

#[derive(Clone, Debug)]
pub(crate) struct AsyncExecutors(TokioTp);

impl Wrapper for AsyncExecutors {
    type Task<T: Send + 'static> = async_executors::JoinHandle<T>;
    type Closure<T: Send + 'static> = async_executors::BlockingHandle<T>;

    #[inline]
    fn spawn<F>(&self, future: F) -> Self::Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn_handle(future).expect("it is not shut down")
    }

    #[inline]
    fn blocking<F, T>(&self, f: F) -> Self::Closure<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        SpawnBlocking::spawn_blocking(&self.0, f)
    }

    #[inline]
    fn of_task<T: Send + 'static>(joined: T) -> T {
        joined
    }

    #[inline]
    fn of_closure<T: Send + 'static>(joined: T) -> T {
        joined
    }
}

#[derive(Clone, Debug)]
pub(crate) struct AsyncRt(TokioRuntimeExecutor);

impl Wrapper for AsyncRt {
    type Task<T: Send + 'static> = async_rt::JoinHandle<T>;
    type Closure<T: Send + 'static> = async_rt::JoinHandle<T>;

    #[inline]
    fn spawn<F>(&self, future: F) -> Self::Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn(future)
    }

    #[inline]
    fn blocking<F, T>(&self, f: F) -> Self::Closure<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.spawn_blocking(f)
    }

    #[inline]
    fn of_task<T: Send + 'static>(joined: <Self::Task<T> as Future>::Output) -> T {
        joined.expect("no task panics")
    }

    #[inline]
    fn of_closure<T: Send + 'static>(joined: <Self::Closure<T> as Future>::Output) -> T {
        joined.expect("no closure panics")
    }
}

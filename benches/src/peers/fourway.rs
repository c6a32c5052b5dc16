use std::{future::Future, io, time::Duration};

use fourway_core::{AnyRuntime, Compose, JoinError, Runtime, Task};
use fourway_std_thread::StdThread;

use super::{Blocking, Started, Tasks, Time, WORKERS, tokio::tokio};

/// Any of our runtimes.
#[derive(Clone, Debug)]
pub(crate) struct Fourway<R>(pub(crate) R);

impl<R> Started<Fourway<R>> {
    pub(crate) fn ours(name: &'static str, runtime: R, owner: impl std::any::Any) -> Self {
        Self::new(name, true, Fourway(runtime), owner)
    }
}

impl<R: Runtime> Started<Fourway<R>> {
    pub(crate) fn erased(self, name: &'static str) -> Started<Fourway<AnyRuntime>> {
        Started::ours(name, AnyRuntime::new(self.peer.0), self.owner)
    }
}

/// Our own threads.
pub(crate) fn threads() -> io::Result<Started<Fourway<StdThread>>> {
    let runtime = StdThread::builder().worker_threads(WORKERS).build()?;
    Ok(Started::ours("fourway", runtime, ()))
}

/// Each with a runtime of its own, and a limit on the closures that run at a time.
pub(crate) fn threads_limited(limit: usize) -> io::Result<Started<Fourway<StdThread>>> {
    let builder = StdThread::builder().worker_threads(WORKERS);
    let runtime = builder.offload_limit(limit).build()?;
    Ok(Started::ours("fourway", runtime, ()))
}

pub(crate) fn own_tokio(limit: usize) -> io::Result<Started<Fourway<fourway_tokio::Tokio>>> {
    let builder = fourway_tokio::Tokio::builder().worker_threads(WORKERS);
    let runtime = builder.offload_limit(limit).build()?;
    Ok(Started::ours("fourway on Tokio", runtime, ()))
}

pub(crate) fn own_smol(limit: usize) -> io::Result<Started<Fourway<fourway_smol::Smol>>> {
    let builder = fourway_smol::Smol::builder().worker_threads(WORKERS);
    let runtime = builder.offload_limit(limit).build()?;
    Ok(Started::ours("fourway on smol", runtime, ()))
}

/// Over an existing Tokio runtime, as in an application on Tokio.
pub(crate) fn on_tokio() -> io::Result<Started<Fourway<fourway_tokio::Tokio>>> {
    let native = tokio()?;
    let runtime = fourway_tokio::Tokio::from_handle(native.peer.0);
    Ok(Started::ours("fourway on Tokio", runtime, native.owner))
}

pub(crate) fn on_smol() -> io::Result<Started<Fourway<fourway_smol::Smol>>> {
    let builder = fourway_smol::Smol::builder();
    let runtime = builder.worker_threads(WORKERS).build()?;
    Ok(Started::ours("fourway on smol", runtime, ()))
}

/// Tasks on Tokio, closures on our own pool.
pub(crate) fn composed() -> io::Result<Started<Fourway<Compose<fourway_tokio::Tokio, StdThread>>>> {
    let (tasks, pool) = (on_tokio()?, threads()?);
    let runtime = Compose::new(tasks.peer.0, pool.peer.0);
    Ok(Started::ours(
        "Compose(Tokio, fourway)",
        runtime,
        tasks.owner,
    ))
}

impl<R: Runtime> Tasks for Fourway<R> {
    type Join<T: Send + 'static> = R::Task<T>;

    #[inline]
    fn spawn<F>(&self, future: F) -> Self::Join<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn(future)
    }

    #[inline]
    fn output<T: Send + 'static>(joined: Result<T, JoinError>) -> T {
        joined.expect("no task panics")
    }

    #[inline]
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    #[inline]
    fn yield_now() -> impl Future<Output = ()> + Send {
        fourway_core::yield_now()
    }
}

impl<R: Runtime> Blocking for Fourway<R> {
    type Join<T: Send + 'static> = R::OffloadTask<T>;
    type Handle<T: Send + 'static> = R::OffloadTask<T>;

    #[inline]
    fn offload<F, T>(&self, f: F) -> Self::Join<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.offload(f)
    }

    #[inline]
    fn output<T: Send + 'static>(joined: Result<T, JoinError>) -> T {
        joined.expect("no closure panics")
    }

    #[inline]
    fn start<F, T>(&self, f: F) -> Self::Handle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.offload(f)
    }

    #[inline]
    fn wait<T: Send + 'static>(&self, handle: Self::Handle<T>) -> T {
        handle.wait().expect("no closure panics")
    }
}

impl<R: Runtime<Sleep: 'static>> Time for Fourway<R> {
    #[inline]
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.0.sleep(duration)
    }
}

use std::{future::Future, io, time::Duration};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::{JoinError, JoinHandle},
    time::Sleep,
};

use super::{Blocking, Started, Tasks, Time, WORKERS};

/// A multi-thread runtime.
#[derive(Clone, Debug)]
pub(crate) struct Tokio(pub(crate) Handle);

pub(crate) fn tokio() -> io::Result<Started<Tokio>> {
    Ok(started(builder().build()?))
}

/// With a limit on the threads of `spawn_blocking`.
pub(crate) fn tokio_with_blocking_threads(threads: usize) -> io::Result<Started<Tokio>> {
    Ok(started(builder().max_blocking_threads(threads).build()?))
}

fn started(runtime: Runtime) -> Started<Tokio> {
    Started::new("Tokio", false, Tokio(runtime.handle().clone()), runtime)
}

fn builder() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(WORKERS).enable_time();
    builder
}

impl Tasks for Tokio {
    type Join<T: Send + 'static> = JoinHandle<T>;

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
        tokio::task::yield_now()
    }
}

impl Blocking for Tokio {
    type Join<T: Send + 'static> = JoinHandle<T>;
    type Handle<T: Send + 'static> = JoinHandle<T>;

    #[inline]
    fn offload<F, T>(&self, f: F) -> Self::Join<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.spawn_blocking(f)
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
        self.offload(f)
    }

    #[inline]
    fn wait<T: Send + 'static>(&self, handle: Self::Handle<T>) -> T {
        <Self as Blocking>::output(self.0.block_on(handle))
    }
}

impl Time for Tokio {
    #[inline]
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        // A sleep needs the context where it is made, which is not always a task.
        let _guard = self.0.enter();
        let sleep: Sleep = tokio::time::sleep(duration);
        sleep
    }
}

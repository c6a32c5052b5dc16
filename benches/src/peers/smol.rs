use std::{
    future::Future,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use smol::{Executor, Task, Timer, channel};

use super::{Blocking, Started, Tasks, Time, WORKERS};

/// smol, or its executor alone.
///
/// smol's global executor is such an executor as well; its threads run it under
/// `async_io::block_on`, which is `smol::block_on`. A separate executor can have two threads
/// without the environment variable `SMOL_THREADS`, and its threads end.
#[derive(Clone, Debug)]
pub(crate) struct Smol {
    executor: Arc<Executor<'static>>,
    /// Does waiting also drive timers and I/O, as in smol?
    reactor: bool,
}

pub(crate) fn smol() -> io::Result<Started<Smol>> {
    start("smol", true)
}

pub(crate) fn async_executor() -> io::Result<Started<Smol>> {
    start("async-executor", false)
}

fn start(name: &'static str, reactor: bool) -> io::Result<Started<Smol>> {
    let smol = Smol {
        executor: Arc::new(Executor::new()),
        reactor,
    };
    let (stop, stopped) = channel::bounded::<()>(1);
    let mut workers = Workers {
        stop,
        threads: Vec::new(),
    };
    for number in 0..WORKERS {
        let (smol, stopped) = (smol.clone(), stopped.clone());
        let builder = thread::Builder::new().name(format!("{name}-{number}"));
        workers.threads.push(builder.spawn(move || {
            // The channel is closed, not used.
            let _ = smol.block_on(smol.executor.run(stopped.recv()));
        })?);
    }
    Ok(Started::new(name, false, smol, workers))
}

/// The threads end when this is dropped.
struct Workers {
    stop: channel::Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.close();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Tasks for Smol {
    type Join<T: Send + 'static> = Task<T>;

    #[inline]
    fn spawn<F>(&self, future: F) -> Self::Join<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.executor.spawn(future)
    }

    #[inline]
    fn output<T: Send + 'static>(joined: T) -> T {
        joined
    }

    #[inline]
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        if self.reactor {
            smol::block_on(future)
        } else {
            futures_lite::future::block_on(future)
        }
    }
}

/// The `blocking` crate, which is `smol::unblock`.
impl Blocking for Smol {
    type Join<T: Send + 'static> = Task<T>;
    type Handle<T: Send + 'static> = Task<T>;

    #[inline]
    fn offload<F, T>(&self, f: F) -> Self::Join<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        smol::unblock(f)
    }

    #[inline]
    fn output<T: Send + 'static>(joined: T) -> T {
        joined
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
        self.block_on(handle)
    }
}

impl Time for Smol {
    #[inline]
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let timer = Timer::after(duration);
        async move {
            timer.await;
        }
    }
}

//! The small Tokio runtime in which the client of NATS lives: [`Side`].
//!
//! It is started once in a process, with the first engine, and never shut down: it is idle without
//! requests, and dropping a Tokio runtime blocks, or panics in async code. A forked child has no threads
//! of its parent's, and starts its own. No Tokio type is visible outside of this crate.

use std::{
    future::Future,
    io, mem,
    pin::Pin,
    task::{Context, Poll},
};

use fourway_adapt::fork::{ForgetInChild, PerProcess, Process};
use fourway_jobs_engine::{EngineError, EngineFuture};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::{JoinError, JoinHandle},
};

/// One thread reads and writes the connection, one does the rest.
const THREADS: usize = 2;

/// The runtime of the process that started it.
#[derive(Clone)]
pub(crate) struct Side {
    handle: &'static Handle,
    process: Process,
}

impl Side {
    /// This process's; starts it, unless it runs already.
    pub(crate) fn start() -> Result<Self, EngineError> {
        static RUNTIME: PerProcess<io::Result<Runtime>> = PerProcess::new();
        let process = Process::this();
        match RUNTIME.get_or_init(make) {
            Ok(runtime) => Ok(Self {
                handle: runtime.handle(),
                process,
            }),
            Err(error) => Err(EngineError::unavailable(format!(
                "no threads for the connection to NATS: {error}"
            ))),
        }
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.handle
    }

    pub(crate) fn process(&self) -> Process {
        self.process
    }

    /// Runs there once it is polled, and goes on to its end if it is dropped afterwards, so that
    /// nothing stays half written.
    pub(crate) fn to_its_end<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> EngineFuture<T> {
        let side = self.clone();
        Box::pin(async move { side.spawn(future, false)?.await })
    }

    /// Runs there once it is polled, and ends when it is dropped.
    pub(crate) fn while_wanted<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> EngineFuture<T> {
        let side = self.clone();
        Box::pin(async move { side.spawn(future, true)?.await })
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, EngineError>> + Send + 'static,
        while_wanted: bool,
    ) -> Result<Spawned<T>, EngineError> {
        if !self.process.is_this() {
            // It may hold the last handle on the connection, which is not dropped in the child.
            mem::forget(future);
            return Err(EngineError::forked());
        }
        Ok(Spawned {
            task: ForgetInChild::of(self.process, self.handle.spawn(future)),
            while_wanted,
        })
    }
}

fn make() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(THREADS)
        .thread_name("fourway-nats")
        .enable_all()
        .build()
}

struct Spawned<T> {
    task: ForgetInChild<JoinHandle<Result<T, EngineError>>>,
    /// It ends when this is dropped.
    while_wanted: bool,
}

impl<T> Future for Spawned<T> {
    type Output = Result<T, EngineError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if ForgetInChild::is_inherited(&self.task) {
            return Poll::Ready(Err(EngineError::forked()));
        }
        Pin::new(&mut *self.task).poll(cx).map(answer)
    }
}

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        // Ending it takes locks of the runtime, which may be held for ever in a child.
        if self.while_wanted && !ForgetInChild::is_inherited(&self.task) {
            self.task.abort();
        }
    }
}

/// The result of a task.
pub(crate) fn answer<T>(
    joined: Result<Result<T, EngineError>, JoinError>,
) -> Result<T, EngineError> {
    match joined {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => Err(EngineError::panicked()),
        Err(_cancelled) => Err(EngineError::closed()),
    }
}

#[cfg(test)]
mod tests {
    use fourway_jobs_engine::EngineErrorKind;
    use fourway_testing::panic_quietly;

    use super::*;

    #[test]
    fn a_panic_is_the_engines_fault() {
        let side = Side::start().unwrap();
        let panics = async || -> Result<(), EngineError> { panic_quietly("in a request") };
        for request in [side.to_its_end(panics()), side.while_wanted(panics())] {
            let error = side.handle.block_on(request).unwrap_err();
            assert_eq!(error.kind(), EngineErrorKind::Internal, "{error}");
            assert!(!error.is_refusal() && !error.is_unavailable());
        }
    }
}

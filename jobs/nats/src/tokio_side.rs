//! The small Tokio runtime in which the client of NATS lives.
//!
//! It is started once in a process, with the first engine, and never shut down: it is idle without
//! requests, and dropping a Tokio runtime blocks, or panics in async code. No Tokio type is visible
//! outside of this crate.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
};

use fourway_jobs_engine::{EngineError, EngineFuture};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::{JoinError, JoinHandle},
};

/// One thread reads and writes the connection, one does the rest.
const THREADS: usize = 2;

static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// Starts it, unless it runs already.
pub(crate) fn start() -> Result<Handle, EngineError> {
    let mut runtime = RUNTIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(there) = &*runtime {
        return Ok(there.handle().clone());
    }
    let made = make().map_err(EngineError::unavailable)?;
    let handle = made.handle().clone();
    *runtime = Some(made);
    Ok(handle)
}

fn make() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(THREADS)
        .thread_name("fourway-nats")
        .enable_all()
        .build()
}

/// Runs there once it is polled, and goes on to its end if it is dropped afterwards, so that
/// nothing stays half written.
pub(crate) fn to_its_end<T: Send + 'static>(
    handle: &Handle,
    future: impl Future<Output = Result<T, EngineError>> + Send + 'static,
) -> EngineFuture<T> {
    let handle = handle.clone();
    Box::pin(async move { answer(handle.spawn(future).await) })
}

/// Runs there once it is polled, and ends when it is dropped.
pub(crate) fn while_wanted<T: Send + 'static>(
    handle: &Handle,
    future: impl Future<Output = Result<T, EngineError>> + Send + 'static,
) -> EngineFuture<T> {
    let handle = handle.clone();
    Box::pin(async move { answer(Wanted(handle.spawn(future)).await) })
}

struct Wanted<T>(JoinHandle<T>);

impl<T> Future for Wanted<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Wanted<T> {
    fn drop(&mut self) {
        self.0.abort();
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
        let handle = start().unwrap();
        let panics = async || -> Result<(), EngineError> { panic_quietly("in a request") };
        for request in [
            to_its_end(&handle, panics()),
            while_wanted(&handle, panics()),
        ] {
            let error = handle.block_on(request).unwrap_err();
            assert_eq!(error.kind(), EngineErrorKind::Internal, "{error}");
            assert!(!error.is_refusal() && !error.is_unavailable());
        }
    }
}

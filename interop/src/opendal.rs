//! opendal's executor: [`OpenDal`].

use std::time::Duration;

use fourway_core::{Spawner, Timer};
use opendal_core::{Execute, raw::BoxedStaticFuture};

/// A runtime as `opendal::Execute`, which spawns concurrent reads, writes and copies.
///
/// The tasks are detached, and opendal cancels tasks that it gives up. Without an executor, opendal
/// uses Tokio's within a Tokio runtime; elsewhere it has none and panics at the first concurrent
/// operation.
///
/// The crate is `opendal-core`, of which `opendal` re-exports everything: a program that uses
/// `opendal` 0.57 sees the same types.
///
/// # Panics
///
/// opendal panics in the operation that waits for a task if the runtime drops that task: end
/// operations before the runtime is shut down.
///
/// # Examples
///
/// ```
/// use fourway_core::Runtime;
/// use fourway_interop::opendal::OpenDal;
/// use opendal_core::{Buffer, Executor, Operator, Result};
/// use std::time::Duration;
///
/// async fn halves<R: Runtime>(rt: R, operator: Operator, path: &str) -> Result<Vec<Buffer>> {
///     let executor = OpenDal::new(rt).with_timeout(Duration::from_secs(10));
///     operator.update_executor(|_| Executor::with(executor));
///     let reader = operator.reader_with(path).concurrent(2).await?;
///     reader.fetch(vec![0..1 << 20, 4 << 20..5 << 20]).await
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenDal<R> {
    runtime: R,
    timeout: Option<Duration>,
}

impl<R> OpenDal<R> {
    /// Wraps `runtime`. No task is limited in time.
    pub fn new(runtime: R) -> Self {
        Self {
            runtime,
            timeout: None,
        }
    }

    /// Makes opendal give up each part of a concurrent write or copy after this time and try it
    /// again, by the runtime's own timers. (opendal's `TimeoutLayer` needs Tokio's.)
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The runtime underneath.
    pub fn get_ref(&self) -> &R {
        &self.runtime
    }
}

impl<R> Execute for OpenDal<R>
where
    R: Spawner + Timer + Send + Sync + 'static,
{
    #[track_caller]
    fn execute(&self, future: BoxedStaticFuture<()>) {
        self.runtime.spawn_detached(future);
    }

    fn timeout(&self) -> Option<BoxedStaticFuture<()>> {
        let sleep = self.runtime.sleep(self.timeout?);
        Some(Box::pin(sleep))
    }
}

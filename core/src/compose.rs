//! One runtime from two: [`Compose`].

use std::time::{Duration, Instant};

use crate::{
    BlockOn, Offload, RuntimeStatus, Shutdown, ShutdownError, ShutdownReport, Spawner, Timer,
    TryOffloadError, forward, implement::recoverable, task::Metadata,
};

/// Takes tasks, blocking and time from one runtime, and the pool for blocking
/// closures from another.
///
/// Closures run on the other's threads, but find there what they would find on those of
/// the first: with tasks on Tokio, `tokio::runtime::Handle::current()` works in them (see
/// [`Spawner::surround`]).
///
/// # Examples
///
/// ```no_run
/// # fn example(tokio: impl fourway_core::Runtime, threads: impl fourway_core::Runtime) {
/// use fourway_core::{Compose, Offload, Spawner, Task};
///
/// let rt = Compose::new(tokio, threads);
/// rt.spawn(async { /* on Tokio */ }).detach();
/// rt.offload(|| { /* on the other's pool */ }).detach();
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Compose<S, O> {
    tasks: S,
    pool: O,
}

impl<S, O> Compose<S, O> {
    /// Tasks, blocking and time from `tasks`; offloading from `pool`.
    pub fn new(tasks: S, pool: O) -> Self {
        Self { tasks, pool }
    }

    /// Where tasks run.
    pub fn tasks(&self) -> &S {
        &self.tasks
    }

    /// Where closures run.
    pub fn pool(&self) -> &O {
        &self.pool
    }

    /// The two parts.
    pub fn into_parts(self) -> (S, O) {
        (self.tasks, self.pool)
    }
}

forward!([S: Spawner, O] Spawner for Compose<S, O> as S => |this| &this.tasks);
forward!([S: BlockOn, O] BlockOn for Compose<S, O> as S => |this| &this.tasks);

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl<S, O> Offload for Compose<S, O>
where
    S: Spawner + Clone + Send + 'static,
    O: Offload,
{
    type OffloadTask<T: Send + 'static> = O::OffloadTask<T>;

    forward!(provided Offload);

    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> Self::OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let tasks = self.tasks.clone();
        self.pool.offload_with(metadata, move || tasks.surround(f))
    }

    fn try_offload_with<F, T>(
        &self,
        metadata: Metadata,
        f: F,
    ) -> Result<Self::OffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let tasks = self.tasks.clone();
        let (inside, outside) = recoverable(f);
        let surrounded = move || {
            let f = inside.take();
            tasks.surround(f)
        };
        let task = self.pool.try_offload_with(metadata, surrounded);
        task.map_err(|refused| {
            let f = outside.take();
            refused.map(|_| f)
        })
    }
}

forward!([S: Timer, O] Timer for Compose<S, O> as S => |this| &this.tasks);

/// Both parts, within one timeout: first the tasks, which may wait for closures.
///
/// A handle that does not own its tasks' runtime owns nothing:
/// [`is_not_owned`](ShutdownError::is_not_owned). A pool that belongs to another runtime, or
/// to the same, is left to that.
impl<S: Shutdown, O: Shutdown> Shutdown for Compose<S, O> {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        // Too far ahead to be a time: wait as long as it takes.
        let deadline = Instant::now().checked_add(timeout);
        let tasks = self.tasks.shutdown(timeout)?;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match self.pool.shutdown(left.unwrap_or(timeout)) {
            Ok(pool) => Ok(tasks.and(&pool)),
            // Not on a thread that may not wait: the tasks' runtime has been asked first.
            Err(_) => Ok(tasks),
        }
    }

    /// Is either part shut down? Then some of what a runtime does is refused.
    fn is_shutdown(&self) -> bool {
        self.tasks.is_shutdown() || self.pool.is_shutdown()
    }

    fn status(&self) -> RuntimeStatus {
        RuntimeStatus {
            executor: self.tasks.status().executor,
            pool: self.pool.status().pool,
        }
    }
}

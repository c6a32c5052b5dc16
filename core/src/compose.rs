//! One runtime from two: [`Compose`].

use std::{
    fmt,
    future::IntoFuture,
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::{
    AnyRuntime, BlockOn, BlockOnError, Offload, Runtime, RuntimeStatus, Shutdown, ShutdownError,
    ShutdownReport, Spawner, Timer, TryOffloadError, forward,
    implement::{Extensions, RuntimeId, recoverable},
    layer::Layers,
    task::Metadata,
};

/// Takes tasks, blocking and time from one runtime, and the pool for blocking
/// closures from another.
///
/// Closures run on the other's threads, but in the environment of the first's threads: with tasks
/// on Tokio, `tokio::runtime::Handle::current()` works in them (see [`Spawner::surround`]). Tasks
/// and closures that ask for the current runtime find the two together (see [`Layers`]).
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
#[derive(Default)]
pub struct Compose<S, O> {
    tasks: S,
    // Shared by the clones, so that tasks can hold it weakly.
    pool: Arc<O>,
    // Each made once, for making them allocates.
    around_tasks: OnceLock<Layers>,
    around_pool: OnceLock<Layers>,
}

impl<S, O> Compose<S, O> {
    /// Tasks, blocking and time from `tasks`; offloading from `pool`.
    pub fn new(tasks: S, pool: O) -> Self {
        Self {
            tasks,
            pool: Arc::new(pool),
            around_tasks: OnceLock::new(),
            around_pool: OnceLock::new(),
        }
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
    pub fn into_parts(self) -> (S, O)
    where
        O: Clone,
    {
        (self.tasks, Arc::unwrap_or_clone(self.pool))
    }
}

// Derived, it would ask for `O: Clone`.
impl<S: Clone, O> Clone for Compose<S, O> {
    fn clone(&self) -> Self {
        Self {
            tasks: self.tasks.clone(),
            pool: self.pool.clone(),
            around_tasks: self.around_tasks.clone(),
            around_pool: self.around_pool.clone(),
        }
    }
}

impl<S: Runtime, O: Offload> Compose<S, O> {
    /// For closures of the pool: both parts, around the pool as its own closures find it. A queued
    /// closure must not hold a handle on the pool, because that would keep the pool from ending.
    fn around_pool(&self) -> Layers {
        let layers = self.around_pool.get_or_init(|| {
            let tasks = self.tasks.clone();
            let compose = move |pool| AnyRuntime::new(Compose::new(tasks.clone(), pool));
            self.pool.offload_layers().and_with(compose)
        });
        layers.clone()
    }
}

impl<S: fmt::Debug, O: fmt::Debug> fmt::Debug for Compose<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compose")
            .field("tasks", &self.tasks)
            .field("pool", &self.pool)
            .finish()
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl<S, O> Spawner for Compose<S, O>
where
    S: Spawner,
    O: Offload + Shutdown + fmt::Debug + Send + Sync + Unpin + 'static,
{
    type Task<T: Send + 'static> = S::Task<T>;

    forward!(provided Spawner);

    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> Self::Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = self.layers().scope_future(future.into_future());
        self.tasks.spawn_with(metadata, future)
    }

    fn spawn_detached_with<F>(&self, metadata: Metadata, future: F)
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = self.layers().scope_future(future.into_future());
        self.tasks.spawn_detached_with(metadata, future);
    }

    fn surround<T>(&self, f: impl FnOnce() -> T) -> T {
        self.tasks.surround(f)
    }

    fn layers(&self) -> Layers {
        let layers = self.around_tasks.get_or_init(|| {
            // The pool's closures hold the tasks' runtime. If a task held the pool as well, neither
            // could end (SH-2, dropping a handle never blocks). So a task finds the two only as
            // long as a handle on them exists.
            let pool = Arc::downgrade(&self.pool);
            self.tasks.layers().and_with(move |tasks| {
                let Some(pool) = pool.upgrade() else {
                    return tasks;
                };
                AnyRuntime::new(Compose {
                    tasks,
                    pool,
                    around_tasks: OnceLock::new(),
                    around_pool: OnceLock::new(),
                })
            })
        });
        layers.clone()
    }

    #[inline]
    fn runtime_id(&self) -> Option<RuntimeId> {
        self.tasks.runtime_id()
    }

    fn extensions(&self) -> Option<Extensions> {
        self.tasks.extensions()
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl<S, O> BlockOn for Compose<S, O>
where
    S: BlockOn + Spawner,
    O: Offload + Shutdown + fmt::Debug + Send + Sync + Unpin + 'static,
{
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = self.layers().scope_future(future.into_future());
        self.tasks.try_block_on(future)
    }

    #[track_caller]
    fn block_on<F: IntoFuture>(&self, future: F) -> F::Output {
        let future = self.layers().scope_future(future.into_future());
        self.tasks.block_on(future)
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        self.tasks.block_in_place(f)
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl<S, O> Offload for Compose<S, O>
where
    S: Runtime,
    O: Offload,
{
    type OffloadTask<T: Send + 'static> = O::OffloadTask<T>;

    forward!(provided Offload);

    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> Self::OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (tasks, around) = (self.tasks.clone(), self.around_pool());
        let closure = move || on_pool(tasks, around, f);
        hand_over(|| self.pool.offload_with(metadata, closure))
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
        let (tasks, around) = (self.tasks.clone(), self.around_pool());
        let (inside, outside) = recoverable(f);
        let closure = move || on_pool(tasks, around, inside.take());
        let task = hand_over(|| self.pool.try_offload_with(metadata, closure));
        task.map_err(|refused| {
            let f = outside.take();
            refused.map(|_| f)
        })
    }

    fn offload_layers(&self) -> Layers {
        self.around_pool()
    }
}

/// Calls `f`, which gives the pool a closure. A pool that stands for the thread's current runtime
/// must find the bare one: the composed one would come back here, without end.
fn hand_over<T>(f: impl FnOnce() -> T) -> T {
    Layers::default().scope(f)
}

/// Calls `f`, on a thread of the pool, in the environment of the tasks' runtime, and with both as
/// the current runtime.
fn on_pool<T>(tasks: impl Spawner, around: Layers, f: impl FnOnce() -> T) -> T {
    around.scope(|| tasks.surround(f))
}

forward!([S: Timer, O] Timer for Compose<S, O> as S => |this| &this.tasks);

/// Both parts, within one timeout by the clock of the tasks' runtime: first the tasks, which
/// may wait for closures.
///
/// A handle that does not own its tasks' runtime owns nothing:
/// [`is_not_owned`](ShutdownError::is_not_owned). A pool that belongs to a runtime that the handle
/// does not own is left to that runtime. Each part reports for itself: a runtime that is composed
/// with itself has its closures in the report twice.
#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl<S: Shutdown + Timer, O: Shutdown> Shutdown for Compose<S, O> {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        // `None` if the deadline is too far ahead for the clock: wait as long as it takes.
        let deadline = self.now().checked_add(timeout);
        // Neither part accepts a closure while the other is waited for (SH-1, orderly shutdown).
        self.close_pool()?;
        let tasks = self.tasks.shutdown(timeout)?;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(self.now()));
        match self.pool.shutdown(left.unwrap_or(timeout)) {
            Ok(pool) => Ok(tasks.and(&pool)),
            // The pool is not ours to end. The thread may wait: the tasks' runtime has checked
            // that.
            Err(_) => Ok(tasks),
        }
    }

    fn close_pool(&self) -> Result<(), ShutdownError> {
        self.tasks.close_pool()?;
        // Left to its owner, if it belongs to another runtime.
        let _ = self.pool.close_pool();
        Ok(())
    }

    /// Is either part shut down? Then the runtime refuses some of its work.
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

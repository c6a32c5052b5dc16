//! An adapter in ten lines: [`Execute`] and [`Adapter`].

use std::{
    fmt,
    future::IntoFuture,
    io,
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};

use super::{
    BoxFuture, block_on, check_thread_name,
    fork::{self, ForgetInChild},
    join::{self, JoinTask},
    pool::{OffloadTask, Pool, PoolBuilder, StdThreads},
    timer::{Sleep, Timers},
};
use fourway_core::{
    AnyRuntime, BlockOn, BlockOnError, Offload, RuntimeStatus, Shutdown, ShutdownError,
    ShutdownReport, Spawner, Timer, TryOffloadError,
    implement::{self, Extensions, Registration, RuntimeId},
    task::Metadata,
};

/// The one thing that an executor must be able to do.
pub trait Execute: Clone + Send + Sync + Unpin + 'static {
    /// Runs `future` to its end in the background.
    ///
    /// Must not block and must not poll `future` itself. The future does not
    /// panic. An executor that is shut down, or shuts down before the future is
    /// ready, drops it; nothing else is asked of it.
    fn execute(&self, future: BoxFuture);
}

/// A whole runtime on top of an [`Execute`].
///
/// A clone is another handle on the same runtime. Dropping the last handle ends the threads of the
/// offload pool and of the timers, without waiting. The executor itself belongs to the implementer.
pub struct Adapter<E> {
    executor: E,
    shared: Arc<ForgetInChild<Parts>>,
}

struct Parts {
    registration: Registration,
    pool: Pool,
    timers: Timers,
    extensions: Extensions,
}

impl Drop for Parts {
    fn drop(&mut self) {
        // The pool and the timers end by themselves, but other code may hold the extensions.
        self.extensions.close();
    }
}

/// Configures an [`Adapter`]. Made by [`Adapter::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct AdapterBuilder<E> {
    executor: E,
    pool: PoolBuilder,
    thread_name: String,
}

impl<E: Execute> AdapterBuilder<E> {
    /// At most this many closures run at a time ([limits are exact](fourway_core::contract#OF-5)).
    /// Default: 512.
    pub fn offload_limit(mut self, closures: usize) -> Self {
        self.pool = self.pool.limit(closures);
        self
    }

    /// At most this many closures wait, as far as
    /// [`try_offload`](Offload::try_offload) is concerned. Default: no bound.
    pub fn offload_queue(mut self, closures: Option<usize>) -> Self {
        self.pool = self.pool.queue_bound(closures);
        self
    }

    /// How long an idle offload thread is kept ([threads come and
    /// go](fourway_core::contract#OF-6)). Default: 10 seconds.
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.pool = self.pool.keep_alive(time);
        self
    }

    /// The name of the offload threads. Default: `fourway-offload`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// Makes the runtime. Threads start when they are needed.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if the offload limit is zero, or a NUL byte in the threads'
    /// name.
    pub fn build(self) -> io::Result<Adapter<E>> {
        check_thread_name(&self.thread_name)?;
        // The registry must be able to make a handle, and the handle must know
        // its number in the registry: tie the knot through a weak reference.
        let home: Arc<OnceLock<Weak<ForgetInChild<Parts>>>> = Arc::default();
        let registration = implement::register({
            let (home, executor) = (home.clone(), self.executor.clone());
            move || {
                let shared = home.get()?.upgrade()?;
                let executor = executor.clone();
                Some(AnyRuntime::new(Adapter { executor, shared }))
            }
        });
        let pool = self
            .pool
            .runtime(Some(registration.id()))
            .build(StdThreads::new(self.thread_name))?;
        let shared = Arc::new(ForgetInChild::new(Parts {
            registration,
            pool,
            timers: Timers::new("fourway-timer"),
            extensions: Extensions::new(),
        }));
        let _ = home.set(Arc::downgrade(&shared));
        Ok(Adapter {
            executor: self.executor,
            shared,
        })
    }
}

impl<E: Execute> Adapter<E> {
    /// A runtime with the default limits.
    #[allow(
        clippy::missing_panics_doc,
        reason = "building fails on a limit of zero only, and the default is not zero"
    )]
    pub fn new(executor: E) -> Self {
        Self::builder(executor)
            .build()
            .expect("the default limits are valid")
    }

    /// Configures a runtime.
    pub fn builder(executor: E) -> AdapterBuilder<E> {
        AdapterBuilder {
            executor,
            pool: PoolBuilder::default(),
            thread_name: String::from("fourway-offload"),
        }
    }

    /// The executor underneath.
    pub fn executor(&self) -> &E {
        &self.executor
    }

    fn id(&self) -> Option<RuntimeId> {
        Some(self.shared.registration.id())
    }
}

impl<E: Execute> From<Adapter<E>> for AnyRuntime {
    fn from(runtime: Adapter<E>) -> Self {
        Self::new(runtime)
    }
}

impl<E: Clone> Clone for Adapter<E> {
    fn clone(&self) -> Self {
        Self {
            executor: self.executor.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<E> fmt::Debug for Adapter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter")
            .field("pool", &self.shared.pool)
            .finish_non_exhaustive()
    }
}

/// The implementer shuts the executor down.
impl<E> Shutdown for Adapter<E> {
    fn shutdown(&self, _timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        Err(ShutdownError::not_owned())
    }

    fn is_shutdown(&self) -> bool {
        // The pool ends with the last handle, and this is one. In a forked child the shared parts
        // are not used.
        ForgetInChild::is_inherited(&self.shared)
    }

    fn status(&self) -> RuntimeStatus {
        let mut status = RuntimeStatus::default();
        status.pool = self.shared.pool.status();
        status
    }
}

impl<E: Execute> Spawner for Adapter<E> {
    type Task<T: Send + 'static> = JoinTask<T>;

    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> JoinTask<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = future.into_future();
        let (runner, task) = join::task(metadata, future, self.id());
        if ForgetInChild::is_inherited(&self.shared) {
            // The executor's threads, if it has any, are the parent's (FK-1, forked children).
            fork::refuse(|| drop(runner));
            return task;
        }
        self.executor.execute(Box::pin(runner));
        task
    }

    fn runtime_id(&self) -> Option<RuntimeId> {
        self.id()
    }

    fn extensions(&self) -> Option<Extensions> {
        Some(self.shared.extensions.clone())
    }
}

impl<E: Execute> BlockOn for Adapter<E> {
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = future.into_future();
        block_on(future, self.id())
    }
}

impl<E: Execute> Offload for Adapter<E> {
    type OffloadTask<T: Send + 'static> = OffloadTask<T>;

    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.shared.pool.offload_with(metadata, f)
    }

    fn try_offload_with<F, T>(
        &self,
        metadata: Metadata,
        f: F,
    ) -> Result<OffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.shared.pool.try_offload_with(metadata, f)
    }
}

impl<E: Execute> Timer for Adapter<E> {
    type Sleep = Sleep;

    fn sleep(&self, duration: Duration) -> Sleep {
        self.shared.timers.sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        self.shared.timers.sleep_until(deadline)
    }
}

//! A native adapter, made of the parts that `docs/ADAPTERS.md` names: for `async-executor`, on an
//! executor that lives as long as the process.

use std::{
    future::{IntoFuture, pending},
    io,
    sync::{Arc, OnceLock, Weak},
    thread,
    time::Duration,
};

use async_executor::Executor;
use fourway_adapt::{
    self as adapt,
    async_task::AsyncTask,
    fork::ForgetInChild,
    pool::{OffloadTask, Pool, PoolBuilder, StdThreads},
    timer::{Sleep, Timers},
};
use fourway_conformance::{Capabilities, Config, Subject, conformance_main};
use fourway_core::{
    AnyRuntime, BlockOn, BlockOnError, Offload, RuntimeStatus, Shutdown, ShutdownError,
    ShutdownReport, Spawner, Timer, TryOffloadError,
    implement::{self, Registration, RuntimeId},
    task::Metadata,
};

/// The handle.
#[derive(Clone, Debug)]
struct Native(Arc<ForgetInChild<Shared>>);

#[derive(Debug)]
struct Shared {
    executor: &'static Executor<'static>,
    pool: Pool,
    timers: Timers,
    registration: Registration,
}

impl Native {
    fn new(workers: usize, pool: PoolBuilder) -> io::Result<Self> {
        let home: Arc<OnceLock<Weak<ForgetInChild<Shared>>>> = Arc::default();
        let registration = implement::register({
            let home = home.clone();
            move || Some(AnyRuntime::new(Native(home.get()?.upgrade()?)))
        });
        let executor: &'static Executor<'static> = Box::leak(Box::default());
        for _ in 0..workers {
            thread::Builder::new().spawn(|| adapt::run(executor.run(pending::<()>())))?;
        }
        let pool = pool
            .runtime(Some(registration.id()))
            .build(StdThreads::new("native-offload"))?;
        let shared = Arc::new(ForgetInChild::new(Shared {
            executor,
            pool,
            timers: Timers::new("native-timer"),
            registration,
        }));
        let _ = home.set(Arc::downgrade(&shared));
        Ok(Self(shared))
    }
}

impl Spawner for Native {
    type Task<T: Send + 'static> = AsyncTask<T>;

    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> AsyncTask<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = future.into_future();
        let runtime = Some(self.0.registration.id());
        if ForgetInChild::is_inherited(&self.0) {
            return adapt::async_task::refused_in_child(metadata, future, runtime);
        }
        adapt::async_task::spawn(metadata, future, runtime, |future| {
            self.0.executor.spawn(future)
        })
    }

    fn runtime_id(&self) -> Option<RuntimeId> {
        Some(self.0.registration.id())
    }
}

impl BlockOn for Native {
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = future.into_future();
        adapt::block_on(future, Some(self.0.registration.id()))
    }
}

impl Offload for Native {
    type OffloadTask<T: Send + 'static> = OffloadTask<T>;

    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.pool.offload_with(metadata, f)
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
        self.0.pool.try_offload_with(metadata, f)
    }
}

impl Timer for Native {
    type Sleep = Sleep;

    fn sleep(&self, duration: Duration) -> Sleep {
        self.0.timers.sleep(duration)
    }
}

impl Shutdown for Native {
    fn shutdown(&self, _timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        Err(ShutdownError::not_owned())
    }

    fn is_shutdown(&self) -> bool {
        // Nobody shuts it down; but in a forked child it is not there.
        ForgetInChild::is_inherited(&self.0)
    }

    fn status(&self) -> RuntimeStatus {
        let mut status = RuntimeStatus::default();
        status.pool = self.0.pool.status();
        status
    }
}

struct AsyncExecutor;

impl Subject for AsyncExecutor {
    type Runtime = Native;
    const NAME: &'static str = "async-executor";

    fn capabilities() -> Capabilities {
        Capabilities::default()
            .block_in_place(false)
            .shutdown(false)
            // The executor lists its tasks.
            .lost_tasks(false)
    }

    fn build(config: &Config) -> Native {
        let pool = PoolBuilder::default()
            .limit(config.offload_limit)
            .queue_bound(config.offload_queue)
            .keep_alive(config.keep_alive);
        Native::new(config.workers, pool).expect("threads can be started")
    }
}

conformance_main!(AsyncExecutor; recorded in "../../docs/conformance/async-executor.json");

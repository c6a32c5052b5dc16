//! The wrappers of the core, held to the whole contract: a wrapper keeps it.

use std::{
    thread,
    time::{Duration, Instant},
};

use fourway_adapt::{self as adapt, Adapter, BoxFuture, Execute};
use fourway_conformance::{Capabilities, Config, Subject, conformance_main};
use fourway_core::{
    AnyRuntime, BlockOn, BlockOnError, Compose, Offload, Runtime, Shutdown, ShutdownError,
    ShutdownReport, Spawner, Timer, TryOffloadError, layer::Propagate,
};

/// A thread for each task: about the simplest executor there is.
#[derive(Clone)]
struct ThreadEach;

impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        thread::spawn(move || adapt::run(future));
    }
}

fn ten_lines(config: &Config) -> Adapter<ThreadEach> {
    Adapter::builder(ThreadEach)
        .offload_limit(config.offload_limit)
        .offload_queue(config.offload_queue)
        .keep_alive(config.keep_alive)
        .build()
        .expect("a valid config")
}

/// Adds what a wrapper does not have, and the suite asks for.
#[derive(Clone)]
struct WithShutdown<R>(R);

impl<R> Shutdown for WithShutdown<R> {
    fn shutdown(&self, _timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        Err(ShutdownError::not_owned())
    }
}

impl<R: Runtime> Spawner for WithShutdown<R> {
    type Task<T: Send + 'static> = R::Task<T>;

    fn spawn<F>(&self, future: F) -> Self::Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        self.0.spawn(future)
    }
}

impl<R: Runtime> BlockOn for WithShutdown<R> {
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        self.0.try_block_on(future)
    }

    #[track_caller]
    fn block_on<F: IntoFuture>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        self.0.block_in_place(f)
    }
}

impl<R: Runtime> Offload for WithShutdown<R> {
    type OffloadTask<T: Send + 'static> = R::OffloadTask<T>;

    fn offload<F, T>(&self, f: F) -> Self::OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.offload(f)
    }

    fn try_offload<F, T>(&self, f: F) -> Result<Self::OffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.try_offload(f)
    }
}

impl<R: Runtime> Timer for WithShutdown<R> {
    type Sleep = R::Sleep;

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Self::Sleep {
        self.0.sleep_until(deadline)
    }

    fn now(&self) -> Instant {
        self.0.now()
    }
}

macro_rules! subject {
    ($subject:ident, $name:literal, $runtime:ty, $build:expr) => {
        struct $subject;

        impl Subject for $subject {
            type Runtime = WithShutdown<$runtime>;
            const NAME: &'static str = $name;

            fn capabilities() -> Capabilities {
                Capabilities::default()
                    .block_in_place(false)
                    .shutdown(false)
                    // Nor does a thread that waits for a wake know that none can come.
                    .lost_tasks(false)
            }

            fn build(config: &Config) -> Self::Runtime {
                let build: fn(&Config) -> $runtime = $build;
                WithShutdown(build(config))
            }
        }
    };
}

subject!(Erased, "any", AnyRuntime, |config| AnyRuntime::new(
    ten_lines(config)
));
// Two runtimes, so that what is handed to the wrong one shows.
subject!(
    Composed,
    "compose",
    Compose<Adapter<ThreadEach>, Adapter<ThreadEach>>,
    |config| Compose::new(ten_lines(config), ten_lines(config))
);
subject!(
    Propagating,
    "propagate",
    Propagate<Adapter<ThreadEach>>,
    |config| Propagate::new(ten_lines(config))
);
// All of them at once.
subject!(Stacked, "stacked", AnyRuntime, |config| AnyRuntime::new(
    Propagate::new(Compose::new(
        AnyRuntime::new(ten_lines(config)),
        ten_lines(config)
    ))
));

conformance_main!(Erased, Composed, Propagating, Stacked; recorded in "../docs/conformance/wrappers.json");

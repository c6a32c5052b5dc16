//! A runtime of any kind behind one type: [`AnyRuntime`].

mod future;
mod handle;
mod pairs;
mod reserve;
mod small;
mod spawned;

use std::{
    any::{Any, type_name},
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) use self::handle::untyped;
pub use self::handle::{AnyOffloadTask, AnyTask};
use self::{
    future::SmallFuture,
    handle::{ClosureOutput, Untyped},
    spawned::{Output, Spawned},
};
use crate::{
    BlockOn, BlockOnError, Compose, Offload, Runtime, RuntimeStatus, Shutdown, ShutdownError,
    ShutdownReport, Spawner, Timer, TryOffloadError, forward,
    implement::{Extensions, RuntimeId, mark, recoverable},
    layer::{Layers, Parked, Propagate},
    task::Metadata,
    time::BoxSleep,
};

/// A handle on a runtime, whichever it is.
///
/// For libraries that do not want a type parameter, and as the default of a type parameter. It
/// keeps the same contract as the runtime behind it, with typed outputs and whole panics. A spawned
/// future and its output are in 64 bytes of memory, which the thread that joins the task, or drops it,
/// keeps for its next spawns: up to 4096 pieces, 256 KiB, until it ends. If a thread has none, as one
/// that only spawns, a spawn costs one allocation more than natively. So does a future of more than seven words, an output of more than
/// five, or one whose alignment is larger than a word. A detached future of up to seven words is in
/// the task itself. A timer costs one allocation.
///
/// # Examples
///
/// ```
/// use fourway_core::{AnyRuntime, Runtime, Spawner};
///
/// struct Client {
///     rt: AnyRuntime,
/// }
///
/// impl Client {
///     fn new(rt: impl Runtime) -> Self {
///         Self { rt: AnyRuntime::new(rt) }
///     }
///
///     async fn answer(&self) -> u32 {
///         self.rt.spawn(async { 42 }).await.unwrap()
///     }
/// }
/// ```
#[derive(Clone)]
pub struct AnyRuntime {
    inner: Arc<dyn Erased>,
    name: &'static str,
}

/// As [`AnyRuntime::new`].
impl<R: Runtime> From<Propagate<R>> for AnyRuntime {
    fn from(runtime: Propagate<R>) -> Self {
        Self::new(runtime)
    }
}

/// As [`AnyRuntime::new`].
impl<R: Runtime> From<Parked<R>> for AnyRuntime {
    fn from(runtime: Parked<R>) -> Self {
        Self::new(runtime)
    }
}

/// As [`AnyRuntime::new`].
impl<S, O> From<Compose<S, O>> for AnyRuntime
where
    Compose<S, O>: Runtime,
{
    fn from(runtime: Compose<S, O>) -> Self {
        Self::new(runtime)
    }
}

// As the runtimes are that it may hold: a panic of work leaves them as they were (BL-1, block_on polls
// on the calling thread; JO-3, a panic reaches the joiner).
impl std::panic::UnwindSafe for AnyRuntime {}
impl std::panic::RefUnwindSafe for AnyRuntime {}

impl AnyRuntime {
    /// Erases the type of `runtime`. An `AnyRuntime` is not wrapped again.
    pub fn new<R: Runtime>(runtime: R) -> Self {
        let mut runtime = Some(runtime);
        let any: &mut dyn Any = &mut runtime;
        if let Some(already) = any.downcast_mut::<Option<AnyRuntime>>() {
            if let Some(already) = already.take() {
                return already;
            }
        }
        match runtime {
            Some(runtime) => Self {
                inner: Arc::new(Native(runtime)),
                name: type_name::<R>(),
            },
            None => unreachable!("only an `AnyRuntime` is taken out above"),
        }
    }

    /// The runtime that the calling thread is running code of, if any: one of
    /// fourway's, or a foreign one that an adapter recognises, such as Tokio.
    ///
    /// With its [layers](crate::layer): work of a layered runtime finds the layered one.
    ///
    /// For applications, and for libraries that do not know their caller. A library should ask for
    /// a runtime if it can.
    #[must_use]
    pub fn current() -> Option<Self> {
        mark::current_runtime()
    }

    /// The type of the runtime behind this handle. For logs only.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Debug for AnyRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyRuntime(")?;
        self.inner.debug(f)?;
        f.write_str(")")
    }
}

type Closure = Box<dyn FnOnce() -> ClosureOutput + Send + 'static>;

/// [`Runtime`] without generics.
trait Erased: Send + Sync {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError>;
    fn close_pool(&self) -> Result<(), ShutdownError>;
    fn is_shutdown(&self) -> bool;
    fn status(&self) -> RuntimeStatus;
    fn debug(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    fn spawn(&self, metadata: Metadata, future: Spawned) -> Untyped<Output>;
    fn execute(&self, metadata: Metadata, future: SmallFuture<()>);
    fn surround(&self, f: &mut dyn FnMut());
    fn layers(&self) -> Layers;
    fn runtime_id(&self) -> Option<RuntimeId>;
    fn extensions(&self) -> Option<Extensions>;
    fn offload_layers(&self) -> Layers;
    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError>;
    fn block_in_place(&self, f: &mut dyn FnMut()) -> Result<(), BlockOnError>;
    fn offload(&self, metadata: Metadata, f: Closure) -> Untyped<ClosureOutput>;
    fn try_offload(
        &self,
        metadata: Metadata,
        f: Closure,
    ) -> Result<Untyped<ClosureOutput>, TryOffloadError<Closure>>;
    fn sleep(&self, duration: Duration) -> BoxSleep;
    fn sleep_until(&self, deadline: Instant) -> BoxSleep;
    fn now(&self) -> Instant;
}

struct Native<R>(R);

impl<R: Runtime> Erased for Native<R> {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        self.0.shutdown(timeout)
    }

    fn close_pool(&self) -> Result<(), ShutdownError> {
        self.0.close_pool()
    }

    fn is_shutdown(&self) -> bool {
        self.0.is_shutdown()
    }

    fn status(&self) -> RuntimeStatus {
        self.0.status()
    }

    fn debug(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }

    fn spawn(&self, metadata: Metadata, future: Spawned) -> Untyped<Output> {
        untyped(self.0.spawn_with(metadata, future))
    }

    fn execute(&self, metadata: Metadata, future: SmallFuture<()>) {
        self.0.spawn_detached_with(metadata, future);
    }

    fn surround(&self, f: &mut dyn FnMut()) {
        self.0.surround(f);
    }

    fn layers(&self) -> Layers {
        self.0.layers()
    }

    fn runtime_id(&self) -> Option<RuntimeId> {
        self.0.runtime_id()
    }

    fn extensions(&self) -> Option<Extensions> {
        self.0.extensions()
    }

    fn offload_layers(&self) -> Layers {
        self.0.offload_layers()
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        self.0.try_block_on(future)
    }

    fn block_in_place(&self, f: &mut dyn FnMut()) -> Result<(), BlockOnError> {
        self.0.block_in_place(f)
    }

    fn offload(&self, metadata: Metadata, f: Closure) -> Untyped<ClosureOutput> {
        untyped(self.0.offload_with(metadata, f))
    }

    fn try_offload(
        &self,
        metadata: Metadata,
        f: Closure,
    ) -> Result<Untyped<ClosureOutput>, TryOffloadError<Closure>> {
        Ok(untyped(self.0.try_offload_with(metadata, f)?))
    }

    fn sleep(&self, duration: Duration) -> BoxSleep {
        Box::pin(self.0.sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> BoxSleep {
        Box::pin(self.0.sleep_until(deadline))
    }

    fn now(&self) -> Instant {
        self.0.now()
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl Spawner for AnyRuntime {
    type Task<T: Send + 'static> = AnyTask<T>;

    forward!(provided Spawner);

    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> AnyTask<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = spawned::spawned(future);
        AnyTask::new(self.inner.spawn(metadata, future))
    }

    fn spawn_detached_with<F>(&self, metadata: Metadata, future: F)
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        // Contained by the native spawner; the output is dropped inside of the task.
        self.inner.execute(metadata, spawned::detached(future));
    }

    fn surround<T>(&self, f: impl FnOnce() -> T) -> T {
        let mut f = Some(f);
        let mut output = None;
        self.inner.surround(&mut || output = f.take().map(|f| f()));
        output.expect("a runtime's `surround` calls the closure")
    }

    fn layers(&self) -> Layers {
        self.inner.layers()
    }

    fn runtime_id(&self) -> Option<RuntimeId> {
        self.inner.runtime_id()
    }

    fn extensions(&self) -> Option<Extensions> {
        self.inner.extensions()
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl BlockOn for AnyRuntime {
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = future.into_future();
        let mut output = None;
        {
            let future = std::pin::pin!(async { output = Some(future.await) });
            self.inner.block_on(future)?;
        }
        Ok(output.expect("a runtime whose `try_block_on` gives `Ok` has run the future"))
    }

    // Not passed on: this panics at the caller's line, which a method of a trait object does not
    // know.
    #[track_caller]
    fn block_on<F: IntoFuture>(&self, future: F) -> F::Output {
        match self.try_block_on(future) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        let mut f = Some(f);
        let mut output = None;
        self.inner
            .block_in_place(&mut || output = f.take().map(|f| f()))?;
        Ok(output.expect("a runtime whose `block_in_place` gives `Ok` has run the closure"))
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl Offload for AnyRuntime {
    type OffloadTask<T: Send + 'static> = AnyOffloadTask<T>;

    forward!(provided Offload);

    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> AnyOffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let closure = move || -> ClosureOutput { Box::new(f()) };
        AnyOffloadTask::new(self.inner.offload(metadata, Box::new(closure)))
    }

    fn offload_layers(&self) -> Layers {
        self.inner.offload_layers()
    }

    fn try_offload_with<F, T>(
        &self,
        metadata: Metadata,
        f: F,
    ) -> Result<AnyOffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (inside, outside) = recoverable(f);
        let closure = move || -> ClosureOutput { Box::new(inside.take()()) };
        match self.inner.try_offload(metadata, Box::new(closure)) {
            Ok(task) => Ok(AnyOffloadTask::new(task)),
            Err(refused) => {
                let f = outside.take();
                Err(refused.map(|_| f))
            }
        }
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl Timer for AnyRuntime {
    type Sleep = BoxSleep;

    forward!(provided Timer);

    fn sleep(&self, duration: Duration) -> BoxSleep {
        self.inner.sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> BoxSleep {
        self.inner.sleep_until(deadline)
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl Shutdown for AnyRuntime {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        self.inner.shutdown(timeout)
    }

    fn close_pool(&self) -> Result<(), ShutdownError> {
        self.inner.close_pool()
    }

    fn is_shutdown(&self) -> bool {
        self.inner.is_shutdown()
    }

    fn status(&self) -> RuntimeStatus {
        self.inner.status()
    }
}

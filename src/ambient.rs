//! A runtime value that looks its runtime up at each use: [`Ambient`].

use std::{
    cell::Cell,
    future::IntoFuture,
    time::{Duration, Instant},
};

use fourway_core::{
    AnyRuntime, BlockOn, BlockOnError, Offload, RuntimeStatus, Shutdown, ShutdownError,
    ShutdownReport, Spawner, Timer, TryOffloadError,
    context::{self, Context},
    forward,
    implement::{self, Extensions, RuntimeId},
    layer::Layers,
    task::Metadata,
};

use crate::default::{current, default_runtime, existing};

/// The runtime that the calling thread is in when this is used, else the default one.
///
/// Every use asks [`default_runtime`] anew. So the value outlives each single runtime, and
/// can be put into a `static` that code of many runtimes shares, one `#[tokio::test]` after
/// the other for instance. The runtime from `default_runtime` is one and the same for good: kept in
/// a `static`, it refuses all work once that runtime has been shut down.
///
/// It starts nothing until something needs a runtime: a task, an offloaded closure, a
/// timer, or a future to block on. A blocking [`Call`](fourway_core::call::Call) that is
/// waited for is a plain call, and so is [`block_in_place`](BlockOn::block_in_place)
/// outside async code; a program that does nothing else starts no thread.
///
/// | hold | if |
/// |---|---|
/// | a type parameter `R: Runtime`, or an [`AnyRuntime`] | you write a library: the application decides |
/// | what [`default_runtime`] returns | you write an application that uses one runtime, or work must go on running when the runtime that is current here has ended |
/// | `Ambient` | it is a `static`, or a program may never need a runtime |
///
/// A use costs more than one of an [`AnyRuntime`] does: a look-up under a lock, and inside
/// a runtime an allocation. Work that is spawned from inside a runtime ends with that
/// runtime.
///
/// # Panics
///
/// Its methods panic where [`default_runtime`] does: if a runtime is needed and none is available.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "std-thread")] {
/// use fourway::{Ambient, call::Call, prelude::*};
///
/// static RT: Ambient = Ambient;
///
/// // A plain call: no runtime is started.
/// assert_eq!(RT.call_blocking(|| 42).wait(), 42);
///
/// // In a runtime it is that one.
/// let rt = fourway::std_thread::StdThread::new()?;
/// assert_eq!(rt.block_on(async { RT.spawn(async { 42 }).await.unwrap() }), 42);
/// # }
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ambient;

/// Calls `f`, which asks the runtime that was found. That runtime may contain an [`Ambient`] and
/// ask it in turn, as `Compose::new(Ambient, pool)` does in the pool's closures. The `Ambient` must
/// then find the bare runtime: otherwise it would find the composed one again, without end.
///
/// The caller's own code must find the caller's layers nevertheless. So work that is given as an
/// [`IntoFuture`] becomes a future outside of this.
fn ask<T>(f: impl FnOnce() -> T) -> T {
    Layers::default().scope(f)
}

/// Wraps `f`, which runs on this thread inside of [`ask`]: `f` finds the layers of the caller.
fn around_this<T>(f: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let around = Layers::current();
    move || around.scope(f)
}

thread_local! {
    /// Set while [`looks_up`] asks, and whether it has come to an [`Ambient`].
    static FOUND: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Is `runtime` an [`Ambient`], or does it contain one? As the default it would look itself up, without
/// end. Wrappers are not seen through by their type; but all ask what they contain whether it is shut
/// down.
pub(crate) fn looks_up(runtime: &AnyRuntime) -> bool {
    struct Asking;
    impl Drop for Asking {
        fn drop(&mut self) {
            FOUND.set(None);
        }
    }
    FOUND.set(Some(false));
    let asking = Asking;
    let _ = runtime.is_shutdown();
    let found = FOUND.get() == Some(true);
    drop(asking);
    found
}

/// As [`AnyRuntime::new`]: the erased runtime still looks its runtime up at each use, and is bound
/// to none.
impl From<Ambient> for AnyRuntime {
    fn from(ambient: Ambient) -> Self {
        Self::new(ambient)
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl Spawner for Ambient {
    type Task<T: Send + 'static> = <AnyRuntime as Spawner>::Task<T>;

    forward!(provided Spawner);

    #[track_caller]
    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> Self::Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let (runtime, future) = (default_runtime(), future.into_future());
        ask(|| runtime.spawn_with(metadata, future))
    }

    #[track_caller]
    fn spawn_detached_with<F>(&self, metadata: Metadata, future: F)
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let (runtime, future) = (default_runtime(), future.into_future());
        ask(|| runtime.spawn_detached_with(metadata, future));
    }

    #[track_caller]
    fn surround<T>(&self, f: impl FnOnce() -> T) -> T {
        let (runtime, f) = (default_runtime(), around_this(f));
        ask(|| runtime.surround(f))
    }

    fn layers(&self) -> Layers {
        // The runtime that it finds has its own layers, and reports them itself. Added here, they
        // would be there twice in work that a layer around this one starts, and more often in the
        // work of that work.
        Layers::default()
    }

    fn runtime_id(&self) -> Option<RuntimeId> {
        // A blocking body finds the current runtime, as a caller who asks here would.
        None
    }

    fn extensions(&self) -> Option<Extensions> {
        let runtime = default_runtime();
        ask(|| runtime.extensions())
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl BlockOn for Ambient {
    #[track_caller]
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        // First, so that a refusal starts no runtime.
        implement::check_may_block()?;
        let future = future.into_future();
        match current() {
            Some(runtime) => {
                let future = Layers::current().scope_future(future);
                ask(|| runtime.try_block_on(future))
            }
            // The caller is in no runtime. The default one may have layers, which the caller's,
            // being none, would hide.
            None => {
                let runtime = default_runtime();
                ask(|| runtime.try_block_on(future))
            }
        }
    }

    #[track_caller]
    fn block_on<F: IntoFuture>(&self, future: F) -> F::Output {
        match self.try_block_on(future) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        if context::current() == Context::Async {
            let (runtime, f) = (default_runtime(), around_this(f));
            ask(|| runtime.block_in_place(f))
        } else {
            Ok(f())
        }
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl Offload for Ambient {
    type OffloadTask<T: Send + 'static> = <AnyRuntime as Offload>::OffloadTask<T>;

    forward!(provided Offload);

    #[track_caller]
    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> Self::OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let runtime = default_runtime();
        ask(|| runtime.offload_with(metadata, f))
    }

    #[track_caller]
    fn try_offload_with<F, T>(
        &self,
        metadata: Metadata,
        f: F,
    ) -> Result<Self::OffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let runtime = default_runtime();
        ask(|| runtime.try_offload_with(metadata, f))
    }

    /// None, as of [`layers`](Spawner::layers).
    fn offload_layers(&self) -> Layers {
        Layers::default()
    }
}

/// Acts on the existing runtime. Where none has been started, the error is
/// [`is_not_owned`](ShutdownError::is_not_owned), and the status is empty.
#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl Shutdown for Ambient {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        match existing() {
            Some(runtime) => ask(|| runtime.shutdown(timeout)),
            None => Err(ShutdownError::not_owned()),
        }
    }

    fn close_pool(&self) -> Result<(), ShutdownError> {
        match existing() {
            Some(runtime) => ask(|| runtime.close_pool()),
            None => Err(ShutdownError::not_owned()),
        }
    }

    fn is_shutdown(&self) -> bool {
        if FOUND.get().is_some() {
            FOUND.set(Some(true));
            return false;
        }
        existing().is_some_and(|runtime| ask(|| runtime.is_shutdown()))
    }

    fn status(&self) -> RuntimeStatus {
        existing().map_or_else(RuntimeStatus::default, |runtime| ask(|| runtime.status()))
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl Timer for Ambient {
    type Sleep = <AnyRuntime as Timer>::Sleep;

    forward!(provided Timer);

    #[track_caller]
    fn sleep(&self, duration: Duration) -> Self::Sleep {
        let runtime = default_runtime();
        ask(|| runtime.sleep(duration))
    }

    #[track_caller]
    fn sleep_until(&self, deadline: Instant) -> Self::Sleep {
        let runtime = default_runtime();
        ask(|| runtime.sleep_until(deadline))
    }

    fn now(&self) -> Instant {
        // A runtime that has not been started has no clock of its own yet.
        existing().map_or_else(Instant::now, |runtime| ask(|| runtime.now()))
    }
}

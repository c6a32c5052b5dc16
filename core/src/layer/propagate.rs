use std::future::IntoFuture;

use crate::{
    AnyRuntime, BlockOn, BlockOnError, Offload, Shutdown, Spawner, Timer, TryOffloadError, forward,
    implement::{Extensions, RuntimeId, recoverable},
    layer::Layers,
    task::Metadata,
    values::{Values, WithValues},
};

/// Makes the [`Values`] that are current where work is spawned or offloaded
/// current where it runs ([values travel with the work][CX-3]).
///
/// `block_on` and `block_in_place` run on the calling thread, where the values
/// are current anyway. A task or closure that asks for the current runtime finds this one,
/// so that what it starts there has the values too.
///
/// A [`Call`](crate::Call) takes the values that are current where it is used, not where it
/// was made.
///
/// # Examples
///
/// ```
/// use fourway_core::{BlockOn, Runtime, Spawner, layer::Propagate, values::{Key, Values}};
///
/// static REQUEST: Key<u64> = Key::new("request");
///
/// fn example(rt: impl Runtime) {
///     let rt = Propagate::new(rt);
///     let task = Values::current().with(&REQUEST, 7).scope(|| rt.spawn(async { REQUEST.get() }));
///     assert_eq!(rt.block_on(task).unwrap(), Some(7));
/// }
/// ```
///
/// [CX-3]: crate::contract#CX-3
#[derive(Clone, Copy, Debug, Default)]
pub struct Propagate<R> {
    inner: R,
}

impl<R> Propagate<R> {
    /// Wraps `runtime`.
    pub fn new(runtime: R) -> Self {
        Self { inner: runtime }
    }

    /// The runtime underneath.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The runtime underneath.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl<R: Spawner> Spawner for Propagate<R> {
    type Task<T: Send + 'static> = R::Task<T>;

    forward!(provided Spawner);

    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> Self::Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future: WithValues<F::IntoFuture> =
            Values::current().scope_future(future.into_future());
        self.inner
            .spawn_with(metadata, self.layers().scope_future(future))
    }

    fn spawn_detached_with<F>(&self, metadata: Metadata, future: F)
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future: WithValues<F::IntoFuture> =
            Values::current().scope_future(future.into_future());
        self.inner
            .spawn_detached_with(metadata, self.layers().scope_future(future));
    }

    fn surround<T>(&self, f: impl FnOnce() -> T) -> T {
        self.inner.surround(f)
    }

    fn layers(&self) -> Layers {
        self.inner
            .layers()
            .and(|inner| AnyRuntime::new(Propagate { inner }))
    }

    #[inline]
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
impl<R: BlockOn + Spawner> BlockOn for Propagate<R> {
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = self.layers().scope_future(future.into_future());
        self.inner.try_block_on(future)
    }

    #[track_caller]
    fn block_on<F: IntoFuture>(&self, future: F) -> F::Output {
        let future = self.layers().scope_future(future.into_future());
        self.inner.block_on(future)
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        self.inner.block_in_place(f)
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl<R: Offload> Offload for Propagate<R> {
    type OffloadTask<T: Send + 'static> = R::OffloadTask<T>;

    forward!(provided Offload);

    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> Self::OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (values, layers) = (Values::current(), self.offload_layers());
        let closure = move || layers.scope(|| values.scope(f));
        self.inner.offload_with(metadata, closure)
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
        let (values, layers) = (Values::current(), self.offload_layers());
        let (inside, outside) = recoverable(f);
        let closure = move || layers.scope(|| values.scope(inside.take()));
        self.inner
            .try_offload_with(metadata, closure)
            .map_err(|refused| {
                let f = outside.take();
                refused.map(|_| f)
            })
    }

    fn offload_layers(&self) -> Layers {
        self.inner
            .offload_layers()
            .and(|inner| AnyRuntime::new(Propagate { inner }))
    }
}

forward!([R: Timer] Timer for Propagate<R> as R => |this| &this.inner);
forward!([R: Shutdown] Shutdown for Propagate<R> as R => |this| &this.inner);

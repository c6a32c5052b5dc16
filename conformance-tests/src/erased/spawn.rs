use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll},
};

use fourway_core::{
    Spawner, forward,
    implement::{Extensions, RuntimeId},
    layer::Layers,
    task::Metadata,
};

use super::{
    Value,
    runtime::ErasedRuntime,
    task::{DynTask, ErasedTask},
};

/// A [`Spawner`] without generics.
pub(super) trait DynSpawner {
    fn spawn_dyn(&self, metadata: Metadata, future: Spawned) -> Box<dyn DynTask>;
    fn spawn_detached_dyn(&self, metadata: Metadata, future: Spawned);
    fn surround_dyn(&self, f: Box<dyn FnOnce() + '_>);
    fn layers_dyn(&self) -> Layers;
    fn runtime_id_dyn(&self) -> Option<RuntimeId>;
    fn extensions_dyn(&self) -> Option<Extensions>;
}

impl<R: Spawner> DynSpawner for R {
    fn spawn_dyn(&self, metadata: Metadata, future: Spawned) -> Box<dyn DynTask> {
        Box::new(self.spawn_with(metadata, future))
    }

    fn spawn_detached_dyn(&self, metadata: Metadata, future: Spawned) {
        self.spawn_detached_with(metadata, future);
    }

    fn surround_dyn(&self, f: Box<dyn FnOnce() + '_>) {
        self.surround(f);
    }

    fn layers_dyn(&self) -> Layers {
        self.layers()
    }

    fn runtime_id_dyn(&self) -> Option<RuntimeId> {
        self.runtime_id()
    }

    fn extensions_dyn(&self) -> Option<Extensions> {
        self.extensions()
    }
}

/// A spawned future. It is destroyed when the runtime drops it, not in its last poll as within an
/// async block (JO-2, destroyed before the join).
pub(super) struct Spawned(Pin<Box<dyn DynFuture>>);

impl Future for Spawned {
    type Output = Value;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Value> {
        self.0.as_mut().poll_value(cx)
    }
}

/// A future whose output has no type.
trait DynFuture: Send {
    fn poll_value(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Value>;
}

impl<F: Future<Output: Send + 'static> + Send> DynFuture for F {
    fn poll_value(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Value> {
        self.poll(cx).map(|output| Box::new(output) as Value)
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl Spawner for ErasedRuntime {
    type Task<T: Send + 'static> = ErasedTask<T>;

    forward!(provided Spawner);

    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> ErasedTask<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = Spawned(Box::pin(future.into_future()));
        ErasedTask::new(self.0.spawn_dyn(metadata, future))
    }

    fn spawn_detached_with<F>(&self, metadata: Metadata, future: F)
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = Spawned(Box::pin(future.into_future()));
        self.0.spawn_detached_dyn(metadata, future);
    }

    fn surround<T>(&self, f: impl FnOnce() -> T) -> T {
        let mut output = None;
        self.0.surround_dyn(Box::new(|| output = Some(f())));
        output.expect("a runtime's `surround` calls the closure")
    }

    fn layers(&self) -> Layers {
        self.0.layers_dyn()
    }

    fn runtime_id(&self) -> Option<RuntimeId> {
        self.0.runtime_id_dyn()
    }

    fn extensions(&self) -> Option<Extensions> {
        self.0.extensions_dyn()
    }
}

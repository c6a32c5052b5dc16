//! Spans around work: [`Traced`].

use std::future::Future;

use fourway_core::{
    AnyRuntime, BlockOn, BlockOnError, Offload, Shutdown, Spawner, Timer, TryOffloadError, forward,
    implement::{Extensions, RuntimeId, recoverable},
    layer::Layers,
    task::Metadata,
};
use tracing::{Instrument, Span, debug_span};

/// A layer that puts each task, each offloaded closure and each `block_on` into a span.
///
/// | span | of | fields |
/// |---|---|---|
/// | `task` | a spawned future | `task.name`, `task.id`, `loc.file`, `loc.line` |
/// | `closure` | an offloaded closure | the same |
/// | `block_on` | a future that a thread blocks on | |
///
/// All have the target `fourway` and the level `DEBUG`, and are children of the span that is
/// current where the work is started. If they are filtered out, the work runs in that parent span,
/// so that no event loses its request.
///
/// A span is entered for each poll, and ends with the work, also if that is cancelled.
///
/// # Examples
///
/// ```
/// use fourway_core::{Runtime, Spawner, Task};
/// use fourway_interop::tracing::Traced;
///
/// fn example(rt: impl Runtime) {
///     let rt = Traced::new(rt);
///     // DEBUG task{task.name="indexer" task.id=1 loc.file="src/main.rs" loc.line=7}
///     rt.spawn_named("indexer", async { tracing::info!("begins") }).detach();
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Traced<R> {
    inner: R,
}

impl<R> Traced<R> {
    /// Wraps `runtime`.
    pub fn new(runtime: R) -> Self {
        Self { inner: runtime }
    }

    /// The runtime underneath.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// The runtime underneath.
    pub fn into_inner(self) -> R {
        self.inner
    }
}

macro_rules! span_of {
    ($name:literal, $metadata:expr) => {{
        let metadata = $metadata;
        or_current(debug_span!(
            target: "fourway",
            $name,
            task.name = metadata.name(),
            task.id = metadata.id().map(fourway_core::task::Id::get),
            loc.file = metadata.location().file(),
            loc.line = metadata.location().line(),
        ))
    }};
}

fn or_current(span: Span) -> Span {
    if span.is_disabled() {
        return Span::current();
    }
    span
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl<R: Spawner> Spawner for Traced<R> {
    type Task<T: Send + 'static> = R::Task<T>;

    forward!(provided Spawner);

    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> Self::Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = future.into_future().instrument(span_of!("task", &metadata));
        self.inner
            .spawn_with(metadata, self.layers().scope_future(future))
    }

    fn spawn_detached_with<F>(&self, metadata: Metadata, future: F)
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = future.into_future().instrument(span_of!("task", &metadata));
        self.inner
            .spawn_detached_with(metadata, self.layers().scope_future(future));
    }

    fn surround<T>(&self, f: impl FnOnce() -> T) -> T {
        self.inner.surround(f)
    }

    fn layers(&self) -> Layers {
        self.inner
            .layers()
            .and(|inner| AnyRuntime::new(Traced { inner }))
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
impl<R: BlockOn + Spawner> BlockOn for Traced<R> {
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = blocked_on(future.into_future());
        self.inner.try_block_on(self.layers().scope_future(future))
    }

    #[track_caller]
    fn block_on<F: IntoFuture>(&self, future: F) -> F::Output {
        let future = blocked_on(future.into_future());
        self.inner.block_on(self.layers().scope_future(future))
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        self.inner.block_in_place(f)
    }
}

fn blocked_on<F: Future>(future: F) -> tracing::instrument::Instrumented<F> {
    future.instrument(or_current(debug_span!(target: "fourway", "block_on")))
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl<R: Offload> Offload for Traced<R> {
    type OffloadTask<T: Send + 'static> = R::OffloadTask<T>;

    forward!(provided Offload);

    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> Self::OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let span = span_of!("closure", &metadata);
        let layers = self.offload_layers();
        let closure = move || layers.scope(|| span.in_scope(f));
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
        let span = span_of!("closure", &metadata);
        let (inside, outside) = recoverable(f);
        let layers = self.offload_layers();
        let closure = move || layers.scope(|| span.in_scope(inside.take()));
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
            .and(|inner| AnyRuntime::new(Traced { inner }))
    }
}

forward!([R: Timer] Timer for Traced<R> as R => |this| &this.inner);
forward!([R: Shutdown] Shutdown for Traced<R> as R => |this| &this.inner);

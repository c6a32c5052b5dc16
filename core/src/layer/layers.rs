use std::{
    cell::Cell, fmt, future::Future, marker::PhantomData, mem::ManuallyDrop, pin::Pin, sync::Arc,
};

use crate::{
    AnyRuntime,
    implement::{RuntimeId, runtime_id},
    scoped::scoped_future,
};

/// The layers around a bare runtime, and how to put them around a runtime again.
///
/// [`AnyRuntime::current`] starts from the runtime that has marked the thread. That is the bare
/// one, which does not know the layers through which the running work came. So each layer adds
/// itself here, and its work runs in the [`scope`](Self::scope) of the result.
///
/// A layer keeps no handle on the runtime in it, or the work would keep its own runtime
/// alive ([dropping a handle never blocks][SH-2]). It is given a runtime, and returns itself around
/// that.
///
/// A layer also passes on [`runtime_id`](crate::Spawner::runtime_id). Without it, blocking bodies
/// that run in place do not find the runtime as the current one, nor the layers ([the current
/// context is exact][CX-1]).
///
/// # Examples
///
/// ```
/// use fourway_core::{
///     AnyRuntime, BlockOn, Offload, Shutdown, Spawner, Timer, forward, implement::RuntimeId,
///     layer::Layers, task::Metadata,
/// };
/// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
///
/// /// Counts what is spawned, also by those who ask for the current runtime.
/// #[derive(Clone, Debug)]
/// struct Counted<R> {
///     inner: R,
///     count: Arc<AtomicUsize>,
/// }
///
/// impl<R: Spawner> Spawner for Counted<R> {
///     type Task<T: Send + 'static> = R::Task<T>;
///
///     fn spawn_with<F>(&self, metadata: Metadata, future: F) -> Self::Task<F::Output>
///     where
///         F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
///     {
///         self.count.fetch_add(1, Ordering::Relaxed);
///         let future = self.layers().scope_future(future.into_future());
///         self.inner.spawn_with(metadata, future)
///     }
///
///     fn layers(&self) -> Layers {
///         let count = self.count.clone();
///         self.inner.layers().and_with(move |inner| {
///             AnyRuntime::new(Counted { inner, count: count.clone() })
///         })
///     }
///
///     fn runtime_id(&self) -> Option<RuntimeId> {
///         self.inner.runtime_id()
///     }
/// }
///
/// forward!([R: BlockOn] BlockOn for Counted<R> as R => |this| &this.inner);
/// forward!([R: Offload] Offload for Counted<R> as R => |this| &this.inner);
/// forward!([R: Timer] Timer for Counted<R> as R => |this| &this.inner);
/// forward!([R: Shutdown] Shutdown for Counted<R> as R => |this| &this.inner);
/// ```
///
/// [SH-2]: crate::contract#SH-2
/// [CX-1]: crate::contract#CX-1
#[derive(Clone, Default)]
pub struct Layers(Around);

#[derive(Clone, Default)]
enum Around {
    #[default]
    Nothing,
    // The most common case: nothing is allocated for it.
    One(fn(AnyRuntime) -> AnyRuntime),
    More(Arc<dyn Fn(AnyRuntime) -> AnyRuntime + Send + Sync>),
}

impl Layers {
    /// One more layer, around these: a function that puts it around a runtime.
    #[must_use]
    pub fn and(self, layer: fn(AnyRuntime) -> AnyRuntime) -> Self {
        match self.0 {
            Around::Nothing => Self(Around::One(layer)),
            _ => self.and_with(layer),
        }
    }

    /// As [`and`](Self::and), for a layer that has something of its own. It allocates: a layer may
    /// keep the result.
    #[must_use]
    pub fn and_with(
        self,
        layer: impl Fn(AnyRuntime) -> AnyRuntime + Send + Sync + 'static,
    ) -> Self {
        Self(Around::More(match self.0 {
            Around::Nothing => Arc::new(layer),
            Around::One(first) => Arc::new(move |runtime| layer(first(runtime))),
            Around::More(first) => Arc::new(move |runtime| layer(first(runtime))),
        }))
    }

    /// The layers that the running work came through.
    #[must_use]
    pub fn current() -> Self {
        let entry = ENTRY.try_with(|entry| {
            let found = ManuallyDrop::into_inner(entry.take());
            entry.set(ManuallyDrop::new(found.clone()));
            found
        });
        match entry {
            // Another runtime's work may be running inside of that of a layer.
            Ok(entry) if entry.runtime == runtime_id() => entry.layers,
            _ => Self::default(),
        }
    }

    /// Puts these around a bare runtime.
    pub(crate) fn around(&self, runtime: AnyRuntime) -> AnyRuntime {
        match &self.0 {
            Around::Nothing => runtime,
            Around::One(layer) => layer(runtime),
            Around::More(layers) => layers(runtime),
        }
    }

    /// Is the runtime a bare one?
    #[must_use]
    pub fn are_none(&self) -> bool {
        matches!(self.0, Around::Nothing)
    }

    /// Calls `f`, which finds the current runtime with these around it.
    pub fn scope<T>(self, f: impl FnOnce() -> T) -> T {
        let _restore = self.enter();
        f()
    }

    /// Has `future` find the current runtime with these around it, whenever it is polled or
    /// dropped.
    pub fn scope_future<F: Future>(self, future: F) -> WithLayers<F> {
        WithLayers {
            future: Some(future),
            layers: self,
        }
    }

    fn enter(self) -> Restore {
        let entry = Entry {
            runtime: runtime_id(),
            layers: self,
        };
        Restore {
            previous: replace(entry),
            not_send: PhantomData,
        }
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Around::Nothing => "Layers::Nothing",
            Around::One(_) => "Layers::One",
            Around::More(_) => "Layers::More",
        })
    }
}

/// The layers of the work that a thread is running.
#[derive(Clone, Default)]
struct Entry {
    /// As the thread was marked at the time.
    runtime: Option<RuntimeId>,
    layers: Layers,
}

thread_local! {
    // Without a destructor, as the current values: see `values.rs`.
    static ENTRY: Cell<ManuallyDrop<Entry>> = const {
        Cell::new(ManuallyDrop::new(Entry {
            runtime: None,
            layers: Layers(Around::Nothing),
        }))
    };
}

fn replace(entry: Entry) -> Entry {
    // Where it can be gone, as in a model, there are no layers.
    ENTRY
        .try_with(|current| current.replace(ManuallyDrop::new(entry)))
        .map(ManuallyDrop::into_inner)
        .unwrap_or_default()
}

struct Restore {
    previous: Entry,
    // The entry belongs to this thread.
    not_send: PhantomData<*const ()>,
}

impl Drop for Restore {
    fn drop(&mut self) {
        // The old entry may be the last to hold a layer, so it is dropped after the exchange.
        let gone = replace(std::mem::take(&mut self.previous));
        drop(gone);
    }
}

scoped_future! {
    /// A future that finds the layers it came through. Made by [`Layers::scope_future`].
    WithLayers, layers: Layers => layers.clone().enter()
}

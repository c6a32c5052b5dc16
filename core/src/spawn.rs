//! Running futures in the background: [`Spawner`].

use alloc::borrow::Cow;
use core::future::IntoFuture;

use crate::{Task, task::Metadata};

/// Runs futures as tasks.
///
/// Users call [`spawn`](Self::spawn). Adapters and layers write
/// [`spawn_with`](Self::spawn_with), of which all other ways to spawn are made.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a runtime: it cannot spawn tasks",
    note = "a library takes `R: Runtime`; an application has one of `fourway`'s, for example `fourway::default_runtime()`. For an executor of your own, see `fourway-adapt`"
)]
pub trait Spawner {
    /// The handle of a task; natively the runtime's own, so that the
    /// abstraction costs no allocation.
    type Task<T: Send + 'static>: Task<T> + 'static;

    /// Starts `future` as a task and returns its handle.
    ///
    /// `future` may be anything that can be awaited, such as a [`Call`](crate::Call).
    /// ([`Call::spawn`](crate::Call::spawn) takes the shorter way: a blocking body goes straight to
    /// the pool, without a task that waits for it.)
    ///
    /// The task makes progress without the handle being polled ([runs without polling the
    /// handle][SP-1]). May be called from anywhere: a plain thread, a task of this or another
    /// runtime, an offloaded closure, a destructor, an unwinding thread; it never blocks
    /// and never polls `future` itself ([spawn from anywhere][SP-2]). The future runs on the
    /// runtime's threads, and there alone.
    ///
    /// Once the runtime is shut down, `future` is dropped, and the handle
    /// resolves to an error of which
    /// [`is_shutdown`](crate::JoinError::is_shutdown) is true ([spawn after the shutdown][SP-3]).
    ///
    /// Dropping the handle cancels the task ([drop cancels, detach does not][CA-1]).
    ///
    /// [SP-1]: crate::contract#SP-1
    /// [SP-2]: crate::contract#SP-2
    /// [SP-3]: crate::contract#SP-3
    /// [CA-1]: crate::contract#CA-1
    #[inline]
    #[track_caller]
    fn spawn<F>(&self, future: F) -> Self::Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        self.spawn_with(Metadata::caller(), future)
    }

    /// As [`spawn`](Self::spawn), with a name, which layers and
    /// [`JoinError`](crate::JoinError)s see.
    ///
    /// # Examples
    ///
    /// ```
    /// # use fourway_core::{Runtime, Spawner};
    /// # async fn example(rt: impl Runtime) {
    /// for shard in 0..8 {
    ///     let task = rt.spawn_named(format!("shard-{shard}"), async move { /* … */ });
    ///     if let Err(error) = task.await {
    ///         eprintln!("{error}"); // the task `shard-3` (#4, src/main.rs:9:19) panicked: …
    ///     }
    /// }
    /// # }
    /// ```
    #[track_caller]
    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Self::Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        self.spawn_with(Metadata::caller().named(name), future)
    }

    /// Starts `future` as the task that `metadata` describes. See [`spawn`](Self::spawn).
    ///
    /// # For adapters
    ///
    /// The handle keeps `metadata`, gives it out by [`Task::metadata`], and puts it into a join's
    /// error ([`JoinError::set_task`](crate::JoinError::set_task)).
    #[track_caller]
    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> Self::Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>;

    /// Starts `future` as a task that will not be joined.
    ///
    /// The same as `spawn(future).detach()`, but cheaper where making a handle has a cost.
    #[inline]
    #[track_caller]
    fn spawn_detached<F>(&self, future: F)
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        self.spawn_detached_with(Metadata::caller(), future);
    }

    /// Starts `future` as the task that `metadata` describes, which will not be joined.
    ///
    /// The same as `spawn_with(metadata, future).detach()`, which is the default. Adapters override
    /// it where making a handle has a cost.
    #[track_caller]
    fn spawn_detached_with<F>(&self, metadata: Metadata, future: F)
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        self.spawn_with(metadata, future).detach();
    }

    /// Calls `f` in the environment of the runtime's own threads, beyond fourway's context: on
    /// Tokio, with its handle as the current one.
    ///
    /// For closures that another runtime's pool runs, see
    /// [`Compose`](crate::Compose). Runs `f` on the calling thread; by default it does
    /// nothing else.
    fn surround<T>(&self, f: impl FnOnce() -> T) -> T {
        f()
    }

    /// The layers that this runtime consists of, around a bare one; none by default. For
    /// layers: see [`Layers`](crate::layer::Layers).
    #[cfg(feature = "std")]
    fn layers(&self) -> crate::layer::Layers {
        crate::layer::Layers::default()
    }

    /// The id under which the bare runtime is [registered](crate::implement::register); with the
    /// default, none, it is not found as the current one by a blocking body that runs in place
    /// ([the current context is exact][CX-1]). For adapters, and for layers, which pass it on.
    ///
    /// [CX-1]: crate::contract#CX-1
    #[cfg(feature = "std")]
    fn runtime_id(&self) -> Option<crate::implement::RuntimeId> {
        None
    }

    /// The state that other crates keep with this runtime; with the default, none, they do without.
    /// For adapters, and for crates that add a capability: see
    /// [`Extensions`](crate::implement::Extensions).
    #[cfg(feature = "std")]
    fn extensions(&self) -> Option<crate::implement::Extensions> {
        None
    }
}

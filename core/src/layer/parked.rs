use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    AbortHandle, AnyRuntime, BlockOn, BlockOnError, JoinError, Offload, ParkHooks, Shutdown,
    Spawner, Task, Timer, TryOffloadError, forward,
    implement::{Extensions, RuntimeId, recoverable},
    layer::Layers,
    task::Metadata,
};

/// Calls [`ParkHooks`] around the waits in `block_on`, in `.wait()` of calls on this handle
/// and of its tasks; also around those within its `block_in_place`.
///
/// For a program that holds a lock of its host wherever it uses this handle; see
/// [`ParkHooks`] for what is called when. Tasks and closures are passed on as they are: they
/// run on other threads, with no lock.
///
/// Inside of an [`AnyRuntime`](crate::AnyRuntime) the layer still works, except for `.wait()` of
/// spawned tasks, whose handles are `AnyRuntime`'s own. A [`scope`](ParkHooks::scope) covers those
/// too.
///
/// # Examples
///
/// A lock that a task needs while its owner waits for the task:
///
/// ```
/// use fourway_core::{BlockOn, Offload, ParkHooks, Runtime, layer::Parked};
/// use std::sync::{Condvar, Mutex, PoisonError};
///
/// /// A lock that is held from one call to another, as an interpreter's.
/// struct Gil(Mutex<bool>, Condvar);
///
/// impl Gil {
///     fn acquire(&self) {
///         let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
///         *self.1.wait_while(held, |held| *held).unwrap_or_else(PoisonError::into_inner) = true;
///     }
///
///     fn release(&self) {
///         *self.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
///         self.1.notify_one();
///     }
/// }
///
/// static GIL: Gil = Gil(Mutex::new(false), Condvar::new());
///
/// fn example(rt: impl Runtime) {
///     let rt = Parked::new(rt, ParkHooks::new(|| GIL.release(), |()| GIL.acquire()));
///     GIL.acquire();
///     // Without the hooks neither would go on.
///     let answer = rt.block_on(rt.offload(|| {
///         GIL.acquire();
///         GIL.release();
///         42
///     }));
///     GIL.release();
///     assert_eq!(answer.unwrap(), 42);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Parked<R> {
    inner: R,
    hooks: ParkHooks,
}

impl<R> Parked<R> {
    /// Wraps `runtime`.
    pub fn new(runtime: R, hooks: ParkHooks) -> Self {
        Self {
            inner: runtime,
            hooks,
        }
    }

    /// The runtime underneath.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The runtime underneath.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// The hooks.
    pub fn hooks(&self) -> &ParkHooks {
        &self.hooks
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl<R: BlockOn + Spawner> BlockOn for Parked<R> {
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = self.layers().scope_future(future.into_future());
        self.hooks.scope(|| self.inner.try_block_on(future))
    }

    #[track_caller]
    fn block_on<F: IntoFuture>(&self, future: F) -> F::Output {
        match self.try_block_on(future) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        self.inner.block_in_place(|| self.hooks.scope(f))
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl<R: Spawner> Spawner for Parked<R> {
    type Task<T: Send + 'static> = ParkedTask<R::Task<T>>;

    forward!(provided Spawner);

    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> Self::Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = self.layers().scope_future(future.into_future());
        ParkedTask::new(self.inner.spawn_with(metadata, future), &self.hooks)
    }

    fn spawn_detached_with<F>(&self, metadata: Metadata, future: F)
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = self.layers().scope_future(future.into_future());
        self.inner.spawn_detached_with(metadata, future);
    }

    fn surround<T>(&self, f: impl FnOnce() -> T) -> T {
        self.inner.surround(f)
    }

    fn layers(&self) -> Layers {
        let hooks = self.hooks.clone();
        self.inner
            .layers()
            .and_with(move |inner| AnyRuntime::new(Parked::new(inner, hooks.clone())))
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
impl<R: Offload> Offload for Parked<R> {
    type OffloadTask<T: Send + 'static> = ParkedTask<R::OffloadTask<T>>;

    forward!(provided Offload);

    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> Self::OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let layers = self.offload_layers();
        let task = self.inner.offload_with(metadata, move || layers.scope(f));
        ParkedTask::new(task, &self.hooks)
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
        let layers = self.offload_layers();
        let (inside, outside) = recoverable(f);
        let closure = move || layers.scope(inside.take());
        match self.inner.try_offload_with(metadata, closure) {
            Ok(task) => Ok(ParkedTask::new(task, &self.hooks)),
            Err(refused) => {
                let f = outside.take();
                Err(refused.map(|_| f))
            }
        }
    }

    fn offload_layers(&self) -> Layers {
        let hooks = self.hooks.clone();
        self.inner
            .offload_layers()
            .and_with(move |inner| AnyRuntime::new(Parked::new(inner, hooks.clone())))
    }
}

forward!([R: Timer] Timer for Parked<R> as R => |this| &this.inner);
forward!([R: Shutdown] Shutdown for Parked<R> as R => |this| &this.inner);

/// The handle of a task or closure of [`Parked`]: the hooks are called around the waits of
/// its [`wait`](Task::wait).
///
/// # Cancel safety
///
/// As [`Task`]: polling it borrows nothing, and dropping the handle cancels.
#[derive(Debug)]
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct ParkedTask<K> {
    task: K,
    hooks: ParkHooks,
}

impl<K> ParkedTask<K> {
    fn new(task: K, hooks: &ParkHooks) -> Self {
        Self {
            task,
            hooks: hooks.clone(),
        }
    }

    /// The handle underneath.
    pub fn into_inner(self) -> K {
        self.task
    }
}

impl<K: Future + Unpin> Future for ParkedTask<K> {
    type Output = K::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<K::Output> {
        Pin::new(&mut self.task).poll(cx)
    }
}

impl<T, K: Task<T>> Task<T> for ParkedTask<K> {
    fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    fn abort(&self) {
        self.task.abort();
    }

    fn abort_handle(&self) -> AbortHandle {
        self.task.abort_handle()
    }

    fn metadata(&self) -> Option<&Metadata> {
        self.task.metadata()
    }

    fn detach(self) {
        self.task.detach();
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }

    fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
        self.hooks.scope(|| self.task.try_wait())
    }
}

use std::{
    future::Future,
    time::{Duration, Instant},
};

use crate::{
    BlockOn, BlockOnError, Offload, Spawner, Timer, TryOffloadError,
    recover::recoverable,
    values::{Values, WithValues},
};

/// Makes the [`Values`] that are current where work is spawned or offloaded
/// current where it runs (CX-3).
///
/// `block_on` and `block_in_place` run on the calling thread, where the values
/// are current anyway.
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

impl<R: Spawner> Spawner for Propagate<R> {
    type Task<T: Send + 'static> = R::Task<T>;

    fn spawn<F>(&self, future: F) -> Self::Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let future: WithValues<F> = Values::current().scope_future(future);
        self.inner.spawn(future)
    }
}

impl<R: BlockOn> BlockOn for Propagate<R> {
    fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, BlockOnError> {
        self.inner.try_block_on(future)
    }

    #[track_caller]
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.inner.block_on(future)
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        self.inner.block_in_place(f)
    }
}

impl<R: Offload> Offload for Propagate<R> {
    type OffloadTask<T: Send + 'static> = R::OffloadTask<T>;

    fn offload<F, T>(&self, f: F) -> Self::OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let values = Values::current();
        self.inner.offload(move || values.scope(f))
    }

    fn try_offload<F, T>(&self, f: F) -> Result<Self::OffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let values = Values::current();
        let (inside, outside) = recoverable(f);
        let closure = move || values.scope(inside.take());
        self.inner.try_offload(closure).map_err(|refused| {
            let f = outside.take();
            refused.map(|_| f)
        })
    }
}

impl<R: Timer> Timer for Propagate<R> {
    type Sleep = R::Sleep;

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.inner.sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Self::Sleep {
        self.inner.sleep_until(deadline)
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }
}

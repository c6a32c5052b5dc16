//! The traits for references: a runtime that lives long enough need not be
//! cloned.
//!
//! A `&'static R` is a [`Runtime`](crate::Runtime) of its own. A
//! [`Call`](crate::Call) keeps a clone of its runtime; for a reference that is a
//! copy, where a handle would count references up and down.

use core::{future::Future, time::Duration};
#[cfg(feature = "std")]
use std::time::Instant;

use crate::{
    BlockOn, BlockOnError, Offload, Shutdown, ShutdownError, ShutdownReport, Spawner, Timer,
    TryOffloadError,
};

impl<R: Spawner> Spawner for &R {
    type Task<T: Send + 'static> = R::Task<T>;

    fn spawn<F>(&self, future: F) -> Self::Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        R::spawn(self, future)
    }

    fn spawn_detached<F>(&self, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        R::spawn_detached(self, future);
    }

    fn surround<T>(&self, f: impl FnOnce() -> T) -> T {
        R::surround(self, f)
    }
}

impl<R: BlockOn> BlockOn for &R {
    #[inline]
    fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, BlockOnError> {
        R::try_block_on(self, future)
    }

    #[track_caller]
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        R::block_on(self, future)
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        R::block_in_place(self, f)
    }
}

impl<R: Offload> Offload for &R {
    type OffloadTask<T: Send + 'static> = R::OffloadTask<T>;

    fn offload<F, T>(&self, f: F) -> Self::OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        R::offload(self, f)
    }

    fn try_offload<F, T>(&self, f: F) -> Result<Self::OffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        R::try_offload(self, f)
    }
}

impl<R: Timer> Timer for &R {
    type Sleep = R::Sleep;

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        R::sleep(self, duration)
    }

    #[cfg(feature = "std")]
    fn sleep_until(&self, deadline: Instant) -> Self::Sleep {
        R::sleep_until(self, deadline)
    }

    #[cfg(feature = "std")]
    fn now(&self) -> Instant {
        R::now(self)
    }
}

impl<R: Shutdown> Shutdown for &R {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        R::shutdown(self, timeout)
    }
}

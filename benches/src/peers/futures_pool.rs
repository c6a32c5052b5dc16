use std::{future::Future, io};

use futures_executor::ThreadPool;
use futures_util::{future::RemoteHandle, task::SpawnExt};

use super::{Started, Tasks, WORKERS};

/// The thread pool of `futures`, with `block_on` of the same crate.
#[derive(Clone, Debug)]
pub(crate) struct FuturesPool(ThreadPool);

pub(crate) fn futures_pool() -> io::Result<Started<FuturesPool>> {
    let pool = ThreadPool::builder().pool_size(WORKERS).create()?;
    Ok(Started::new(
        "futures ThreadPool",
        false,
        FuturesPool(pool),
        (),
    ))
}

impl Tasks for FuturesPool {
    type Join<T: Send + 'static> = RemoteHandle<T>;

    #[inline]
    fn spawn<F>(&self, future: F) -> Self::Join<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let spawned = self.0.spawn_with_handle(future);
        spawned.expect("the pool is not shut down")
    }

    #[inline]
    fn output<T: Send + 'static>(joined: T) -> T {
        joined
    }

    #[inline]
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        futures_executor::block_on(future)
    }
}

use std::future::IntoFuture;

use fourway_adapt::{self as adapt};
use fourway_core::{
    BlockOn, BlockOnError,
    context::{self, Context},
    implement,
};

use crate::{StdThread, worker};

impl BlockOn for StdThread {
    #[inline]
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = future.into_future();
        adapt::block_on(future, Some(self.id()))
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        if context::current() != Context::Async {
            return Ok(f());
        }
        if implement::runtime_id() != Some(self.id()) {
            // Another runtime's thread: it has tasks of its own waiting, which
            // our workers cannot run.
            return Err(BlockOnError::unsupported());
        }
        // On a worker, another thread has to take over. The root future of a `block_on` blocks only
        // itself, and so does a thread from which another thread has taken over already.
        if worker::is_worker_of(&self.shared.executor) {
            let started = self.shared.executor.stand_in();
            started.map_err(|_| BlockOnError::unsupported())?;
        }
        let _mark = implement::enter(Context::Blocking, Some(self.id()));
        Ok(f())
    }
}

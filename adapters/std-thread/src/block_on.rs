use std::future::Future;

use fourway_core::{
    BlockOn, BlockOnError, adapt,
    context::{self, Context},
};

use crate::{StdThread, executor};

impl BlockOn for StdThread {
    #[inline]
    fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, BlockOnError> {
        adapt::block_on(future, Some(self.id()))
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        if context::current() != Context::Async {
            return Ok(f());
        }
        if context::runtime_id() != Some(self.id()) {
            // Another runtime's thread: it has tasks of its own waiting, which
            // our workers cannot run.
            return Err(BlockOnError::unsupported());
        }
        // On a worker, someone has to take over. The root future of a `block_on`
        // blocks nobody but itself.
        let _stand_in = if executor::on_worker() {
            Some(
                self.shared
                    .executor
                    .stand_in()
                    .map_err(|_| BlockOnError::unsupported())?,
            )
        } else {
            None
        };
        let _mark = context::enter(Context::Blocking, Some(self.id()));
        Ok(f())
    }
}

//! A fourway adapter for the thread pool of the `futures` crates, as a third party would write it.
//!
//! [`Execute`] is all there is to write; [`Adapter`] makes a whole runtime of it.
//! `docs/ADAPTERS.md` goes through this crate step by step, and the README says
//! what the conformance suite found.
//!
//! ```
//! use fourway_core::{BlockOn, Offload, Spawner};
//!
//! let rt = futures_pool::runtime()?;
//! let (task, file) = (rt.spawn(async { 1 }), rt.offload(|| 2));
//! let sum = rt.block_on(async { task.await.unwrap() + file.await.unwrap() });
//! assert_eq!(sum, 3);
//! # std::io::Result::Ok(())
//! ```

#![forbid(unsafe_code)]

use std::io;

use fourway_adapt::{Adapter, BoxFuture, Execute};
use futures_executor::ThreadPool;

/// The executor: a handle on a thread pool.
#[derive(Clone, Debug)]
pub struct FuturesPool(pub ThreadPool);

impl Execute for FuturesPool {
    fn execute(&self, future: BoxFuture) {
        self.0.spawn_ok(future);
    }
}

/// A runtime on a pool of its own, with a thread for each core.
///
/// For a pool that exists already, or other limits on offloading, see
/// [`Adapter::builder`].
///
/// # Errors
///
/// The system's error if it cannot start a thread.
pub fn runtime() -> io::Result<Adapter<FuturesPool>> {
    let pool = ThreadPool::new()?;
    Adapter::builder(FuturesPool(pool)).build()
}

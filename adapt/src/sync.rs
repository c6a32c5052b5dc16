//! Where the crate's locks, atomics, threads and clock come from: the standard
//! library; or, under `--cfg fourway_shuttle`, the model checker's, by way of the core.
//!
//! ```text
//! RUSTFLAGS="--cfg fourway_shuttle" \
//!     cargo test -p fourway-adapt --features async-task --release --lib shuttle
//! ```

#[cfg(not(fourway_shuttle))]
pub(crate) use {
    std::{
        sync::{Condvar, Mutex, MutexGuard, OnceLock, atomic},
        thread, thread_local,
    },
    system::now,
};

#[cfg(fourway_shuttle)]
pub(crate) use fourway_core::sync::*;

#[cfg(not(fourway_shuttle))]
mod system {
    use std::time::Instant;

    /// The time.
    #[inline]
    pub(crate) fn now() -> Instant {
        Instant::now()
    }
}

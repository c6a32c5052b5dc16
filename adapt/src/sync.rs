//! Where the crate's locks, atomics, threads and clock come from: the standard
//! library; or, under `--cfg fourway_shuttle` and `--cfg fourway_loom`, a model checker's, by
//! way of the core.
//!
//! ```text
//! RUSTFLAGS="--cfg fourway_shuttle" \
//!     cargo test -p fourway-adapt --features async-task --release --lib shuttle
//! RUSTFLAGS="--cfg fourway_loom" \
//!     cargo test -p fourway-adapt --release --lib loom
//! ```

#[cfg(not(any(fourway_shuttle, fourway_loom)))]
pub(crate) use {
    std::{
        sync::{Condvar, Mutex, MutexGuard, OnceLock, atomic},
        thread, thread_local,
    },
    system::now,
};

#[cfg(any(fourway_shuttle, fourway_loom))]
pub(crate) use fourway_core::sync::*;

#[cfg(not(any(fourway_shuttle, fourway_loom)))]
mod system {
    use std::time::Instant;

    /// The time.
    #[inline]
    pub(crate) fn now() -> Instant {
        Instant::now()
    }
}

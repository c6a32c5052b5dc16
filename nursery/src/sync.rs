//! Where the crate's locks and atomics come from: the standard library; or, under
//! `--cfg fourway_shuttle` and `--cfg fourway_loom`, a model checker's, by way of the core.
//!
//! ```text
//! RUSTFLAGS="--cfg fourway_shuttle" cargo test -p fourway-nursery --release --lib shuttle
//! RUSTFLAGS="--cfg fourway_loom" cargo test -p fourway-nursery --release --lib loom
//! ```

use std::sync::PoisonError;

#[cfg(not(any(fourway_shuttle, fourway_loom)))]
pub(crate) use std::{
    sync::{Mutex, MutexGuard, atomic},
    thread_local,
};

#[cfg(any(fourway_shuttle, fourway_loom))]
pub(crate) use fourway_core::sync::{Mutex, MutexGuard, atomic, thread_local};

/// Locks. No foreign code runs under any of this crate's locks, so that nothing can poison one.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

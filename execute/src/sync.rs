//! Where the crate's locks come from: the standard library; or, under `--cfg fourway_shuttle`,
//! the model checker's, by way of the core.
//!
//! ```text
//! RUSTFLAGS="--cfg fourway_shuttle" cargo test -p fourway-execute --release --lib shuttle
//! ```

use std::sync::PoisonError;

#[cfg(not(fourway_shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(fourway_shuttle)]
pub(crate) use fourway_core::sync::{Mutex, MutexGuard};

/// Locks. No foreign code runs under this crate's locks, so none can be poisoned.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

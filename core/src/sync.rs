//! Where the crate's locks, atomics, threads and clock come from: the standard
//! library; or, under `--cfg fourway_shuttle`, a model checker that decides which
//! thread runs at each of their operations.
//!
//! ```text
//! RUSTFLAGS="--cfg fourway_shuttle" \
//!     cargo test -p fourway-adapt --features async-task --release --lib shuttle
//! ```
//!
//! Whatever synchronises threads takes its parts from here. What is left to the
//! standard library, and why that is right under the model checker too:
//!
//! * `Arc` and `Weak`: their counts are not looked at to synchronise, but for the
//!   cached parker, which belongs to one thread.
//! * Locks that are held for a few instructions, with none of the operations
//!   above among them (the registry of runtimes, the panics of destructors).
//!   A model's threads all run on one thread of the system and change only at
//!   the operations above, so that these locks are never contended.

#[cfg(fourway_shuttle)]
mod modelled;

#[cfg(fourway_shuttle)]
pub use modelled::*;

#[cfg(not(fourway_shuttle))]
pub(crate) use {
    std::{
        sync::{Condvar, Mutex, MutexGuard, atomic},
        thread, thread_local,
    },
    system::now,
};

#[cfg(not(fourway_shuttle))]
mod system {
    use std::time::Instant;

    /// The time.
    #[inline]
    pub(crate) fn now() -> Instant {
        Instant::now()
    }
}

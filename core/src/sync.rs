//! Where the crate's locks, atomics, threads and clock come from: the standard
//! library; or, when models are checked, a checker that decides which thread runs
//! at each of their operations.
//!
//! | configuration | checker | for |
//! |---|---|---|
//! | `--cfg fourway_shuttle` | shuttle: many random schedules | whole programs |
//! | `--cfg fourway_loom` | loom: all schedules with few preemptions, and what the orderings allow | small models of orderings and fences |
//!
//! ```text
//! RUSTFLAGS="--cfg fourway_shuttle" \
//!     cargo test -p fourway-adapt --features async-task --release --lib shuttle
//! RUSTFLAGS="--cfg fourway_loom" \
//!     cargo test -p fourway-adapt --release --lib loom
//! ```
//!
//! All synchronisation of threads takes its parts from here. The parts below are still the standard
//! library's, which is right under the model checkers too:
//!
//! * `Arc` and `Weak`: no code synchronises by their counts, except for the cached parker, which
//!   belongs to one thread, and the check whether work has kept its values or token
//!   ([`implement::are_unshared`](crate::implement::are_unshared)).
//! * Locks that are held for a few instructions, with none of the operations
//!   above among them (the registry of runtimes, the panics of destructors).
//!   A model's threads all run on one thread of the system and change only at
//!   the operations above, so that these locks are never contended.

#![cfg_attr(
    any(fourway_shuttle, fourway_loom),
    allow(
        missing_docs,
        missing_debug_implementations,
        clippy::missing_errors_doc,
        clippy::missing_panics_doc,
        reason = "stands in for the standard library in our own models, and is nobody's API"
    )
)]

#[cfg(all(fourway_loom, not(fourway_shuttle)))]
mod loom;
#[cfg(any(fourway_shuttle, fourway_loom))]
mod process;
#[cfg(fourway_shuttle)]
mod shuttle;

#[cfg(all(fourway_loom, not(fourway_shuttle)))]
pub use loom::*;
#[cfg(fourway_shuttle)]
pub use shuttle::*;

#[cfg(not(any(fourway_shuttle, fourway_loom)))]
pub(crate) use {
    std::{
        sync::{Condvar, Mutex, MutexGuard, atomic},
        thread, thread_local,
    },
    system::now,
};

#[cfg(not(any(fourway_shuttle, fourway_loom)))]
mod system {
    use std::time::Instant;

    /// The time.
    #[inline]
    pub(crate) fn now() -> Instant {
        Instant::now()
    }
}

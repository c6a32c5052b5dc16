//! Where the crate's locks, atomics, threads and clock come from: the standard
//! library; or, when models are checked, a checker that decides which thread runs
//! at each of their operations.
//!
//! | configuration | checker | for |
//! |---|---|---|
//! | `--cfg fourway_shuttle` | shuttle: many random schedules | the whole runtime |
//! | `--cfg fourway_loom` | loom: all schedules, and what the orderings allow | the states of one task, idling |
//!
//! ```text
//! RUSTFLAGS="--cfg fourway_shuttle" \
//!     cargo test -p fourway-std-thread --release --lib shuttle
//! RUSTFLAGS="--cfg fourway_loom" \
//!     cargo test -p fourway-std-thread --release --lib loom
//! ```
//!
//! Both come by way of the core; `Arc` is the standard library's in all cases.

#[cfg(not(any(fourway_shuttle, fourway_loom)))]
pub(crate) use {
    std::{
        sync::{Condvar, Mutex, MutexGuard, atomic},
        thread, thread_local,
    },
    system::now,
};

#[cfg(any(fourway_shuttle, fourway_loom))]
pub(crate) use fourway_core::sync::{
    Condvar, Mutex, MutexGuard, atomic, now, thread, thread_local,
};

/// A fence between two `SeqCst` accesses of different atomics, whose order other threads must see.
/// The language promises that without it; but loom treats such accesses as `AcqRel`, and knows
/// `SeqCst` fences only.
#[inline]
pub(crate) fn in_order() {
    #[cfg(fourway_loom)]
    atomic::fence(atomic::Ordering::SeqCst);
}

/// Memory that is shared by an agreement of its users', which loom checks.
pub(crate) mod cell {
    #[cfg(all(fourway_loom, not(fourway_shuttle)))]
    pub(crate) use loom::cell::UnsafeCell;

    #[cfg(any(fourway_shuttle, not(fourway_loom)))]
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    #[cfg(any(fourway_shuttle, not(fourway_loom)))]
    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(not(any(fourway_shuttle, fourway_loom)))]
mod system {
    use std::time::Instant;

    /// The time.
    #[inline]
    pub(crate) fn now() -> Instant {
        Instant::now()
    }
}

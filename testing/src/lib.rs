//! Helpers for the tests of several crates: runtimes, gates, counters, soaks, forked children, an
//! allocator that counts.
//!
//! For tests: errors panic.

#![allow(
    clippy::missing_panics_doc,
    reason = "to panic is how a test says that something is wrong"
)]

mod allocations;
#[cfg(feature = "browser")]
pub mod browser;
mod columns;
mod counter;
mod examples;
#[cfg(unix)]
mod fork;
mod gate;
#[cfg(target_os = "linux")]
mod resources;
mod runtimes;
mod soak;
mod waiting;

pub use allocations::{Counting, drive, least, suspend_once};
pub use counter::{Counter, OnDrop};
pub use examples::{Examples, in_time, lines_of};
#[cfg(unix)]
pub use fork::{forked, told_by_a_child};
pub use gate::Gate;
#[cfg(target_os = "linux")]
pub use resources::Resources;
pub use runtimes::{
    any, any_current_thread, any_smol, any_tokio, each, runtimes, smol, std_thread, tokio,
    tokio_current_thread,
};
pub use soak::{Random, soak};
pub use waiting::{AGES, eventually, panic_quietly, poll_once, run};

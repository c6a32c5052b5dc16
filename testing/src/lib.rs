//! Helpers for the tests of several crates: runtimes, gates and counters.
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
mod gate;
mod runtimes;
mod waiting;

pub use allocations::Counting;
pub use counter::{Counter, OnDrop};
pub use examples::{Examples, in_time, lines_of};
pub use gate::Gate;
pub use runtimes::{
    any, any_current_thread, any_smol, any_tokio, each, runtimes, smol, std_thread, tokio,
    tokio_current_thread,
};
pub use waiting::{AGES, eventually, panic_quietly, poll_once, run};

//! The tests of the parts, in one binary.
//!
//! Beside it are those that need a process for themselves: what the pool has allocated, how many
//! threads there are, and the soak, which ends the process if it stands still.

mod auto_traits;
#[cfg(target_os = "linux")]
mod growth;
mod panicking_wakers;
mod pool;
mod smoke;

//! The adapter's tests, in one binary.
//!
//! Beside it are the contract's cases, the soak, which ends the process if it stands still, and a
//! process without threads.

mod panicking_wakers;
mod threads;
mod wakers_that_block;

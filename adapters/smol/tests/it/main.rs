//! The adapter's tests, in one binary: each of its own would link smol once more.
//!
//! Beside it are the contract's cases, and the count of allocations, which needs a process for
//! itself.

mod async_task;
mod nested;
mod shutdown;
mod threads;
mod timer;

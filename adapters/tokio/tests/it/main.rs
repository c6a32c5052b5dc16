//! The adapter's tests, in one binary: each of its own would link Tokio once more.
//!
//! Beside it are the contract's cases, and the count of allocations, which needs a process for
//! itself.

mod compose;
mod foreign;
mod full_pool;
mod io;
mod nested;
mod thread_locals;
mod threads;
mod timer;
mod user_code;

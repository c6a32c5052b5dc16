//! The facade's tests, in one binary: each of its own would link every runtime once more.
//!
//! Beside it are those that need a process for themselves: the default runtime, forking, and the
//! number of threads.
#![cfg(any(feature = "std-thread", feature = "tokio", feature = "smol"))]

#[cfg(feature = "std-thread")]
mod ambient;
#[cfg(all(feature = "std-thread", feature = "tokio", feature = "smol"))]
mod auto_traits;
#[cfg(feature = "std-thread")]
mod calls;
#[cfg(feature = "std-thread")]
mod calls_together;
#[cfg(feature = "std-thread")]
mod cancel;
#[cfg(feature = "std-thread")]
mod conversions;
#[cfg(feature = "std-thread")]
mod layers;
mod park_hooks;
#[cfg(feature = "std-thread")]
mod programs;
#[cfg(all(feature = "std-thread", feature = "tokio"))]
mod shutdown;
#[cfg(feature = "std-thread")]
mod support;
#[cfg(feature = "std-thread")]
mod thread_locals;
mod thread_names;
#[cfg(feature = "tokio")]
mod tokio_app;

//! The fourway adapter for plain threads.
//!
//! [`StdThread`] is a whole runtime on the standard library and `crossbeam-deque`:
//! worker threads that take tasks from each other, an elastic pool for closures that
//! may block, one for those that compute, and a thread for timers. Sockets come from `fourway-net`,
//! for which it has a reactor (the feature `reactor`). Other sockets that work on every executor
//! (such as `async-io`'s) work here too.
//!
//! ```
//! use fourway_core::{BlockOn, Offload, Spawner};
//! use fourway_std_thread::StdThread;
//!
//! let rt = StdThread::builder().worker_threads(2).build()?;
//! let sum = rt.block_on(async {
//!     let task = rt.spawn(async { 1 });
//!     let file = rt.offload(|| 2);
//!     task.await.unwrap() + file.await.unwrap()
//! });
//! assert_eq!(sum, 3);
//! # std::io::Result::Ok(())
//! ```
//!
//! | what | where it runs |
//! |---|---|
//! | tasks | worker threads, started with the runtime |
//! | `block_on` | the calling thread |
//! | closures | pool threads, started when needed |
//! | closures that [compute](Compute) | other pool threads, as many as there are processors |
//! | wakers of timers | the timer thread, started with the first timer |
//! | wakers of sockets | worker threads: one of those that sleep waits in the poller |
//!
//! # Sleeping
//!
//! Threads that have nothing to do sleep. Before that they look around for a moment, 50 µs
//! at most, if the last waits were short; with work every millisecond or less often
//! they do not, nor on a machine with one processor. An idle runtime uses no time.
//!
//! # Dropping
//!
//! A [`StdThread`] is a handle; with the last one the runtime shuts down without
//! waiting: suspended futures are destroyed on the worker threads, queued
//! closures dropped, and the threads end ([dropping a handle never
//! blocks](fourway_core::contract#SH-2)). To wait, use
//! [`Shutdown::shutdown`](fourway_core::Shutdown::shutdown).
//!
//! # Forking
//!
//! In a forked child the runtime's threads are not there. Work that is handed to it, and
//! handles from before the fork, give [`is_forked`](fourway_core::JoinError::is_forked) at
//! once; `block_on` and timers work; dropping it does nothing ([forked
//! children](fourway_core::contract#FK-1)). A child that is forked by a task or a closure ends,
//! with exit code 0, when that returns.

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod block_on;
mod builder;
mod cell;
mod compute;
mod executor;
mod idle;
mod offload;
mod poller;
mod queue;
#[cfg(feature = "reactor")]
#[cfg_attr(docsrs, doc(cfg(feature = "reactor")))]
pub mod reactor;
mod registry;
mod runtime;
mod shutdown;
mod spawn;
mod sync;
mod task;
mod timer;
mod worker;

#[cfg(all(test, fourway_loom))]
mod loom_models;
#[cfg(all(test, any(fourway_loom, fourway_shuttle), feature = "reactor"))]
mod model_poller;
#[cfg(all(test, fourway_loom, feature = "reactor"))]
mod poller_models;
#[cfg(all(test, fourway_shuttle, feature = "reactor"))]
mod reactor_models;
#[cfg(all(test, fourway_shuttle))]
mod shuttle_models;

pub use builder::Builder;
pub use compute::Compute;
pub use fourway_adapt::{pool::OffloadTask, timer::Sleep};
pub use runtime::StdThread;
pub use task::Task;

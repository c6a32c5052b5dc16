//! Building blocks for adapters.
//!
//! There are two ways to write an adapter.
//!
//! **In ten lines.** Whoever can run a boxed future implements [`Execute`] and
//! wraps it in an [`Adapter`]; blocking, offloading, timers, handles, panics and
//! cancellation come from here, and keep the contract.
//!
//! ```
//! use fourway_core::adapt::{Adapter, BoxFuture, Execute};
//! use fourway_core::{BlockOn, Spawner};
//!
//! #[derive(Clone)]
//! struct ThreadEach;
//!
//! impl Execute for ThreadEach {
//!     fn execute(&self, future: BoxFuture) {
//!         std::thread::spawn(move || fourway_core::adapt::run(future));
//!     }
//! }
//!
//! let rt = Adapter::new(ThreadEach);
//! let four = rt.block_on(async { rt.spawn(async { 2 + 2 }).await });
//! assert_eq!(four.unwrap(), 4);
//! ```
//!
//! **Natively.** Whoever wants the runtime's own handles, and no allocation
//! beyond the runtime's own, implements [`Spawner`](crate::Spawner),
//! [`BlockOn`](crate::BlockOn), [`Offload`](crate::Offload) and
//! [`Timer`](crate::Timer), from these parts:
//!
//! | part | keeps the rules on |
//! |---|---|
//! | [`Contain`] around each spawned future | panics, destruction, context |
//! | [`block_on`], or [`Root`] inside a native one | blocking, slot lending |
//! | [`pool::Pool`] over any source of threads | offloading |
//! | [`timer::Timers`] | time |
//! | [`Slot`] | handing a result to its joiner, for executors with task cells of their own |
//! | [`join::task`] | joining and cancelling, for executors without handles |
//! | `async_task::spawn` (feature `async-task`) | the same, over `async_task::Task` |

#[cfg(feature = "async-task")]
#[cfg_attr(docsrs, doc(cfg(feature = "async-task")))]
pub mod async_task;
mod contain;
mod execute;
pub mod join;
mod park;
pub mod pool;
mod slot;
pub mod spin;
pub mod timer;

pub use contain::{
    Contain, OnDropPanic, Outcome, Rethrow, destroy_contained, discard, poll_contained,
};
pub use execute::{Adapter, AdapterBuilder, BoxFuture, Execute};
pub use park::{Root, block_on, run, wakes_a_thread};
pub use slot::Slot;

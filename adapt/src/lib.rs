//! Building blocks for adapters.
//!
//! There are two ways to write an adapter.
//!
//! **In ten lines.** An executor that can run a boxed future implements [`Execute`], and an
//! [`Adapter`] wraps it. Blocking, offloading, timers, handles, panics and cancellation come from
//! here, and keep the contract.
//!
//! ```
//! use fourway_adapt::{Adapter, BoxFuture, Execute};
//! use fourway_core::{BlockOn, Spawner};
//!
//! #[derive(Clone)]
//! struct ThreadEach;
//!
//! impl Execute for ThreadEach {
//!     fn execute(&self, future: BoxFuture) {
//!         std::thread::spawn(move || fourway_adapt::run(future));
//!     }
//! }
//!
//! let rt = Adapter::new(ThreadEach);
//! let four = rt.block_on(async { rt.spawn(async { 2 + 2 }).await });
//! assert_eq!(four.unwrap(), 4);
//! ```
//!
//! **Natively.** An adapter with the runtime's own handles, and no allocation beyond the runtime's
//! own, implements [`Spawner`](fourway_core::Spawner), [`BlockOn`](fourway_core::BlockOn),
//! [`Offload`](fourway_core::Offload) and [`Timer`](fourway_core::Timer), from these parts:
//!
//! | part | keeps the rules on |
//! |---|---|
//! | [`Contain`] around each spawned future | panics, destruction, context |
//! | [`block_on`], or [`Root`] inside a native one | blocking, slot lending |
//! | [`pool::Pool`] over any source of threads | offloading |
//! | [`timer::Timers`] | time |
//! | [`Slot`] | handing a result to its joiner, for executors with task cells of their own |
//! | [`KeptWaker`] | waits for what hardly ever happens, beside others |
//! | [`WakerSlot`] | wakers for a foreign driver, which a hand-made one must not unwind |
//! | [`Parking`] around each wait that is not one of these | hooks around waits |
//! | [`fork`] | forked children |
//! | [`ThreadGroup`] | own threads that shutdown waits for |
//! | [`ThreadHooks`] | the user's hooks on each thread |
//! | [`join::task`] | joining and cancelling, for executors without handles |
//! | `async_task::spawn` (feature `async-task`) | the same, over `async_task::Task` |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

#[cfg(feature = "async-task")]
#[cfg_attr(docsrs, doc(cfg(feature = "async-task")))]
pub mod async_task;
mod execute;
pub mod fork;
mod kept_waker;
#[cfg(all(test, fourway_loom, not(fourway_shuttle)))]
mod loom_models;
mod park;
pub mod pool;
#[cfg(all(test, fourway_shuttle))]
mod shuttle_models;
pub mod spin;
mod stack_size;
mod sync;
mod thread_group;
mod thread_hooks;
mod thread_name;
pub mod timer;
mod waker_slot;
mod worker_threads;

pub use execute::{Adapter, AdapterBuilder, Execute};
pub use fourway_core::implement::{
    BoxFuture, Contain, OnDropPanic, Outcome, Parking, Rethrow, Slot, destroy_contained, discard,
    join, later, poll_contained, refuse, wake,
};
pub use kept_waker::KeptWaker;
pub use park::{Root, block_on, run, wakes_a_thread};
pub use stack_size::check_stack_size;
pub use thread_group::ThreadGroup;
pub use thread_hooks::ThreadHooks;
pub use thread_name::{check_thread_name, thread_name};
pub use waker_slot::{WakerSlot, declare_harmless, is_harmless};
pub use worker_threads::check_worker_threads;

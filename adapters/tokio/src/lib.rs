//! The fourway adapter for Tokio.
//!
//! [`Tokio`] is a handle on a Tokio runtime that keeps fourway's contract. It comes
//! from a runtime you have ([`Tokio::from_runtime`], [`Tokio::from_handle`]), from
//! the one you are in ([`Tokio::current`]), or from a [builder](Tokio::builder).
//!
//! ```
//! use fourway_core::{BlockOn, Offload, Spawner};
//! use fourway_tokio::Tokio;
//!
//! let rt = Tokio::builder().worker_threads(2).build()?;
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
//! | tasks | Tokio's workers; with one thread, the driver's |
//! | `block_on` | the calling thread |
//! | closures | Tokio's blocking threads (`spawn_blocking`), where `Handle::current()` works |
//! | wakers of timers | Tokio's time driver, on a worker |
//!
//! # What differs by flavour and origin
//!
//! | | multi-thread | current-thread, owned | current-thread, foreign handle |
//! |---|---|---|---|
//! | tasks and timers run on | its workers | a thread of its own | the thread in that runtime's `block_on` |
//! | nobody drives it | | | tasks wait; `try_block_on` gives [`is_not_driven`] |
//! | `block_in_place` in a task | works | [`is_unsupported`] | [`is_unsupported`] |
//! | `shutdown` | works if owned | works | [`is_not_owned`] |
//!
//! A task that can never be woken again ([lost tasks are destroyed](fourway_core::contract#WA-3))
//! is destroyed when the runtime shuts down and not before: Tokio keeps a list of its tasks.
//!
//! # Raw Tokio code
//!
//! `block_on` is refused inside raw `tokio::spawn`ed tasks, `#[tokio::main]` and
//! local sets too ([no blocking in async code](fourway_core::contract#BL-2)). They are recognised
//! by Tokio's cooperative budget, which is finite exactly while Tokio polls a task or a root
//! future; a raw task wrapped in `tokio::task::unconstrained` has none, and is not recognised.
//! Inside raw `spawn_blocking`, raw `block_in_place` and under a mere `EnterGuard`, blocking
//! works.
//!
//! # Dropping
//!
//! Dropping the last handle shuts an owned runtime down in the background ([dropping a handle never
//! blocks](fourway_core::contract#SH-2)), also in async code. Handles on foreign runtimes leave the
//! runtimes alone.
//!
//! # Forking
//!
//! In a forked child Tokio's threads are not there, and its locks may be held for ever. Work
//! that is handed to a runtime from before the fork, and handles from before, give
//! [`is_forked`](fourway_core::JoinError::is_forked) at once, without touching Tokio;
//! `block_on` and timers are fourway's own there; dropping a handle does nothing ([forked
//! children](fourway_core::contract#FK-1)). fourway cannot handle:
//!
//! * raw Tokio code in the child: `tokio::spawn` on the parent's runtime never runs, its
//!   timers never fire, dropping its `Runtime` waits for threads that are not there. Inside
//!   of a `block_on` in the child raw Tokio code finds no runtime, and says so;
//! * a raw runtime from before the fork that fourway met only in the child: it is taken for
//!   one of the child's;
//! * a child that is forked by a task or a closure and does not end inside of it: Tokio's loop goes
//!   on with the parent's work.
//!
//! # I/O
//!
//! Runtimes that fourway builds have all of Tokio's drivers enabled. I/O is among them as soon as
//! any crate of the program turns on Tokio's feature `net`. Each crate that uses its sockets does.
//!
//! # Limits
//!
//! * A hand-made waker that panics in a timer harms nobody else ([timers work
//!   anywhere](fourway_core::contract#TI-2)), except behind a raw `LocalSet`: the waker of its tasks,
//!   which cannot be told from that of a runtime's tasks, goes to Tokio as it is, and wakes whoever
//!   polls the set. If that panics, the panic is in Tokio's driver: it ends the process, or the
//!   thread that drives a current-thread runtime.
//! * If the system has a thread for the first worker and none for a later one, [`Builder::build`]
//!   does not return: Tokio waits for the workers that it has started, and does not end them.
//!
//! [`is_not_driven`]: fourway_core::BlockOnError::is_not_driven
//! [`is_unsupported`]: fourway_core::BlockOnError::is_unsupported
//! [`is_not_owned`]: fourway_core::ShutdownError::is_not_owned

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod block_on;
mod builder;
mod offload;
mod parker;
mod probe;
mod relay;
mod runtime;
mod shutdown;
mod spawn;
mod task;
mod timer;
mod wakers;

pub use builder::Builder;
pub use fourway_adapt::pool::OffloadTask;
pub use probe::install_probe;
pub use runtime::{NoRuntime, Tokio};
pub use task::Task;
pub use timer::Sleep;

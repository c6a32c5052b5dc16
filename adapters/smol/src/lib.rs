//! The fourway adapter for smol.
//!
//! [`Smol`] is a runtime on smol's own parts: `smol::Executor` for tasks,
//! `async-io` for timers and I/O. The rest of smol's world (`async-net`, `async-fs`,
//! `async-channel`, …) works inside of its tasks.
//!
//! ```
//! use fourway_core::{BlockOn, Offload, Spawner, Timer};
//! use fourway_smol::Smol;
//! use std::time::Duration;
//!
//! let rt = Smol::global();
//! let sum = rt.block_on(async {
//!     let task = rt.spawn(async { 1 });
//!     let closure = rt.offload(|| 2);
//!     rt.sleep(Duration::from_millis(1)).await;
//!     task.await.unwrap() + closure.await.unwrap()
//! });
//! assert_eq!(sum, 3);
//! ```
//!
//! # Which executor
//!
//! | | [`Smol::global`] | [`Smol::builder`] |
//! |---|---|---|
//! | tasks run on | the executor of `smol::spawn` | an executor of its own |
//! | worker threads | `SMOL_THREADS` (default: 1) | [`worker_threads`](Builder::worker_threads) (default: cores) |
//! | ends | with the process | with [`shutdown`], or with its last handle |
//! | `block_in_place` in a task | unsupported | a stand-in thread takes over |
//!
//! `SMOL_THREADS` is an environment variable that smol reads when the first task
//! of the process is spawned. For tasks on the global executor with an offload
//! pool of another size, see [`Builder::global_executor`].
//!
//! # Who does what
//!
//! | what | where it runs | by |
//! |---|---|---|
//! | tasks | worker threads, started with the runtime | `smol::Executor` |
//! | [`block_on`] | the calling thread, which turns the reactor meanwhile | `async_io::block_on` |
//! | closures | pool threads, started when needed | fourway's pool |
//! | wakers of timers | the thread that turns the reactor | `async_io::Timer` |
//!
//! Closures do not go to the `blocking` crate (`smol::unblock`): its limit, its
//! keep-alive and its threads' names are fixed, its queue has no bound, it cannot
//! be shut down, and it knows nothing of lending a slot ([nested offload never
//! starves](fourway_core::contract#OF-4), [limits are exact](fourway_core::contract#OF-5)).
//!
//! # Forking
//!
//! In a forked child smol's threads are not there, its locks may be held for ever, and its
//! poller is shared with the parent. Work that is handed to a runtime from before the fork,
//! and handles from before, give [`is_forked`](fourway_core::JoinError::is_forked) at once,
//! without touching smol; dropping a handle does nothing ([forked
//! children](fourway_core::contract#FK-1)). In a child [`Smol::global`] has an executor of its own,
//! with as many threads, and no runtime turns the reactor: `block_on` and timers are fourway's.
//! fourway cannot handle:
//!
//! * raw smol code in the child: `smol::spawn`, `async_io::Timer`, `Async` and `smol::unblock`
//!   rely on threads that are not there, and `Async` changes the parent's poller;
//! * a child that is forked by a task and does not end inside of it: smol's loop goes on with the
//!   parent's tasks.
//!
//! # What it costs
//!
//! Spawning and joining allocate as much as with smol alone. A timer that has to wait costs one
//! allocation, so that its drop can release its waker at once ([timers work
//! anywhere](fourway_core::contract#TI-2)). A `block_on` whose future is ready at its first poll
//! does not touch the reactor.
//!
//! # Limits
//!
//! * A detached task that can never be woken again stays until the shutdown: smol's
//!   executor keeps a list of its tasks ([lost tasks are destroyed](fourway_core::contract#WA-3)).
//! * Tasks started with `smol::spawn` itself are not recognised as async code;
//!   those started through fourway are ([the current context is
//!   exact](fourway_core::contract#CX-1)).
//! * At most 65536 panics of destructors, and of polls that were cancelled meanwhile, wait for their
//!   joiners at a time, in the whole process. One more pushes out the oldest, whose join then gives
//!   "cancelled" or "shut down"; the panic hook has reported it ([destructors that panic or
//!   block](fourway_core::contract#CA-4)).
//! * At a shutdown with all workers stuck in polls, one more thread is started to
//!   destroy the suspended futures. It ends with the others.
//!
//! [`shutdown`]: fourway_core::Shutdown::shutdown
//! [`block_on`]: fourway_core::BlockOn::block_on

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod block_on;
mod builder;
mod executor;
mod offload;
mod runtime;
mod shutdown;
mod spawn;
mod task;
mod timer;

pub use builder::Builder;
pub use fourway_adapt::pool::OffloadTask;
pub use runtime::Smol;
pub use task::Task;
pub use timer::Sleep;

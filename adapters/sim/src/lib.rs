//! A fourway runtime that replays: async and blocking code simulated together, in virtual time,
//! under many schedules, with faults.
//!
//! [`Sim`] is a [`Runtime`](fourway_core::Runtime) like any other. In a **run** one thing happens
//! at a time, and a seed decides which one is next. So the seed decides the whole run, and a run
//! that fails can be replayed.
//!
//! ```
//! use fourway_core::{Offload, Spawner, Task, Timer};
//! use std::{sync::{Arc, Mutex}, time::Duration};
//!
//! // Under 100 schedules, and if one fails, under one more command to see it again.
//! fourway_sim::check(|rt| {
//!     let total = Arc::new(Mutex::new(0));
//!     let (inner, adds) = (rt.clone(), total.clone());
//!     let task = rt.spawn(async move {
//!         inner.sleep(Duration::from_secs(3600)).await; // at once
//!         *adds.lock().unwrap() += 1;
//!     });
//!     let adds = total.clone();
//!     let closure = rt.offload(move || *adds.lock().unwrap() += 1);
//!     task.wait().unwrap();
//!     closure.wait().unwrap();
//!     assert_eq!(*total.lock().unwrap(), 2);
//! });
//! ```
//!
//! # Where to begin
//!
//! | to | use |
//! |---|---|
//! | run a program under many schedules | [`check`], or [`Check`] with options |
//! | write tests that do so | [`#[fourway_sim::test]`](macro@test) |
//! | run it once, with a seed | [`Sim::run`], [`Sim::try_run`] |
//! | choose how schedules are drawn | [`Strategy`], or a [`Schedule`] of your own |
//! | make things go wrong on purpose | [`Faults`] |
//! | start what would be a `std` thread | [`Sim::thread`] |
//! | let turns change in the middle of plain code | [`point`] |
//! | simulate sockets, and several nodes with a network between them | `net::Network`, with the feature `net` |
//! | see what has happened | [`Trace`], [`Failure`] |
//!
//! # What a run is
//!
//! * **Turns.** Tasks are polled on worker threads; closures and the threads of [`Sim::thread`] run
//!   on threads of their own. One of all these threads has the turn, and the others are parked.
//!   Turns change where code waits (`.await`, `block_on`, `.wait()`), and before closures and
//!   threads spawn, offload or begin to block ([`Builder::preempt`]). So blocking code needs no
//!   change: loops, recursion and borrowed stacks work as they are.
//! * **Time** is virtual: it passes by [a microsecond](Builder::step_time) a step, and jumps to the
//!   next timer when nothing can run. [`Timer::now`](fourway_core::Timer::now) tells it;
//!   [`Instant::now`](std::time::Instant::now) does not.
//! * **Its end** comes with the end of the main closure. The remaining work is destroyed in a fixed
//!   order while the runtime still refuses new work, and all threads have ended when [`Sim::run`]
//!   returns.
//! * **It fails** if the main closure panics, and for the faults of any program: deadlocks with
//!   their waiters, lost wakes (also beside others that wake up for ever:
//!   [`Builder::stuck_after`]),
//!   livelocks, `block_on` in async code, threads and waits that the simulation does not know; on
//!   demand also for leftovers, and for runs that depend on more than the seed ([`FailureKind`]).
//!
//! The report of a failure has the seed and the command that replays it, a schedule of the same
//! failure with fewer preemptions, the waiters, and the last events. With `FOURWAY_SIM_DIR` it is
//! written to a folder, with a timeline as a page.
//!
//! # What it cannot see
//!
//! * A closure that blocks on something else than the runtime (a channel of `std`, a lock whose
//!   holder has no turn, a socket of the system) keeps its turn. The run ends after
//!   [some real time](Builder::foreign_limit), with the line at which the closure was last seen.
//!   The turn does not pass on, because then nothing could be replayed. (The waits of the core and
//!   the nursery take part: sleeps on a token, the threads of a sync nursery, `.wait()` without a
//!   runtime.)
//! * `Instant::now`, random numbers from the system, addresses as keys and the order of a `std`
//!   `HashMap` differ from run to run. [`Check::twice`] finds that they matter.
//! * Statics remember earlier seeds. [`Check::processes`] gives each seed a process of its own.
//! * Data races and weak memory orderings: one thing runs at a time, and all threads see each
//!   write. Use loom for these.
//!
//! # Outside of a run
//!
//! A `Sim` that is used without [`Sim::run`] is an *open* simulation: a runtime with real time, in
//! which threads may take part that it has not started, and with the sockets of the system. It keeps
//! the contract of fourway, and the conformance suite holds it to that; it replays nothing. (The suite's cases do not run inside of
//! a run: they open gates of `std`, look at the machine's clock and start threads, to test how a
//! runtime handles these. In a run all of it would be foreign. Nor does the clock of an open
//! simulation jump when nothing in it can run: a thread outside may be about to wake a task, and
//! leaves no mark in the simulation before it does. The suite would save 7 % of its time by that;
//! the repository's `docs/DESIGN.md` has the figures.) In a forked child it behaves as the
//! other runtimes do (FK-1, forked children). A *run* is one process: a child that is forked in the
//! middle of a run takes no part in it.
//!
//! # Where the ideas are from
//!
//! FoundationDB and madsim (one seed for schedule, time and faults), shuttle and Burckhardt et al.
//! (probabilistic concurrency testing), Tokio's paused time, and mysten-sim, whose blocking threads
//! take turns by a call of their own.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod attribute;
mod baton;
mod block_on;
mod builder;
mod carrier;
mod check;
mod choose;
mod clock;
mod ending;
mod failure;
mod faults;
mod foreign;
mod here;
mod host;
mod html;
mod joins;
mod life;
#[cfg(feature = "net")]
#[cfg_attr(docsrs, doc(cfg(feature = "net")))]
pub mod net;
mod offload;
mod random;
mod runtime;
mod schedule;
mod shutdown;
mod spawn;
mod state;
mod stuck;
mod task;
mod timer;
mod trace;
mod watch;

#[doc(inline)]
pub use fourway_sim_macros::test;

pub use builder::Builder;
pub use check::{Check, Checked, check};
pub use failure::{Failure, FailureKind, Shortened, Wait, Waiting};
pub use faults::{Faults, PANIC};
pub use offload::OffloadTask;
pub use runtime::{Run, Sim, point};
pub use schedule::{Ready, Schedule, Strategy};
pub use task::Task;
pub use timer::Sleep;
pub use trace::{Action, Event, Fault, Trace, Unit, UnitId, UnitKind};

/// The README's program.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The guide's chapter.
#[cfg(all(doctest, feature = "net"))]
#[doc = include_str!("../../../docs/guide/simulation.md")]
struct Guide;

/// Items for the macro.
#[doc(hidden)]
pub mod __private {
    pub use crate::attribute::{run, run_async};
}

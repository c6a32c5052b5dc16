//! For implementers of the traits: the parts of this crate that only runtimes need.
//!
//! A library or an application has no use for this module. An adapter finds it
//! re-exported by `fourway-adapt`, together with the parts that this crate does not need
//! itself: a pool for closures, timers, and a `block_on`.
//!
//! | part | keeps the rules on |
//! |---|---|
//! | [`Contain`] around each spawned future | panics, destruction, context |
//! | [`Slot`] | handing a result to its joiner, for executors with task cells of their own |
//! | [`join::task`] | joining and cancelling, for executors without handles |
//! | [`wait_for`], [`install_kit`] | waiting in sync code |
//! | [`Parking`] around each wait of a thread | hooks around waits |
//! | [`Host`] | threads of a runtime that decides which of them runs |
//! | [`fork`] | answering for a runtime from before a `fork` |
//! | [`refuse`], [`refuse_by`], [`destroying`], [`refusal`] | saying why work is destroyed unrun, to work that nobody joins |
//! | [`enter`] | marks on threads: what [`context::current`](crate::context::current) says |
//! | [`register`], [`install_probe`] | [`AnyRuntime::current`](crate::AnyRuntime::current): runtimes of ours, and foreign ones |
//! | [`Abort`] | [`AbortHandle`](crate::AbortHandle)s |
//! | [`Extensions`] | capabilities that other crates add to every runtime, such as sockets |
//! | [`Enclosing`] | scopes that are not over before the work in them is |
//! | [`are_unshared`], [`is_unshared`] | using one piece of work's values and token for the next one |
//! | [`LeftWaker`] | waiting for a cancellation, in futures that are to be small |
//! | [`guard_call`], [`wait_until_cancelled`] | calls whose handle is dropped, where the body cannot be |
//! | [`expire_after`] | deadlines that begin later than their tokens |
//! | [`recoverable`] | layers, whose `try_offload` gives the user's closure back |

mod calls;
mod contain;
mod enclosing;
mod expire;
mod extensions;
pub mod fork;
mod host;
pub mod join;
mod later;
pub(crate) mod mark;
mod recover;
mod refusal;
mod slot;
mod unshared;
mod wait;

use std::{future::Future, pin::Pin};

pub use crate::{abort::Abort, cancel::left::LeftWaker, park_hooks::Parking};
pub use calls::{guard_call, wait_until_cancelled};
pub use contain::{
    Contain, OnDropPanic, Outcome, Rethrow, destroy_contained, discard, drop_outcome_here,
    poll_contained,
};
pub use enclosing::{Enclosed, Enclosing, Hold, enclose, enclose_late, enclose_with, enclosing};
pub use expire::expire_after;
pub use extensions::Extensions;
pub use host::{Host, HostedThread, InHost, enter_host, host};
pub use later::later;
pub use mark::{
    Entered, Probe, Registration, RuntimeId, check_may_block, enter, enter_runtime, install_probe,
    register, runtime_id,
};
pub use recover::{Inside, Outside, recoverable};
pub use refusal::{destroying, refusal, refuse, refuse_by};
pub use slot::{Slot, wake};
pub use unshared::{are_unshared, is_unshared};
pub(crate) use wait::lend;
pub use wait::{Kit, install_kit, wait_for};

/// A future on the heap, of any type, that can move between threads.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

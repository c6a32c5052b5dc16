//! The runtime-agnostic core of fourway: write a library once, and let it be
//! called from sync code, from async code and in parallel, on any runtime.
//!
//! **A library author** depends on this crate alone and names no runtime:
//!
//! ```
//! use fourway_core::{AnyRuntime, BoxCall, Call, Runtime};
//!
//! pub struct Hasher<R = AnyRuntime> {
//!     rt: R,
//! }
//!
//! impl<R: Runtime> Hasher<R> {
//!     pub fn new(rt: R) -> Self {
//!         Self { rt }
//!     }
//!
//!     /// Callers choose: `.wait()`, `.await` or `.spawn()`.
//!     pub fn checksum(&self, data: Vec<u8>) -> BoxCall<u64> {
//!         self.rt
//!             .call_blocking(move || data.iter().map(|b| u64::from(*b)).sum())
//!             .boxed()
//!     }
//! }
//! ```
//!
//! [`BoxCall`] is the easy signature: one type, for an allocation. The module [`call`] shows [the
//! one that allocates nothing](call#what-a-method-returns), and patterns for bodies.
//!
//! # The four scenarios
//!
//! | the caller is | the body is async | the body may block |
//! |---|---|---|
//! | sync | [`BlockOn`] drives it | a plain call |
//! | async | polled in place | [`Offload`]ed and awaited |
//!
//! A [`call::Call`] holds a body of either kind and lets the caller choose.
//!
//! # The traits
//!
//! One capability each: [`Spawner`], [`BlockOn`], [`Offload`] and [`Timer`];
//! [`Runtime`] is all four, and [`Shutdown`]. Handles are [`Task`]s. The [contract] says what all
//! runtimes promise; the docs here name its rules, for example [destroyed before the join][JO-2];
//! [`contract`](mod@contract) lists them.
//!
//! [contract]: https://docs.rs/fourway/latest/fourway/contract/
//!
//! # Who implements them
//!
//! The adapters `fourway-tokio`, `fourway-smol` and `fourway-std-thread`. Every executor that can
//! run a boxed future can become an adapter in ten lines: see the crate `fourway-adapt`, which has
//! the parts of adapters. The parts in this crate that only adapters need are in [`implement`].
//!
//! # Features
//!
//! * `std` (default): everything. Without it, the traits, their errors and
//!   [`AbortHandle`], for `no_std` with `alloc`.
//!
//! [JO-2]: crate::contract#JO-2

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

extern crate alloc;

mod abort;
mod block_on;
pub mod contract;
mod forward;
mod join_error;
mod offload;
mod runtime;
mod shutdown;
mod spawn;
pub mod task;
pub mod time;

#[cfg(feature = "std")]
mod any;
#[cfg(feature = "std")]
pub mod call;
#[cfg(feature = "std")]
pub mod cancel;
#[cfg(feature = "std")]
mod compose;
#[cfg(feature = "std")]
pub mod context;
#[cfg(feature = "std")]
pub mod implement;
/// For implementers of the traits, of which there is little without `std`.
#[cfg(not(feature = "std"))]
pub mod implement {
    pub use crate::abort::Abort;
}
#[cfg(feature = "std")]
pub mod layer;
#[cfg(feature = "std")]
pub mod local;
#[cfg(feature = "std")]
mod park_hooks;
#[cfg(feature = "std")]
pub mod prelude;
#[cfg(feature = "std")]
mod scoped;
#[cfg(all(feature = "std", not(any(fourway_shuttle, fourway_loom))))]
mod sync;
// Public only in a build for the model checker: all code that is checked together takes its threads
// and its clock from one place.
#[cfg(all(feature = "std", any(fourway_shuttle, fourway_loom)))]
pub mod sync;
#[cfg(feature = "std")]
pub mod values;
#[cfg(feature = "std")]
mod woken;

pub use abort::AbortHandle;
pub use block_on::{BlockOn, BlockOnError};
pub use join_error::{JoinError, JoinErrorKind, Payload};
pub use offload::{Offload, TryOffloadError};
pub use runtime::Runtime;
pub use shutdown::{
    ExecutorStatus, PoolStatus, RuntimeStatus, Shutdown, ShutdownError, ShutdownReport,
};
pub use spawn::Spawner;
pub use task::{Cancel, Task};
pub use time::{Timer, yield_now};

#[cfg(feature = "std")]
pub use any::{AnyOffloadTask, AnyRuntime, AnyTask};
#[cfg(feature = "std")]
pub use call::{BoxCall, Call, CallError};
#[cfg(feature = "std")]
pub use cancel::{CancellationToken, Cancelled};
#[cfg(feature = "std")]
pub use compose::Compose;
#[cfg(feature = "std")]
pub use park_hooks::ParkHooks;
#[cfg(feature = "std")]
pub use time::Elapsed;

/// What the text of the exported macros names, and nobody else. Hidden, as a macro's text is checked
/// in the crate that calls it: these items have to be public, and are no interface.
#[doc(hidden)]
pub mod __private {
    pub type Name = alloc::borrow::Cow<'static, str>;

    #[cfg(feature = "std")]
    pub use crate::time::provided::{interval, timeout};
}

// The README's example is tested as any other.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct Readme;

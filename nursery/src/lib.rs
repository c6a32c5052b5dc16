//! Structured concurrency that behaves alike on every runtime: work that is started together
//! ends together.
//!
//! ```
//! use std::{io, time::Duration};
//! use fourway_core::Runtime;
//! use fourway_nursery::{Nursery, NurseryError};
//!
//! async fn sizes<R: Runtime>(rt: &R) -> Result<Vec<u64>, NurseryError<io::Error>> {
//!     Nursery::builder(rt)
//!         .timeout(Duration::from_secs(5))
//!         .try_collect(async |n| {
//!             for name in ["/etc/hosts", "/etc/passwd"] {
//!                 n.offload(move || Ok(std::fs::metadata(name)?.len()));
//!             }
//!             Ok(())
//!         })
//!         .await
//! }
//! ```
//!
//! * **No child outlives its nursery.** When [`nursery()`] returns, every child has ended, and
//!   all destructors and closures of theirs have run.
//! * **No failure is lost.** The first one cancels the rest and is returned, with all others after
//!   it; panics keep their payload.
//! * **Cancellation reaches everything**: suspended futures are dropped, blocking code looks at
//!   [its token](fourway_core::cancel), and a [`shield()`] protects work that must finish.
//!
//! # What to take
//!
//! | for | there is |
//! |---|---|
//! | async children on the runtime's threads | [`nursery()`], [`Nursery::builder`] |
//! | threads that may borrow, for sync code | [`sync_nursery()`], [`SyncNursery::builder`] |
//! | futures that may borrow, in one task | [`scope()`] |
//! | code that is not structured, with Tokio's names | [`JoinSet`], [`TaskTracker`] |
//! | cleaning up in async code | [`Close`], [`CloseGuard`] |
//!
//! The rules that it keeps ([no child outlives its nursery](fourway_core::contract#NU-1), and the
//! seven after it) are in the crate's `README.md`.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod builder;
mod called;
mod carried;
mod child;
mod child_error;
mod close;
mod collect;
mod error;
mod first_success;
mod handle;
mod in_process;
mod join_set;
mod label;
mod ledger;
mod nursery;
mod nursery_handle;
mod places;
mod result_queue;
mod results;
mod run;
mod scope;
mod shared;
mod shield;
#[cfg(all(test, fourway_shuttle))]
mod shuttle_models;
mod spawned;
mod start;
mod starts;
mod sync;
mod sync_builder;
mod sync_nursery;
mod task_tracker;

pub use builder::Builder;
pub use child_error::ChildError;
pub use close::{Close, CloseGuard, Unclosed, set_unclosed_hook};
pub use collect::Collect;
pub use error::{Failure, NurseryError, SpawnError};
pub use first_success::FirstSuccess;
pub use handle::ChildHandle;
pub use join_set::{AbortMember, Id, JoinSet};
pub use nursery::{Nursery, nursery};
pub use nursery_handle::NurseryHandle;
pub use places::{Place, Reserve, Spawned};
pub use results::{NamedResults, Results};
pub use scope::{BorrowScope, scope};
pub use shield::{Shield, shield, shield_blocking};
pub use start::{StartError, Started};
pub use sync_builder::SyncBuilder;
pub use sync_nursery::{SyncCollect, SyncHandle, SyncNursery, SyncResults, sync_nursery};
pub use task_tracker::{JoinHandle, LocalJoinHandle, TaskTracker, TaskTrackerToken, TrackedFuture};

#[doc(no_inline)]
pub use fourway_core::cancel::{self, CancellationToken};

// The README's example is tested as any other.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! Jobs of named kinds on any store: in memory, in a file, in a database, on a cluster.
//!
//! A closure cannot outlive its process; a name and arguments can. So what is to be durable is
//! submitted as a [`JobKind`], and run by whichever worker, of whichever process, has a handler
//! of that name. Between the two is an [`Engine`]: the object-safe boundary, over bytes, behind
//! which jobs are kept. The same code runs on each of them, on any runtime of fourway.
//!
//! ```
//! use std::sync::Arc;
//!
//! use fourway_core::{Call, Runtime};
//! use fourway_jobs_engine::{Handlers, JobClient, JobKind, MemoryEngine, Worker};
//! use serde::{Deserialize, Serialize};
//!
//! struct Checksum;
//!
//! #[derive(Serialize, Deserialize)]
//! struct File {
//!     path: String,
//! }
//!
//! impl JobKind for Checksum {
//!     const NAME: &'static str = "checksum";
//!     type Args = File;
//!     type Output = u64;
//! }
//!
//! fn example<R: Runtime>(rt: &R) -> Result<(), Box<dyn std::error::Error>> {
//!     let engine = Arc::new(MemoryEngine::new(rt));
//!
//!     let handlers = Handlers::new().on_blocking(Checksum, |_, file| -> std::io::Result<u64> {
//!         Ok(std::fs::read(file.path)?.iter().map(|byte| u64::from(*byte)).sum())
//!     });
//!     let worker = Worker::builder(rt, engine.clone()).handlers(handlers).start();
//!
//!     let client = JobClient::new(rt, engine);
//!     let job = client.submit(Checksum, File { path: "/etc/hosts".into() }).wait()?;
//!     println!("{}: {}", job.id(), job.output().wait()?);
//!
//!     worker.drain(std::time::Duration::from_secs(5)).wait();
//!     Ok(())
//! }
//! ```
//!
//! # What holds on every engine
//!
//! * **EN-1** A job that was accepted survives what the engine [declares](Capabilities).
//! * **EN-2** It runs at least once, and its result is recorded once: whoever runs it holds a
//!   [`Lease`] with a fencing token, and who has lost the lease cannot overwrite what came after.
//! * **EN-3** A job that kills its worker each time ends as dead after its attempts, which are
//!   counted when they begin. It holds up no other.
//! * **EN-4** Submitting, status, result and cancelling mean the same everywhere, or the engine
//!   declares what it cannot do.
//!
//! # Where the ideas come from
//!
//! Named kinds are JobRunr's and River's; leases with fencing tokens, Kleppmann's; at least once
//! with a record of its own, Oban's; in-progress heartbeats, JetStream's.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod capability;
mod client;
pub mod columns;
mod context;
mod engine;
mod error;
mod filter;
mod grouped;
mod handlers;
mod id;
mod kind;
mod lease;
pub mod life;
mod manager;
mod memory;
mod new_job;
mod patience;
mod record;
mod schedule;
mod worker;

pub use capability::{Capabilities, Capability};
pub use client::{JobClient, KindHandle};
pub use context::KindContext;
pub use engine::{Engine, EngineFuture};
pub use error::{EngineError, EngineErrorKind, OutputError};
pub use filter::{Filter, Page};
pub use grouped::{Group, Grouped};
pub use handlers::{GiveUp, Handlers};
pub use id::next_id;
pub use kind::{JobKind, KindJob};
pub use lease::{Beat, Fetch, Held, Lease, Leased, Settled, Verdict};
pub use manager::{KindManager, KindManagerBuilder};
pub use memory::MemoryEngine;
pub use new_job::{CancelAnswer, NewJob, Submitted, UniqueKey};
pub use patience::{Changes, patiently};
pub use record::{AttemptEnd, AttemptRecord, Record};
pub use schedule::{KindSchedule, KindScheduleStatus, KindSchedules};
pub use worker::{Worker, WorkerBuilder, WorkerReport, WorkerStatus};

#[cfg(feature = "cron")]
#[doc(no_inline)]
pub use fourway_jobs::ParseScheduleError;
#[doc(no_inline)]
pub use fourway_jobs::{
    BoxError, Counts, JobId, JobState, Missed, Occurrence, Overlap, Progress, Retry, Schedule,
    ScheduleError,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

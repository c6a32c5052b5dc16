//! Jobs of named kinds on any store: in memory, in a file, in a database, on a cluster.
//!
//! A closure cannot outlive its process; a name and arguments can. So a durable job is submitted as
//! a [`JobKind`], and runs in any worker, of any process, that has a handler of that name. Between
//! the two is an [`Engine`]: the object-safe boundary, over bytes, behind which jobs are kept. The
//! same code runs on every engine, on any runtime of fourway.
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
//! * **EN-1 what was accepted survives.** An accepted job survives the failures that the engine
//!   [declares](Capabilities).
//! * **EN-2 run at least once, recorded once.** It runs at least once, and its result is recorded
//!   once: its worker holds a [`Lease`] with a fencing token, and a worker that has lost the lease
//!   cannot overwrite later results.
//! * **EN-3 poison ends.** A job that kills its worker each time ends as dead after its attempts,
//!   which are counted when they begin; [some lost ones](NewJob::lost_attempts) may be made up
//!   for. It holds up no other job.
//! * **EN-4 the same everywhere.** Submitting, status, result, cancelling and running again
//!   mean the same everywhere, or the engine declares its limits, and refuses what is beyond them.
//!
//! # Features
//!
//! * `cron`: schedules by cron expressions in time zones.
//! * `tracing`: each attempt runs in a span, [`KindContext::span`](KindContext).
//!
//! # Where the ideas come from
//!
//! Named kinds follow JobRunr and River. Leases with fencing tokens follow Kleppmann. At-least-once
//! with one record for each job follows Oban. In-progress heartbeats follow JetStream.

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
pub use new_job::{CancelAnswer, NewJob, RetryAnswer, Submitted, UniqueKey};
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

//! An embedded job manager: submit now, ask later.
//!
//! The third caller of every library, beside sync and async code: futures, closures that may
//! block, and [`Call`](fourway_core::Call)s are submitted as they are, on any runtime, and are
//! known by an id from then on.
//!
//! ```
//! use fourway_core::Runtime;
//! use fourway_jobs::{Job, JobContext, JobManager, Retry};
//! use std::{fs, io};
//!
//! fn example<R: Runtime>(rt: &R) -> Result<(), Box<dyn std::error::Error>> {
//!     let jobs = JobManager::builder(rt).concurrency(8).limit("disk", 2).build();
//!
//!     let size = Job::blocking(|_: JobContext| -> io::Result<u64> {
//!         Ok(fs::metadata("/etc/hosts")?.len())
//!     });
//!     let job = jobs.submit(size.name("size").class("disk").retry(Retry::attempts(3)))?;
//!
//!     println!("{} is {}", job.id(), jobs.status(job.id())?.state);
//!     println!("{} bytes", job.wait()?); // or `.await`
//!     Ok(())
//! }
//! ```
//!
//! * **No submitted job is lost.** Every job ends in one of four states, and its handle says which.
//!   A drain or a drop reports the jobs that it gives up.
//! * **Cancelling has effect**: a waiting job never runs, and a running future is dropped. A
//!   running closure is asked to end; it holds its slot and shows as cancelling until it has ended.
//! * **A job harms no other**: panics are kept as its error, also those of destructors and of an
//!   error's `Display`; priorities age, limits hold, and of a text of megabytes the
//!   [beginning](TEXT_KEPT) is kept.
//! * **Unused features cost little**: a job gets its own task only when it has to wait; no
//!   events are made without a reader.
//!
//! The crate's `README.md` has the rules that the manager keeps.
//!
//! # Features
//!
//! * `serde`: statuses, events and ids are serializable.
//! * `acceptance`: the rules as test cases, for managers with another store and for other
//!   implementations.
//! * `cron`: schedules by cron expressions in time zones.
//! * `tracing`: each attempt runs in a span `job` (target `fourway`, level `DEBUG`) with the fields
//!   `job.id`, `job.name`, `job.class` and `job.attempt`, a child of the span that was current where
//!   the job was submitted. If it is filtered out, the attempt runs in that one.
//!
//! # Where the ideas come from
//!
//! States and uniqueness follow Oban and River. The views for operators follow Sidekiq, BullMQ and
//! Hangfire. Lambdas as jobs follow JobRunr.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(feature = "acceptance")]
#[cfg_attr(docsrs, doc(cfg(feature = "acceptance")))]
pub mod acceptance;
mod batch;
mod body;
mod builder;
mod called;
mod clock;
mod context;
mod dispatch;
mod drain;
mod error;
mod event;
mod filter;
mod forked;
mod handle;
mod id;
mod inbox;
mod job;
mod line;
mod manager;
mod output;
mod padded;
mod queue;
mod retry;
mod schedule;
mod shared;
#[cfg(all(test, fourway_shuttle))]
mod shuttle_models;
mod slot;
mod snapshot;
#[cfg(feature = "tracing")]
mod span;
mod store;
mod sync;
mod text;
mod ticker;
mod weak;

pub use batch::{Batch, BatchHandle, BatchReport};
pub use builder::JobManagerBuilder;
pub use clock::{Clock, ManualClock};
pub use context::{COUNTERS_KEPT, JobContext};
pub use drain::DrainReport;
pub use error::{JobError, ResultError, SubmitError, UnknownJob};
pub use event::{Event, EventKind, Events};
pub use filter::{Filter, Page};
pub use handle::JobHandle;
pub use id::{JobId, ParseJobIdError};
pub use job::{
    Again, DEFAULT_CLASS, Job, RunCall, RunCallWith, RunClosure, RunFuture, Unique, Work,
    kinds_of_work,
};
pub use manager::{DropReport, JobManager, RetryError};
pub use output::{BoxError, JobOutput};
pub use retry::Retry;
#[cfg(feature = "cron")]
pub use schedule::ParseScheduleError;
pub use schedule::{
    LastRun, Missed, Occurrence, Overlap, Schedule, ScheduleError, ScheduleHandle, ScheduleStatus,
};
pub use snapshot::{Attempt, ClassStatus, Counts, JobState, JobStatus, ManagerStatus, Progress};
pub use store::{ATTEMPTS_KEPT, CancelOutcome};
pub use text::TEXT_KEPT;
pub use weak::WeakJobManager;

#[doc(no_inline)]
pub use fourway_core::cancel::{self, CancellationToken};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

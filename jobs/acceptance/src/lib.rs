//! The acceptance suite for job engines: it holds any
//! [`Engine`](fourway_jobs_engine::Engine) to the contract's rules EN-1 to EN-4.
//!
//! An [`Entry`] says how to have a place without jobs, and how to open an engine on it, in this
//! process and in others. [`main`] makes a test binary of it, which `cargo test` runs:
//!
//! ```no_run
//! use std::{process::ExitCode, sync::Arc};
//!
//! use fourway_core::AnyRuntime;
//! use fourway_jobs_acceptance::{Entry, Place};
//! use fourway_jobs_engine::{Engine, MemoryEngine};
//!
//! struct InMemory(std::sync::OnceLock<Arc<MemoryEngine>>);
//!
//! impl Place for InMemory {
//!     fn open(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
//!         self.0.get_or_init(|| Arc::new(MemoryEngine::new(rt))).clone()
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     let place = || -> Box<dyn Place> { Box::new(InMemory(Default::default())) };
//!     fourway_jobs_acceptance::main(vec![Entry::new("memory", place)])
//! }
//! ```
//!
//! With `report` as its first argument the binary runs all cases and writes the results:
//! `cargo test --test acceptance -- report --json FILE --junit FILE --html FILE --markdown FILE`.

#![forbid(unsafe_code)]

mod case;
mod cases;
mod child;
mod clock;
mod entry;
mod everywhere;
mod recorded;
mod run;
mod scene;

pub use case::{Case, cases};
pub use child::is_child;
pub use entry::{Entry, Harm, Harmed, Place};
pub use everywhere::works_on;
pub use fourway_suite::{CaseReport, KnownFailure, Report, Status, SubjectReport};
pub use run::{main, main_recorded, run};

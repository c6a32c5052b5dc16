//! One entry point for sync and async work: it runs where it belongs, on every runtime.
//!
//! Notebooks, script servers and plug-in hosts get work of both kinds. Blocking work must not run
//! on an executor's thread; async work needs one. [`execute`] takes either and decides by its type,
//! at compile time. [`Work`] is for decisions at run time.
//!
//! ```
//! use fourway_core::{JoinError, Runtime};
//! use fourway_execute::execute;
//!
//! async fn both<R: Runtime>(rt: &R) -> Result<usize, JoinError> {
//!     let read = execute(rt, || std::fs::read("notes").map_or(0, |text| text.len()));
//!     let waited = execute(rt, async || 2);
//!     Ok(read.await? + waited.await?)
//! }
//! ```
//!
//! | for | there is |
//! |---|---|
//! | work of a kind that is known | [`execute`] |
//! | a choice between three [models](Model), without touching the work | [`Executor`] |
//! | a kind that is decided at run time | [`Work`], [`SessionWork`] |
//! | state that executions of both kinds share, in order | [`Session`] |
//! | closures that are too short for a hand-over | [`short`](short()), watched: [`Overrun`] |
//!
//! The crate keeps the rule EX-1, one door for work of any kind, of the [contract], on every runtime
//! that keeps the others.
//!
//! [contract]: https://docs.rs/fourway/latest/fourway/contract/
//!
//! # Where the ideas come from
//!
//! Deciding by the kind of code follows IPython's *autoawait*. The marker types that let one
//! function take several kinds of closure follow axum's handlers and Bevy's systems. Executions
//! that run in order, can be interrupted and leave tasks behind follow a Jupyter kernel.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod executor;
mod into_work;
mod model;
mod session;
#[cfg(all(test, fourway_shuttle))]
mod shuttle_models;
mod started;
mod sync;
mod watch;
mod work;

pub use executor::{Builder, Executor, execute};
pub use into_work::{IntoWork, kind};
pub use model::{Model, UnknownModel};
pub use session::{
    Access, Background, Execution, ExecutionError, ExecutionId, ExecutionStatus, LeftTask, Outcome,
    Read, ReadScope, Scope, Session, SessionBuilder, SessionStatus, SessionWork, Write,
};
pub use started::Started;
pub use watch::Overrun;
pub use work::{Blocking, Making, Short, Work, blocking, making, short};

// The README's example is tested as any other.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

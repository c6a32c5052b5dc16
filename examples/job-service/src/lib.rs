//! An example: jobs behind HTTP, and the same jobs from a command line.
//!
//! * [`work`] is a library, written once on `fourway-core`: it knows no runtime, no server and no
//!   job manager.
//! * [`task`] makes jobs of it, and [`kinds`] jobs of named kinds, which a [`store`] can keep;
//!   [`timetable`] submits them repeatedly.
//! * `job-service serve`, in [`http`], is axum on Tokio; `job-service do`, in [`cli`], is a plain
//!   program on the runtime of plain threads. Both submit the same jobs to the same manager.

#![forbid(unsafe_code)]

pub mod cli;
mod fault;
pub mod http;
pub mod kinds;
mod signals;
pub mod store;
pub mod task;
pub mod timetable;
pub mod work;
pub mod worker;

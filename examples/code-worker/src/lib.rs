//! A worker that runs JavaScript for many sessions, on whichever runtime.
//!
//! Code with an `await` at top level runs on the executor, code without it on a thread where
//! blocking does no harm, and both in one namespace. It is made of [`fourway::execute`]: a session
//! there has an [`Engine`] as its namespace. The crate's `README.md` says how to use it,
//! `PROTOCOL.md` how to talk to it.

// But for one function in `detect/mod.rs`, and the allocator in `memory.rs`.
#![deny(unsafe_code)]

pub mod detect;
mod engine;
mod error;
mod host;
mod limits;
mod memory;
mod names;
mod outbox;
mod page;
pub mod protocol;
mod requests;
pub mod server;
mod sessions;
mod worker;

pub use engine::{Engine, KEYWORDS, Outcome};
pub use error::CellError;
pub use host::{Functions, Host, Output};
pub use limits::Limits;
pub use outbox::Outbox;
pub use page::Page;
pub use worker::{Connection, Worker};

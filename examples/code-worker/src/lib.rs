//! A worker that runs JavaScript for many sessions, on any runtime.
//!
//! Code with an `await` at top level runs on the executor, other code on a thread that may block,
//! and both in one namespace. It uses [`fourway::execute`]: the namespace of a session there is an
//! [`Engine`]. The crate's `README.md` describes its use, `PROTOCOL.md` its protocol.

// The exceptions are one function in `detect/mod.rs`, one in `program.rs`, and the allocator in
// `memory.rs`.
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
mod program;
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

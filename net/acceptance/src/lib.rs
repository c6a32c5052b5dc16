//! The acceptance suite for sockets: it holds any [`Network`] to the contract's rules NE-1 to NE-5.
//!
//! An [`Entry`] says how to have a network. [`main`] makes a test binary of it, which `cargo test`
//! runs. Who has written an adapter holds [`fourway_net`]'s sockets on it to the rules, by
//! whichever reactor they find there:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use fourway_core::AnyRuntime;
//! use fourway_net_acceptance::Entry;
//!
//! # fn my_runtime() -> AnyRuntime { unimplemented!() }
//! fn main() -> ExitCode {
//!     fourway_net_acceptance::main(vec![Entry::runtime("mine", my_runtime)])
//! }
//! ```
//!
//! Who has sockets of their own implements [`Network`], [`Listener`] and [`Stream`], and
//! [`Processes`] where there are child processes and signals, and gives [`Entry::new`] a way to
//! make one.
//!
//! With `report` as its first argument the binary runs all cases and writes what came out:
//! `cargo test --test network -- report --json FILE --markdown FILE`.
//!
//! # What is not here
//!
//! Three rules are about a process as a whole: one without descriptors (NE-3), what idle sockets
//! cost (NE-3), and a forked child (NE-4, NE-5). Each takes a process for itself, which a test of
//! `fourway-net`'s is.

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("fourway-net works on Unix alone so far, and so do the cases about it");

pub mod addresses;
mod case;
mod cases;
mod entry;
mod network;
mod run;
mod scene;
mod sockets;

pub use case::{Case, cases};
pub use entry::Entry;
pub use fourway_suite::{CaseReport, KnownFailure, Report, Status, SubjectReport};
pub use network::{Boxed, Child, Listener, Network, Processes, Signals, Stream};
pub use run::{main, run};
pub use sockets::Sockets;

// The README's example is tested as any other.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! The acceptance suite for sockets: it holds any [`Network`] to the contract's rules NE-1 to NE-5.
//!
//! An [`Entry`] says how to make a network. [`main`] makes a test binary of it, which `cargo test`
//! runs. The author of an adapter tests [`fourway_net`]'s sockets on it, with the reactor that they
//! find there:
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
//! The author of other sockets implements [`Network`], [`Listener`] and [`Stream`], and
//! [`Processes`] if there are child processes and signals, [`Datagrams`] if there are datagram
//! sockets, and gives [`Entry::new`] a constructor.
//!
//! With `report` as its first argument the binary runs all cases and writes the results:
//! `cargo test --test network -- report --json FILE --junit FILE --html FILE --markdown FILE`.
//!
//! # What is not here
//!
//! Two parts of the rules need a process that does nothing else before and after, so `fourway-net` has
//! tests for them: a forked child ([sockets and the lives of
//! runtimes](fourway_core::contract#NE-4), [children and signals are waited for like
//! sockets](fourway_core::contract#NE-5)), and drops at the end of a process ([sockets and the
//! lives of runtimes](fourway_core::contract#NE-4)). A fork also takes `unsafe` code, which this crate
//! forbids.
//!
//! The cases about a process without descriptors and about 10,000 idle sockets ([one socket holds up no
//! other](fourway_core::contract#NE-3)) run alone, one at a time: [`Case::alone`].

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("fourway-net works on Unix alone so far, and so do the cases about it");

pub mod addresses;
mod alone;
mod case;
mod cases;
mod descriptors;
mod entry;
mod network;
mod run;
mod scene;
mod sockets;

pub use case::{Case, cases};
pub use entry::Entry;
pub use fourway_suite::{CaseReport, KnownFailure, Report, Status, SubjectReport};
pub use network::{
    Boxed, Child, DatagramSocket, Datagrams, Listener, Network, Processes, Signals, Stream,
};
pub use run::{main, run};
pub use sockets::Sockets;

// The README's example is tested as any other.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

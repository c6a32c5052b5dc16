//! What people expect to compile, as small programs: each is compiled as it stands, and run on
//! every runtime that is compiled in.
//!
//! What is refused on purpose, and with which words, is in `core/tests/refusals`.

#![cfg(feature = "std-thread")]

#[path = "../support/mod.rs"]
mod support;

mod callers;
mod library;
mod neighbours;

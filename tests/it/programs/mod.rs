//! What people expect to compile, as small programs: each is compiled as it stands, and run on
//! every runtime that is compiled in.
//!
//! What is refused on purpose, and with which words, is in `core/tests/refusals`.

mod applications;
mod callers;
mod library;
#[cfg(all(feature = "tokio", feature = "smol"))]
mod neighbours;

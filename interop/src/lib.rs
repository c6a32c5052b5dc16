//! Glue between fourway's runtimes and crates that take an executor.
//!
//! A type of this crate wraps a runtime and implements the trait of the other crate. Each is behind
//! a feature; none is on by default.
//!
//! | feature | module | for |
//! |---|---|---|
//! | `futures` | [`futures`] | `futures::task::Spawn` and `LocalSpawn` |
//! | `hyper` | [`hyper`] | `hyper::rt::Executor` and `Timer` |
//! | `opendal` | [`opendal`] | `opendal::Execute` |
//! | `quinn` | [`quinn`] | `quinn::Runtime`, over `fourway-net`'s sockets |
//! | `tracing` | [`tracing`] | a layer that puts tasks, closures and `block_on` into spans |
//!
//! The crate names no runtime: a library that uses it still works on any.
//!
//! # What needs no glue
#![doc = include_str!("../NEIGHBOURS.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(feature = "futures")]
#[cfg_attr(docsrs, doc(cfg(feature = "futures")))]
pub mod futures;
#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
pub mod hyper;
#[cfg(feature = "opendal")]
#[cfg_attr(docsrs, doc(cfg(feature = "opendal")))]
pub mod opendal;
#[cfg(feature = "quinn")]
#[cfg_attr(docsrs, doc(cfg(feature = "quinn")))]
pub mod quinn;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub mod tracing;

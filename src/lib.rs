//! Write a library once, and let it be called from anywhere: from sync code, from
//! async code and in parallel, on Tokio, smol or plain threads, under one
//! contract.
//!
//! This crate is for applications: it picks a runtime by Cargo feature, and also has the whole of
//! [`fourway_core`]. Libraries depend on `fourway-core` alone and never name a runtime.
//!
//! ```
//! # #[cfg(feature = "std-thread")] {
//! use fourway::prelude::*;
//!
//! let rt = fourway::default_runtime();
//! let answer = rt.block_on(async {
//!     let task = rt.spawn(async { 40 });
//!     let file = rt.offload(|| 2);
//!     task.await.unwrap() + file.await.unwrap()
//! });
//! assert_eq!(answer, 42);
//! # }
//! ```
//!
//! # Features
//!
//! Features only add. With several runtimes enabled all are there, each by name;
//! a library that was given one of them keeps it whatever others are enabled.
//!
//! | feature | gives | on by default |
//! |---|---|---|
//! | `std-thread` | [`std_thread`]: plain threads | yes |
//! | `tokio` | [`tokio`]: Tokio, multi-thread and current-thread | |
//! | `smol` | [`smol`]: smol, on its global executor or one of its own | |
//! | `nursery` | [`nursery`]: structured concurrency, on whichever runtime | |
//! | `tracing` | with `nursery`, the current span of `tracing` travels into children; with `jobs`, each attempt runs in a span | |
//! | `jobs` | [`jobs`]: a job manager, on whichever runtime; jobs by name, in a store, are `fourway-jobs-engine`'s and `fourway-jobs-url`'s | |
//! | `cron` | with `jobs`, schedules by cron expressions in time zones | |
//! | `execute` | [`execute`]: one door for work of any kind, and sessions | |
//! | `macros` | [`calls`](macro@calls): methods written as plain functions; [`main`](macro@main), [`test`](macro@test) | |
//! | `streams` | [`streams`]: bodies that give many values | |
//! | `ctrl-c` | a token for `main`, which Ctrl-C cancels | |
//! | `net` | [`net`]: sockets, on whichever runtime | |
//! | `process`, `signal`, `fs` | with `net`, which each brings: child processes, signals, files | |
//!
//! # What is promised
//!
//! All runtimes keep one [`contract`], whose rules the docs name, for example [destroyed before
//! the join](fourway_core::contract#JO-2); a conformance suite holds them to it.
//!
//! # Which runtime is the default
//!
//! [`default_runtime`] says; see there. In short: the one you are in; else the
//! one you set; else the one that the environment variable `FOURWAY_RUNTIME`
//! names; else the first that is compiled in of Tokio, smol, std-thread.
//!
//! The handle is bound to that runtime from then on. For a `static`, and where a program
//! may need no runtime at all, there is [`Ambient`], which asks at each use.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod ambient;
pub mod contract;
mod default;
pub mod entry;

pub use ambient::Ambient;
pub use default::{
    DefaultRuntimeError, compiled_in, current, default_runtime, runtime_named, set_default_runtime,
    try_default_runtime,
};
#[doc(inline)]
pub use fourway_core::*;

/// Plain threads: [`StdThread`](std_thread::StdThread).
#[cfg(feature = "std-thread")]
#[cfg_attr(docsrs, doc(cfg(feature = "std-thread")))]
pub mod std_thread {
    #[doc(inline)]
    pub use fourway_std_thread::*;
}

/// Tokio: [`Tokio`](tokio::Tokio).
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub mod tokio {
    #[doc(inline)]
    pub use fourway_tokio::*;
}

/// smol: [`Smol`](smol::Smol).
#[cfg(feature = "smol")]
#[cfg_attr(docsrs, doc(cfg(feature = "smol")))]
pub mod smol {
    #[doc(inline)]
    pub use fourway_smol::*;
}

/// Structured concurrency: [`Nursery`](nursery::Nursery).
#[cfg(feature = "nursery")]
#[cfg_attr(docsrs, doc(cfg(feature = "nursery")))]
pub mod nursery {
    #[doc(inline)]
    pub use fourway_nursery::*;
}

/// Submit now, ask later: [`JobManager`](jobs::JobManager).
#[cfg(feature = "jobs")]
#[cfg_attr(docsrs, doc(cfg(feature = "jobs")))]
pub mod jobs {
    #[doc(inline)]
    pub use fourway_jobs::*;
}

/// One door for work that may be sync or async: [`execute`](execute::execute()),
/// [`Session`](execute::Session).
#[cfg(feature = "execute")]
#[cfg_attr(docsrs, doc(cfg(feature = "execute")))]
pub mod execute {
    #[doc(inline)]
    pub use fourway_execute::*;
}

/// Bodies that give many values: [`Items`](streams::Items).
#[cfg(feature = "streams")]
#[cfg_attr(docsrs, doc(cfg(feature = "streams")))]
pub mod streams {
    #[doc(inline)]
    pub use fourway_streams::*;
}

// The code that the macros write names this crate.
#[cfg(feature = "macros")]
#[cfg_attr(docsrs, doc(cfg(feature = "macros")))]
pub use fourway_macros::{calls_of_facade as calls, main, test};

/// Sockets on every runtime: [`Net`](net::Net).
#[cfg(feature = "net")]
#[cfg_attr(docsrs, doc(cfg(feature = "net")))]
pub mod net {
    #[doc(inline)]
    pub use fourway_net::*;
}

/// hyper on every runtime: [`Server`](hyper::Server), [`Connector`](hyper::Connector).
#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
pub mod hyper {
    #[doc(inline)]
    pub use fourway_hyper::*;
}

// The examples of the README are tested like any others.
#[cfg(all(doctest, feature = "std-thread"))]
#[doc = include_str!("../README.md")]
struct Readme;

// And those of the guide.
#[cfg(all(doctest, feature = "std-thread", feature = "nursery"))]
#[doc = include_str!("../docs/guide/nurseries.md")]
struct Nurseries;
#[cfg(all(doctest, feature = "std-thread", feature = "execute"))]
#[doc = include_str!("../docs/guide/execute.md")]
struct Executing;

#[cfg(all(
    doctest,
    feature = "std-thread",
    feature = "macros",
    feature = "streams"
))]
#[doc = include_str!("../docs/guide/porting.md")]
struct Porting;

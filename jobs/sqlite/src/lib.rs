//! Durable jobs in a file: [`SqliteEngine`].
//!
//! One [`Engine`](fourway_jobs_engine::Engine) for the processes of one machine, without a server.
//! The crate's `README.md` describes its features and limits.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod db;
mod engine;
mod preview;
mod rows;

pub use engine::{SqliteBuilder, SqliteEngine};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

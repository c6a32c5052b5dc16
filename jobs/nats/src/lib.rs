//! Durable jobs on NATS JetStream: [`NatsEngine`].
//!
//! One [`Engine`](fourway_jobs_engine::Engine) for the processes of many machines, on a server or a
//! cluster of them. The crate's `README.md` describes the storage and its limits.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod again;
mod bucket;
mod builder;
mod clock;
mod engine;
mod entry;
mod failed;
mod first;
mod keys;
mod lanes;
mod names;
mod retry;
mod store;
mod sweep;
mod tokio_side;
mod view;

pub use builder::NatsBuilder;
pub use engine::NatsEngine;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod ask;
mod db;
mod engine;
mod handed_out;
mod own_runtime;
mod queries;
mod reader;
mod rows;
mod transact;
mod unique;
mod writer;

pub use engine::{PostgresBuilder, PostgresEngine};

#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod db;
mod engine;
mod handed_out;
mod own_runtime;
mod reader;
mod rows;
mod writer;

pub use engine::{PostgresBuilder, PostgresEngine};

//! Functions that give many values, written once: [`Items`].
//!
//! A library's method gives `Items<T>`, as others give a [`Call`](fourway_core::Call). The library
//! chooses a blocking iterator or an async body; the caller chooses to iterate, to await or to run
//! it in parallel.
//!
//! ```
//! use fourway_core::Runtime;
//! use fourway_streams::{Items, Streams, opened};
//! use std::{fs::File, io::{self, BufRead, BufReader}, path::PathBuf};
//!
//! pub struct Log<R> {
//!     rt: R,
//!     path: PathBuf,
//! }
//!
//! impl<R: Runtime> Log<R> {
//!     /// May block: reads a file.
//!     pub fn lines(&self) -> Items<io::Result<String>> {
//!         let path = self.path.clone();
//!         self.rt.stream_blocking(move || {
//!             opened(File::open(path).map(|file| BufReader::new(file).lines()))
//!         })
//!     }
//! }
//!
//! fn sync_code<R: Runtime>(log: &Log<R>) -> io::Result<usize> {
//!     let mut length = 0;
//!     for line in log.lines() {
//!         length += line?.len();
//!     }
//!     Ok(length)
//! }
//!
//! async fn async_code<R: Runtime>(log: &Log<R>) -> io::Result<usize> {
//!     let (mut length, mut lines) = (0, log.lines());
//!     while let Some(line) = lines.next().await {
//!         length += line?.len();
//!     }
//!     Ok(length)
//! }
//! ```
//!
//! | | sync caller: `for item in items` | async caller: `.next().await`, or as a [`Stream`] | in parallel: [`spawn`](Items::spawn) |
//! |---|---|---|---|
//! | **iterator that may block** | a plain loop | read ahead on the pool, in batches | the same, at once |
//! | **async body** | driven on the calling thread | polled in place | a task, and a bounded queue |
//!
//! [`par_map`](Items::par_map) maps items several at a time, while others are read.
//!
//! # The rule that it keeps
//!
//! [Each item once, at its place](fourway_core::contract#ST-1): items come in order; an error or a
//! panic comes at its place. Dropping the consumer stops the producer, promptly, at its next item.
//! Read-ahead is bounded.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod ahead;
mod generate;
mod items;
mod later;
mod opened;
#[cfg(all(test, not(fourway_shuttle)))]
mod pace_tests;
mod par_map;
#[cfg(all(test, fourway_shuttle))]
mod shuttle_models;
mod streams;
mod sync;
mod wanted;

pub use generate::{Closed, Emit, Emitter, Generate, generate};
pub use items::{IntoIter, Items, Iter, Next};
pub use later::{Later, later};
pub use opened::{Opened, opened};
pub use streams::Streams;

#[doc(no_inline)]
pub use futures_core::Stream;

// The README's example is tested as any other.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! hyper on every runtime: servers and clients of HTTP/1 and HTTP/2 over
//! [`fourway_net`]'s sockets.
//!
//! | | |
//! |---|---|
//! | [`Server`] | accepts connections and serves them; limits, timeouts, a graceful drain |
//! | [`client`], [`Connector`] | hyper-util's client with its pool of connections |
//! | [`Io`] | any `AsyncRead + AsyncWrite` of `futures-io` as hyper's, for callers that drive hyper themselves |
//! | [`Hyper`] | hyper's executor and timer: the type of `fourway-interop`, which is enough for a program with I/O of its own |
//!
//! An axum application is a service once it is wrapped by `hyper_util`'s
//! `TowerToHyperService`, and so is served on any runtime (axum without its feature `tokio`):
//!
//! ```
//! use axum::{Router, routing::get};
//! use fourway_core::Runtime;
//! use fourway_hyper::Server;
//! use fourway_net::Net;
//! use hyper_util::service::TowerToHyperService;
//! use std::io;
//!
//! async fn serve<R: Runtime>(rt: &R) -> io::Result<()> {
//!     let app = Router::new().route("/", get(async || "hello"));
//!     let listener = rt.listen_tcp("127.0.0.1:8080").await?;
//!     Server::new(rt).serve(listener, TowerToHyperService::new(app)).await;
//!     Ok(())
//! }
//! ```
//!
//! The crate names no runtime; which reactor sockets wait by is said in [`fourway_net`].

#![cfg_attr(docsrs, feature(doc_cfg))]
// The only exception tells hyper how much has been read, in `io.rs`.
#![deny(unsafe_code)]

#[cfg(feature = "client")]
mod connector;
mod io;
#[cfg(feature = "server")]
mod server;
#[cfg(any(feature = "client", feature = "server"))]
mod stall;

pub use fourway_interop::hyper::Hyper;
pub use io::Io;

#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub use connector::{Connecting, Connector, HttpStream, client};
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub use server::{Drain, Server, StreamExecutor, Timeout};

// The README's example is tested as any other.
#[cfg(all(doctest, feature = "client", feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;

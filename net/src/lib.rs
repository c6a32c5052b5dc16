//! The same sockets on every runtime.
//!
//! A library asks for a [`Runtime`](fourway_core::Runtime) and names none; with [`Net`] in
//! scope, every runtime has sockets:
//!
//! ```
//! use fourway_core::Runtime;
//! use fourway_net::Net;
//! use futures_util::{AsyncReadExt, AsyncWriteExt};
//! use std::{io, time::Duration};
//!
//! async fn greet<R: Runtime>(rt: &R, host: &str) -> io::Result<String> {
//!     let mut stream = rt
//!         .connect_tcp((host, 7))
//!         .timeout(Duration::from_secs(5))
//!         .await?;
//!     stream.write_all(b"hello").await?;
//!     stream.close().await?; // the peer reads an end; reading from it goes on
//!     let mut answer = String::new();
//!     stream.read_to_string(&mut answer).await?;
//!     Ok(answer)
//! }
//! ```
//!
//! | | |
//! |---|---|
//! | [`TcpStream`], [`TcpListener`] | [`Net::connect_tcp`], [`Net::listen_tcp`] |
//! | [`UdpSocket`] | [`Net::bind_udp`] |
//! | [`UnixStream`], [`UnixListener`], [`UnixDatagram`] | [`Net::connect_unix`], [`Net::listen_unix`], [`Net::bind_unix_datagram`] |
//! | names to addresses | [`Net::resolve`] |
//! | child processes, feature `process` | `process::Command` |
//! | signals, feature `signal` | `signal::ctrl_c`, `signal::termination`, `signal::Signals` |
//! | files, feature `fs` | `fs::read`, `fs::lines` and others: calls that block |
//!
//! Streams implement `AsyncRead` and `AsyncWrite` of `futures-io`, also vectored. They convert from
//! and to the standard library's streams. They lend their descriptors, so `socket2` can set
//! the options that have no method here.
//!
//! # Which reactor
//!
//! | the runtime is | its sockets wait by | feature |
//! |---|---|---|
//! | Tokio, however it is wrapped | the reactor of that very runtime | `tokio` |
//! | smol | `async-io` | `smol` |
//! | std-thread | a poller that its workers wait in when they would otherwise sleep | `std-thread` (default) |
//! | any that brings no reactor | `async-io` | `std-thread` (default) or `smol` |
//! | one with [a network of its own](provide), such as a simulation | that network | none |
//!
//! The reactor is found by [`Spawner::extensions`](fourway_core::Spawner::extensions), through
//! [`AnyRuntime`](fourway_core::AnyRuntime), layers and [`Compose`](fourway_core::Compose), whose
//! tasks' runtime counts. The features only add: if a runtime's own reactor is not compiled in, its
//! sockets wait by `async-io`; if that is missing too, making a socket gives
//! [`Unsupported`](std::io::ErrorKind::Unsupported). A library depends on this crate without
//! default features. The application's `fourway`, feature `net`, turns on the reactors of its
//! runtimes.
//!
//! `async-io` has one thread for all runtimes of the process, so each wait takes a hop between
//! threads. The workers of Tokio and std-thread poll themselves.
//!
//! # What is the same everywhere
//!
//! * **A dropped future loses nothing**: no connection that `accept` would have given, no byte, no
//!   datagram. A dropped connect closes its sockets.
//! * **An empty buffer waits for nothing**: a stream's read and its `peek` give 0 at once, also after
//!   the runtime's shutdown, but not in a forked child. (A datagram's receive waits, and takes the datagram.)
//! * **Reset, refused, unreachable and late are told apart**, by
//!   [`ErrorKind`](std::io::ErrorKind): see [`ConnectError`].
//! * **An accept loop survives a process without descriptors**: `accept` gives an error
//!   ([`is_exhausted`]), and the next `accept` waits a moment rather than spinning.
//! * **After the runtime's shutdown** each operation gives an error at once ([`is_shutdown`]),
//!   including waiting ones; none hangs. Sockets work on any thread and in any executor, and this
//!   holds in each.
//! * **In a forked child** sockets from before the fork give an error at once ([`is_forked`]).
//!   Dropping them there does not affect the parent's.
//! * Child processes and signals wait by sockets of the runtime and follow the same rules.
//! * **Dropping** a socket closes it, anywhere, and never blocks.
//!
//! # How many may wait
//!
//! Any number of tasks may wait in methods that take `&self`. The `poll_` methods of `AsyncRead`
//! and `AsyncWrite` keep the last waker of each direction. This is enough, as they borrow the
//! stream or a half of it exclusively.
//!
//! # Platforms
//!
//! Unix.

#![cfg_attr(docsrs, feature(doc_cfg))]
// The only exception is the registration of a descriptor with Tokio.
#![deny(unsafe_code)]

#[cfg(not(unix))]
compile_error!("fourway-net waits for descriptors, and so works on Unix alone so far");

mod budget;
mod endpoint;
mod error;
#[cfg(feature = "fs")]
#[cfg_attr(docsrs, doc(cfg(feature = "fs")))]
pub mod fs;
mod io;
mod net;
mod options;
mod pause;
#[cfg(feature = "process")]
#[cfg_attr(docsrs, doc(cfg(feature = "process")))]
pub mod process;
pub mod provide;
mod reactor;
#[cfg(feature = "signal")]
#[cfg_attr(docsrs, doc(cfg(feature = "signal")))]
pub mod signal;
mod split;
mod tcp;
mod udp;
mod unix;

pub use endpoint::{Endpoint, Resolve};
pub use error::{ConnectError, is_exhausted, is_final, is_forked, is_shutdown};
pub use net::Net;
pub use options::Keepalive;
pub use reactor::Reactor;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReuniteError, Splittable};
pub use tcp::{ConnectTcp, Incoming, ListenTcp, TcpListener, TcpStream};
pub use udp::{BindUdp, UdpSocket};
pub use unix::{ConnectUnix, UnixDatagram, UnixIncoming, UnixListener, UnixStream};

// The README's example is tested as any other.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! Child processes, in the standard library's names.
//!
//! ```
//! use fourway_core::Runtime;
//! use fourway_net::process::{Command, Stdio};
//! use futures_util::{AsyncReadExt, AsyncWriteExt};
//! use std::io;
//!
//! async fn upper<R: Runtime>(rt: &R, text: &[u8]) -> io::Result<String> {
//!     let mut child = Command::new("tr")
//!         .args(["a-z", "A-Z"])
//!         .stdin(Stdio::piped())
//!         .stdout(Stdio::piped())
//!         .kill_on_drop(true)
//!         .spawn(rt)?;
//!     let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
//!     let mut upper = String::new();
//!     let write = async {
//!         stdin.write_all(text).await?;
//!         drop(stdin); // the child reads an end
//!         Ok(())
//!     };
//!     // Both at a time: a pipe that nobody empties fills up.
//!     futures_util::future::try_join(write, stdout.read_to_string(&mut upper)).await?;
//!     assert!(child.wait().await?.success());
//!     Ok(upper)
//! }
//! ```
//!
//! Pipes are sockets of the runtime, and so is what tells that a child has ended (on Linux a
//! `pidfd`, elsewhere the signal `SIGCHLD`): they wait by the reactor of the runtime, whichever
//! that is, and what holds for [sockets](crate#what-is-the-same-everywhere) holds for them. A
//! wait that is dropped loses nothing; after the shutdown of the runtime it gives an error at
//! once ([`is_shutdown`](crate::is_shutdown)), while the child goes on; in a forked child of
//! this process nothing reaches the parent's children
//! ([`is_forked`](crate::is_forked)).
//!
//! A child that is dropped goes on, as the standard library's does, unless
//! [`kill_on_drop`](Command::kill_on_drop) was asked for. In either case it leaves no zombie:
//! one thread of the process, which is there for as long as there are such children, takes
//! their exit statuses.
//!
//! The idea of a `pidfd` in a reactor is that of Tokio and of `async-process`. Neither is
//! used: Tokio's child looks for another runtime when its own has been shut down, and then
//! nobody takes exit statuses any more; that of `async-process` has a reactor and a thread
//! beside those of the runtime.

mod child;
mod command;
mod exit;
mod pipes;
mod reaper;

pub use child::Child;
pub use command::Command;
pub use pipes::{ChildStderr, ChildStdin, ChildStdout};

#[doc(no_inline)]
pub use std::process::{ExitStatus, Output, Stdio};

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
//! Pipes wait by the runtime's reactor, and so do the ends of children (on Linux a `pidfd`,
//! elsewhere the signal `SIGCHLD`). The rules for [sockets](crate#what-is-the-same-everywhere) hold
//! for them. A dropped wait loses nothing. After the shutdown of the runtime a wait gives an error
//! at once ([`is_shutdown`](crate::is_shutdown)), while the child goes on. In a forked child of
//! this process no operation reaches the parent's children
//! ([`is_forked`](crate::is_forked)).
//!
//! A dropped child goes on, as the standard library's does, unless
//! [`kill_on_drop`](Command::kill_on_drop) was asked for. In either case it leaves no zombie: one
//! thread of the process takes their exit statuses; it exists as long as there are such children.
//!
//! Tokio and `async-process` also use a `pidfd` in a reactor. Neither is used here: after the
//! shutdown of its runtime, Tokio's child looks for another runtime, and exit statuses are not
//! taken any more; `async-process` has its own reactor and thread beside the runtime's.

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

//! Cancellation that reaches async and blocking code alike: [`CancellationToken`].
//!
//! Dropping a future cancels it at its next await. A closure, a loop that computes, and work
//! that wants to finish something first have to be *asked*. To ask, a caller cancels a token, and
//! the work checks it.
//!
//! | the work is | it looks with |
//! |---|---|
//! | a future that waits for something else | [`run_until_cancelled`](CancellationToken::run_until_cancelled), [`cancelled`](CancellationToken::cancelled) |
//! | a closure or a loop | [`check()?`](CancellationToken::check), [`is_cancelled`](CancellationToken::is_cancelled) |
//! | a closure that waits | [`sleep(duration)?`](CancellationToken::sleep) |
//!
//! For the [current token](#the-current-token), the last two are functions: [`check()?`](check),
//! [`sleep(duration)?`](sleep()).
//!
//! Tokens form a tree: cancelling one cancels its [children](CancellationToken::child), and
//! theirs, with the same [`Reason`]; never its parent. Children also inherit a deadline.
//!
//! # The current token
//!
//! A token travels among the [`Values`](crate::values::Values) of the work ([values travel with the
//! work][CX-3]): in a [scope](CancellationToken::scope) of the token, and in everything that is
//! spawned or offloaded there through a runtime that [propagates](crate::layer::Propagate) values,
//! [`current()`] gives the token, [`check()`] asks it, and [`sleep()`] waits for it. So a function deep inside a
//! library can be cancelled without a parameter for it.
//!
//! ```
//! use fourway_core::cancel::{self, Cancelled, CancellationToken};
//!
//! fn checksum(data: &[u8]) -> Result<u64, Cancelled> {
//!     let mut sum = 0;
//!     for chunk in data.chunks(4096) {
//!         cancel::check()?; // costs little: a look at a thread-local
//!         sum += chunk.iter().map(|byte| u64::from(*byte)).sum::<u64>();
//!     }
//!     Ok(sum)
//! }
//!
//! let token = CancellationToken::new();
//! assert_eq!(token.scope(|| checksum(b"ab")), Ok(195));
//! token.cancel();
//! assert!(token.scope(|| checksum(b"ab")).is_err());
//! assert_eq!(checksum(b"ab"), Ok(195)); // outside of the scope nothing is cancelled
//! ```
//!
//! # Where the ideas come from
//!
//! Reasons and deadlines that are inherited come from Go's `context`; the current token, from
//! Kotlin's and trio's scopes.
//!
//! The names are those of tokio-util's `CancellationToken`. Code that moves from it changes the
//! imports, and the code that uses these:
//!
//! * [`cancelled`](CancellationToken::cancelled) gives the [`Cancelled`] with the reason, where
//!   tokio-util gives `()`, and its future owns its token, so that
//!   [`cancelled_owned`](CancellationToken::cancelled_owned) has the same type.
//! * [`run_until_cancelled`](CancellationToken::run_until_cancelled) gives a `Result` with the
//!   reason, where tokio-util gives an `Option`: `.ok()` makes the one into the other. A future that
//!   is ready wins, and the future it returns owns its token, so that
//!   [`run_until_cancelled_owned`](CancellationToken::run_until_cancelled_owned) has the same type.
//! * The child that [`child_token`](CancellationToken::child_token) makes is called
//!   [`child`](CancellationToken::child) here.
//! * A guard that is dropped cancels with [`Reason::Dropped`].
//!
//! Its extension trait for futures is left out: what `future.with_cancellation_token(&token)` does is
//! `token.run_until_cancelled(future)`.
//!
//! [CX-3]: crate::contract#CX-3

mod current;
mod guard;
pub(crate) mod left;
mod node;
mod reason;
mod slab;
mod sleep;
#[cfg(test)]
mod tests;
mod token;
mod wait;

pub(crate) use current::CURRENT;
pub use current::{check, current, is_cancelled, sleep, try_current, try_sleep};
pub use guard::{DropGuard, DropGuardRef};
pub use left::LeftWaker;
pub use reason::{Cancelled, Reason};
pub use token::CancellationToken;
pub use wait::{RunUntilCancelled, WaitForCancellation};

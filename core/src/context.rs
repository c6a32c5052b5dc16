//! What kind of code the current thread is running: [`current`].
//!
//! A few bytes per thread say whether code running here may block, and which runtime it
//! belongs to. They are set around every poll, closure and destructor that a fourway runtime
//! runs, and restored afterwards, also when it panics. Nothing is remembered from one call to
//! the next ([nothing is cached across calls][CX-2]). How adapters set them is in
//! [`implement`](crate::implement).
//!
//! [CX-2]: crate::contract#CX-2

use crate::implement::mark;

/// What the current thread is running.
///
/// These are all: code may block or not, and where it may, it has a place in a pool or not. So a
/// `match` on it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Context {
    /// Plain code on a plain thread. It may block.
    Sync,
    /// A future that is being polled, or destroyed, by an executor or a
    /// `block_on`. It must not block.
    Async,
    /// An offloaded closure, or one inside `block_in_place`. It may block.
    Blocking,
}

/// What the calling thread is running at this moment ([the current context is exact][CX-1]).
///
/// Exact for everything started by fourway. For tasks that were started on Tokio
/// directly it is exact as far as Tokio lets one tell, from the moment the Tokio
/// adapter has been used once in the process; a raw task wrapped in
/// `tokio::task::unconstrained` is the known gap.
///
/// Costs a few nanoseconds; on a thread where a raw Tokio handle is current,
/// and which fourway has not marked as async, about two microseconds.
///
/// # Examples
///
/// ```
/// use fourway_core::context::{self, Context};
///
/// assert_eq!(context::current(), Context::Sync);
/// ```
///
/// [CX-1]: crate::contract#CX-1
#[inline]
#[must_use]
pub fn current() -> Context {
    mark::current()
}

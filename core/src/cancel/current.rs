//! The current token, one of the values that travel with the work.

use std::time::Duration;

use super::{CancellationToken, Cancelled};
use crate::{
    BlockOnError,
    values::{Key, NotMade, Values},
};

pub(crate) static CURRENT: Key<CancellationToken> = Key::new("cancellation token");

/// The token of the work that the calling thread is doing.
///
/// Without one, a fresh token, which no other code can cancel. To ask only whether the work is
/// cancelled, [`check`] and [`is_cancelled`] cost less.
#[must_use]
pub fn current() -> CancellationToken {
    try_current().unwrap_or_default()
}

/// The token of the work that the calling thread is doing, if it has one.
#[must_use]
pub fn try_current() -> Option<CancellationToken> {
    let looked = Values::with_current(|values| match values.look_at_token(&CURRENT) {
        Ok(token) => (token.cloned(), None),
        Err(NotMade) => (None, Some(values.clone())),
    });
    match looked {
        // Outside of the thread-local's borrow, because to make it is foreign code.
        (_, Some(values)) => values.get(&CURRENT).cloned(),
        (token, None) => token,
    }
}

/// Is the work that the calling thread is doing cancelled? `false` if it has no token.
#[inline]
#[must_use]
pub fn is_cancelled() -> bool {
    suspect().is_some_and(|token| token.is_cancelled())
}

/// Goes on unless the work that the calling thread is doing was cancelled.
///
/// # Errors
///
/// As [`CancellationToken::check`]; never if the work has no token.
#[inline]
pub fn check() -> Result<(), Cancelled> {
    match suspect() {
        None => Ok(()),
        Some(token) => token.check(),
    }
}

/// Blocks the calling thread for `duration`, unless the work that it is doing is cancelled: then it
/// ends at once and says so. [`CancellationToken::sleep`] of the current token; without one, nothing
/// ends it early.
///
/// # Errors
///
/// [`Cancelled`] if the work was cancelled before the time was over, or before the call.
///
/// # Panics
///
/// On a thread that runs async code, which must not block, at the caller's line ([no blocking
/// in async code](crate::contract#BL-2)).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use fourway_core::cancel::{self, Cancelled, CancellationToken};
///
/// /// Asks again until the answer is there.
/// fn poll(mut answer: impl FnMut() -> Option<u32>) -> Result<u32, Cancelled> {
///     loop {
///         if let Some(answer) = answer() {
///             return Ok(answer);
///         }
///         cancel::sleep(Duration::from_millis(50))?;
///     }
/// }
///
/// let token = CancellationToken::new();
/// token.cancel();
/// assert!(token.scope(|| poll(|| None)).is_err());
/// ```
#[track_caller]
pub fn sleep(duration: Duration) -> Result<(), Cancelled> {
    current().sleep(duration)
}

/// [`sleep`] with an error in place of the panic.
///
/// # Errors
///
/// As [`CancellationToken::try_sleep`].
pub fn try_sleep(duration: Duration) -> Result<Result<(), Cancelled>, BlockOnError> {
    current().try_sleep(duration)
}

/// The current token, unless it is plainly not cancelled.
///
/// A token with a deadline is checked outside of the thread-local's borrow: if the deadline has
/// passed, the check calls wakers.
// Its callers are inlined and this is not: what it returns is one word, and a result that is put
// together in memory is slow to read there as a whole.
#[inline(never)]
fn suspect() -> Option<CancellationToken> {
    Values::with_current(|values| {
        // One that has yet to be made is not cancelled.
        let token = values.look_at_token(&CURRENT).ok()??;
        let suspect = token.node.is_marked() || token.node.deadline().is_some();
        suspect.then(|| token.clone())
    })
}

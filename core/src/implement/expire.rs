use std::time::Duration;

use crate::{CancellationToken, Timer};

/// Gives a token a deadline, `duration` from now, unless it has an earlier one: for work whose time
/// begins after its token was handed out.
///
/// At the deadline it is cancelled with [`Reason::Deadline`](crate::cancel::Reason::Deadline), as by
/// [`child_with_deadline`](CancellationToken::child_with_deadline). Those that wait for its
/// cancellation are woken to set a timer, and children that are made from now on inherit it. A child
/// that is there already is cancelled once somebody looks at, or waits for, this token after the
/// deadline. Only the first deadline that is set in this way counts. A duration that is beyond what
/// the clock can express sets none.
pub fn expire_after<T>(token: &CancellationToken, timer: &T, duration: Duration)
where
    T: Timer + Clone + Send + Sync + 'static,
{
    if let Some(deadline) = timer.now().checked_add(duration) {
        token.set_deadline(timer, deadline);
    }
}

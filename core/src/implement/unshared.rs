//! Whether the values and the token of one piece of work can be reused for the next one.

use crate::{cancel::CancellationToken, values::Values};

/// No other code holds these values, nor any that they were made with: the work that had them
/// current has kept none of them.
///
/// For code that runs one piece of work after the other and would make the same values for each.
/// Check this before you check whether something in the values is shared: a holder of the values
/// can get it from there.
///
/// # Examples
///
/// ```
/// use fourway_core::{implement::are_unshared, values::{Key, Values}};
///
/// static NAME: Key<&str> = Key::new("name");
///
/// let mut values = Values::default().with(&NAME, "worker");
/// values.scope_mut(|| assert_eq!(NAME.get(), Some("worker")));
/// assert!(are_unshared(&values));
///
/// let kept = values.scope_mut(Values::current);
/// assert!(!are_unshared(&values));
/// drop(kept);
/// assert!(are_unshared(&values));
/// ```
#[must_use]
pub fn are_unshared(values: &Values) -> bool {
    values.are_unshared()
}

/// The token is not cancelled, has no children and no waiters, and has exactly `handles` handles.
/// If these are all the caller's, the token is as good as new.
///
/// A deadline is not checked.
///
/// # Examples
///
/// ```
/// use fourway_core::{cancel::CancellationToken, implement::is_unshared};
///
/// let token = CancellationToken::new();
/// assert!(is_unshared(&token, 1));
/// let child = token.child();
/// assert!(!is_unshared(&token, 1));
/// drop(child);
/// assert!(is_unshared(&token, 1));
/// token.cancel();
/// assert!(!is_unshared(&token, 1));
/// ```
#[must_use]
pub fn is_unshared(token: &CancellationToken, handles: usize) -> bool {
    token.is_unshared(handles)
}

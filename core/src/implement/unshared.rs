//! Whether what one piece of work had may serve the next one.

use crate::{cancel::CancellationToken, values::Values};

/// Nobody else holds these values, nor any that they were made with: work that had them current
/// has kept none of them.
///
/// For who runs one piece of work after the other and would make the same values for each. As
/// values are had from values, this is asked before one asks whether what is in them is shared.
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

/// The token was not cancelled and has no children, nobody waits for it, and there are so many
/// handles of it: if they are all the caller's, it is as good as new.
///
/// A deadline is not looked at.
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

use std::future::IntoFuture;

use crate::Runtime;

/// What a call is made of, for those that are made of calls.
///
/// It seals [`Call`](super::Call), for nobody can name it: so the trait may gain methods
/// and lose bounds. Whoever has work of a kind of their own gives it to one of the
/// runtime's methods that make calls.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a call",
    label = "`Call` is sealed",
    note = "a runtime makes calls: `rt.call(future)`, `rt.call_blocking(|| ..)` or `rt.call_ready(value)`"
)]
pub trait Parts: IntoFuture {
    /// The runtime that the call turns to when it needs one.
    type Runtime: Runtime;

    /// A handle on it. Where its type is not known, making one allocates.
    fn runtime(&self) -> Self::Runtime;
}

use std::future::IntoFuture;

use crate::{BlockOnError, CancellationToken, Cancelled, Runtime};

/// What waiting until a token is cancelled gives.
pub(crate) type Waited<T> = Result<Result<T, Cancelled>, BlockOnError>;

/// The parts of a call, for calls that are made of calls.
///
/// It seals [`Call`](super::Call), because other crates cannot name it. So the trait may gain
/// methods and lose bounds. For other kinds of work, use the runtime's methods that make calls.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a call",
    label = "`Call` is sealed",
    note = "a runtime makes calls: `rt.call(future)`, `rt.call_blocking(|| ..)` or `rt.call_ready(value)`"
)]
pub trait Parts: IntoFuture {
    /// The runtime that the call turns to when it needs one.
    type Runtime: Runtime;

    /// A handle on the runtime. If its type is erased, this allocates.
    fn runtime(&self) -> Self::Runtime;

    /// As [`Call::try_wait`](super::Call::try_wait), until the token is cancelled: an async body is
    /// then dropped, and a body that has not begun never begins. A blocking body that runs has to
    /// end by itself.
    fn try_wait_until(self, token: &CancellationToken) -> Waited<Self::Output>
    where
        Self: Sized;
}

use crate::{
    BlockOnError, CancellationToken, Cancelled,
    call::{BoxCall, Call, Guarded},
};

/// A call that drops `guard` with its future, with its task, or at its end: for a blocking body
/// that ends early if its output is wanted no more.
///
/// An offloaded closure that runs is not destroyed with its handle. The guard tells the body that the
/// handle is gone. It is dropped on any thread, also one that runs async code.
pub fn guard_call<C: Call>(call: C, guard: impl Send + 'static) -> BoxCall<C::Output> {
    Guarded::new(call, guard).boxed()
}

/// [`Call::try_wait`], until the token is cancelled: an async body is then dropped, and a body that
/// has not begun never begins. A blocking body that runs has to end by itself.
///
/// The guard of a [guarded](guard_call) call is dropped when the token is cancelled. No timer is set
/// for that: of a token with a deadline, it is dropped once other code looks at the token, or waits for
/// it, after the deadline. Where nothing else does, cancel the token from a timer.
///
/// # Errors
///
/// Those of [`Call::try_wait`]. The inner error says that the token was cancelled before there was an
/// output.
pub fn wait_until_cancelled<C: Call>(
    call: C,
    token: &CancellationToken,
) -> Result<Result<C::Output, Cancelled>, BlockOnError> {
    call.try_wait_until(token)
}

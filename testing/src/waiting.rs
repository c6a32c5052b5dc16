//! Waiting for events, with a deadline that fails.

use std::{
    future::{Future, poll_fn},
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use fourway_core::Runtime;

/// Long enough for a busy machine.
pub const AGES: Duration = Duration::from_secs(60);

/// Blocks on a test, with a deadline.
///
/// # Panics
///
/// If it takes longer than [`AGES`].
pub fn run<R: Runtime, F: IntoFuture>(rt: &R, future: F) -> F::Output {
    rt.block_on(rt.timeout(AGES, future))
        .expect("takes for ever")
}

/// Waits until it is so.
///
/// # Panics
///
/// If that takes longer than [`AGES`].
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + AGES;
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        thread::yield_now();
    }
}

/// Polls it once.
pub async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx: &mut Context<'_>| Poll::Ready(future.as_mut().poll(cx))).await
}

/// A panic that the hook does not print.
pub fn panic_quietly(payload: &'static str) -> ! {
    resume_unwind(Box::new(payload))
}

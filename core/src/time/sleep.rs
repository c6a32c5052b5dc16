use alloc::boxed::Box;
use core::{future::Future, ops::DerefMut, pin::Pin, time::Duration};
#[cfg(feature = "std")]
use std::time::Instant;

/// A timer that can be moved. Made by [`Timer::sleep`](super::Timer::sleep).
///
/// It is `Send` and `Sync`, so that a connection that keeps one in a field can be shared.
///
/// # Cancel safety
///
/// Dropping it gives up the timer and has no other effect.
///
/// # Examples
///
/// An idle timeout, moved by each byte that comes:
///
/// ```
/// use fourway_core::{Timer, time::Sleep};
/// use std::{pin::Pin, time::{Duration, Instant}};
///
/// const LIMIT: Duration = Duration::from_secs(30);
///
/// fn heard<R: Timer>(rt: &R, idle: Pin<&mut R::Sleep>) {
///     idle.reset(rt.now() + LIMIT);
/// }
/// ```
pub trait Sleep: Future<Output = ()> + Send + Sync {
    /// Moves the timer: it is ready once `duration` has passed, counted from this call.
    ///
    /// As [`reset`](Self::reset), and what that is made of without `std`.
    fn reset_after(self: Pin<&mut Self>, duration: Duration);

    /// Moves the timer: it is ready at `deadline`, be that earlier or later than before ([timers
    /// can be moved][TI-5]).
    ///
    /// A timer that was ready already waits again, and may be polled again. It keeps the waker of
    /// an earlier poll, and wakes it at the new deadline, or promptly if that has passed. The timer
    /// of a Tokio runtime takes `deadline` on that runtime's clock, as
    /// [`sleep_until`](super::Timer::sleep_until) does.
    ///
    /// The same as [`reset_after`](Self::reset_after) the time that is left by the clock of
    /// the standard library, which is what it does by default; a timer with a clock of its own
    /// overrides it.
    ///
    /// [TI-5]: crate::contract#TI-5
    #[cfg(feature = "std")]
    fn reset(self: Pin<&mut Self>, deadline: Instant) {
        self.reset_after(deadline.saturating_duration_since(Instant::now()));
    }
}

/// A timer of any type. [`AnyRuntime`](crate::AnyRuntime) makes these.
pub type BoxSleep = Pin<Box<dyn Sleep>>;

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl<P> Sleep for Pin<P>
where
    P: DerefMut<Target: Sleep> + Send + Sync,
{
    fn reset_after(self: Pin<&mut Self>, duration: Duration) {
        self.as_deref_mut().reset_after(duration);
    }

    #[cfg(feature = "std")]
    fn reset(self: Pin<&mut Self>, deadline: Instant) {
        self.as_deref_mut().reset(deadline);
    }
}

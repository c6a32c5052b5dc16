//! Waiting for time to pass: [`Timer`], and what it provides.

#[cfg(feature = "std")]
mod interval;
#[cfg(feature = "std")]
mod timeout;
mod timer;
mod yield_now;

#[cfg(feature = "std")]
pub use interval::{Interval, MissedTickBehavior};
#[cfg(feature = "std")]
pub use timeout::{Elapsed, Timeout};
pub use timer::Timer;
pub use yield_now::{YieldNow, yield_now};

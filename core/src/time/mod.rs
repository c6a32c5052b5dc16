//! Waiting for time to pass: [`Timer`], and what it provides.

#[cfg(feature = "std")]
mod interval;
#[cfg(feature = "std")]
pub(crate) mod provided;
mod sleep;
#[cfg(feature = "std")]
mod timeout;
mod timer;
mod yield_now;

#[cfg(feature = "std")]
pub use interval::{Interval, MissedTickBehavior};
pub use sleep::{BoxSleep, Sleep};
#[cfg(feature = "std")]
pub use timeout::{Elapsed, Timeout};
pub use timer::Timer;
pub use yield_now::{YieldNow, yield_now};

//! Common tools of the cases: handshakes, deadlines and counters.
//!
//! Cases wait for events, never for a time. An event that *must* happen has a generous deadline
//! ([`must`]) and fails loudly. For an event that must *not* happen, a case watches for a short
//! time ([`must_not`]), after a handshake that makes the wrong result likely to show.

mod blocking;
mod counting;
mod driving;
mod gate;
mod panics;
mod puppet;
mod stress;
mod waiting;

pub(crate) use blocking::*;
pub(crate) use counting::*;
pub(crate) use driving::*;
pub(crate) use gate::*;
pub(crate) use panics::*;
pub(crate) use puppet::*;
pub(crate) use stress::*;
pub(crate) use waiting::*;

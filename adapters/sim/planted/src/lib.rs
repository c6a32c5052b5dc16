//! Planted bugs: `tests/planted` has them, and `docs/SIMULATED-BUGS.md` says how many schedules it
//! takes to find each. It is a crate of its own because it needs shuttle too.

#![forbid(unsafe_code)]

//! Planted bugs: `tests/planted` has them, and `docs/SIMULATED-BUGS.md` says how many schedules it
//! takes to find each. A crate of its own, for shuttle is beside the simulation there.

#![forbid(unsafe_code)]

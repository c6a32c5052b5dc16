//! Wrappers that are runtimes themselves and add one thing.
//!
//! In the style of tower: a layer implements the same traits as what it wraps.
//! What you do not wrap costs nothing.

mod propagate;

pub use propagate::Propagate;

//! Wrappers that are runtimes themselves and add one thing.
//!
//! In the style of tower: a layer implements the same traits as what it wraps.
//! What you do not wrap costs nothing.
//!
//! Work that a layered runtime runs, and that asks for the current runtime, finds the layered
//! one ([CX-3]): see [`Layers`], with which a layer of your own does as much.
//!
//! [CX-3]: crate::contract#CX-3

mod layers;
mod parked;
mod propagate;

pub use layers::{Layers, WithLayers};
pub use parked::{Parked, ParkedTask};
pub use propagate::Propagate;

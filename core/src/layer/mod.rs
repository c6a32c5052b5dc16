//! Wrappers that are runtimes themselves and add one thing.
//!
//! In the style of tower: a layer implements the same traits as what it wraps.
//! An unwrapped runtime pays nothing.
//!
//! Work of a layered runtime that asks for the current runtime gets the layered one ([values travel
//! with the work][CX-3]). Your own layers do the same with [`Layers`].
//!
//! [CX-3]: crate::contract#CX-3

mod layers;
mod parked;
mod propagate;

pub use layers::{Layers, WithLayers};
pub use parked::{Parked, ParkedTask};
pub use propagate::Propagate;

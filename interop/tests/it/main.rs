//! Each neighbour on every runtime: a feature and a module each; tower, which needs no glue, without one.

#[macro_use]
mod common;

#[cfg(feature = "futures")]
mod futures;
#[cfg(feature = "hyper")]
mod hyper;
#[cfg(feature = "opendal")]
mod opendal;
#[cfg(feature = "quinn")]
mod quinn;
mod tower;
#[cfg(feature = "tracing")]
mod tracing;

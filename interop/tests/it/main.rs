//! Each neighbour on every runtime: a feature and a module each.
#![cfg(any(
    feature = "futures",
    feature = "hyper",
    feature = "opendal",
    feature = "tracing"
))]

#[macro_use]
mod common;

#[cfg(feature = "futures")]
mod futures;
#[cfg(feature = "hyper")]
mod hyper;
#[cfg(feature = "opendal")]
mod opendal;
#[cfg(feature = "tracing")]
mod tracing;

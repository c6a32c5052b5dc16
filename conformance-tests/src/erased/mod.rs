//! A subject without its types, so that a case is compiled once for all runtimes: [`Erased`].
//!
//! It must not hide faults. Each method calls the same method of the subject's runtime, task or
//! timer, and the subject owns the arguments from then on: futures, closures, outputs and handles
//! are destroyed where and when the subject destroys them, a clone is a clone of the subject's
//! handle, and each poll of a handle is a poll of the subject's. Nothing is spawned, caught, locked
//! or stored here. So it is not [`AnyRuntime`](fourway_core::AnyRuntime), which has its own task
//! handles, counts references itself, and drives futures that it keeps.
//!
//! Outputs go into a box, as a [`Value`]. Erasure does change sizes and alignments, futures without
//! a destructor, and the place at which `block_on` panics; the cases about these run natively
//! (`native` in `cases/mod.rs`). Provided methods that give a type of the core are not passed on:
//! `Task::cancel`, `Timer::timeout` and `Timer::interval` are the provided ones here too, and so
//! are `Spawner::spawn` and its variants, which call `spawn_with`.

mod block_on;
mod offload;
mod runtime;
mod shutdown;
mod spawn;
mod task;
mod timer;

use std::any::Any;

pub(crate) use self::runtime::Erased;

/// An output without its type.
type Value = Box<dyn Any + Send>;

/// The output that went into the box.
fn unbox<T: 'static>(value: Value) -> T {
    *value
        .downcast()
        .expect("it was boxed as what the handle says")
}

//! A subject without its types, so that a case is compiled once and not once for each
//! runtime: [`Erased`].
//!
//! It must hide nothing. Each method passes on to the same method of the subject's own
//! runtime, task or timer, and what is passed on is owned by the subject from then on:
//! futures, closures, outputs and handles are destroyed where and when the subject
//! destroys them, a clone is a clone of the subject's handle, and each poll of a handle is
//! a poll of the subject's. Nothing is spawned, caught, locked or remembered here. That is
//! why it is not [`AnyRuntime`](fourway_core::AnyRuntime), which has task handles of its
//! own, counts references itself, and drives futures that it keeps.
//!
//! Outputs go into a box, as a [`Value`]. What erasure does change, cases that are about it
//! see natively (`native` in `cases/mod.rs`): sizes and alignments, futures without a
//! destructor, and the place at which `block_on` panics. Not passed on are those provided
//! methods that give a type of the core's: `Task::cancel`, `Timer::timeout`,
//! `Timer::interval` are the provided ones here too, and so are `Spawner::spawn` and its like,
//! which are made of `spawn_with`.

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

//! SP: spawning.

mod anywhere;
mod progress;
mod refused;
mod shapes;

use fourway_core::{Runtime, Spawner, Task};

use crate::{
    Case,
    setup::Setup,
    util::{Gate, OnDrop},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    [progress::cases(s), anywhere::cases(s), refused::cases(s)].concat()
}

pub(super) fn native<S: Setup>(s: S) -> Vec<Case> {
    shapes::native(s)
}

/// Spawns a task that opens the gate.
fn spawn_opener(rt: &impl Spawner, gate: &Gate) {
    let gate = gate.clone();
    rt.spawn(async move { gate.open() }).detach();
}

/// A value that spawns such a task when it is dropped.
fn opener_on_drop<R: Runtime>(rt: &R, gate: &Gate) -> impl Send + Unpin + 'static + use<R> {
    let (rt, gate) = (rt.clone(), gate.clone());
    // Boxed, as handles need not be `Unpin`.
    Box::new(OnDrop(move || spawn_opener(&rt, &gate)))
}

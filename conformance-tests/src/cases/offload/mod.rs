//! OF: running blocking code from async code.

mod bursts;
mod cancel;
mod idle;
mod limit;
mod nested;
mod results;
mod threads;

use fourway_core::Runtime;

use crate::{
    Case, Subject,
    util::{Gate, build_with},
};

pub(super) fn cases<S: Subject>() -> Vec<Case> {
    [
        threads::cases::<S>(),
        results::cases::<S>(),
        cancel::cases::<S>(),
        nested::cases::<S>(),
        limit::cases::<S>(),
        idle::cases::<S>(),
        bursts::cases::<S>(),
    ]
    .concat()
}

/// A closure that holds a slot until the gate is opened, and is known to run.
fn blocker<R: Runtime>(rt: &R, gate: &Gate) -> R::OffloadTask<()> {
    let (started, running) = Gate::pair();
    let gate = gate.clone();
    let task = rt.offload(move || {
        started.open();
        gate.wait();
    });
    running.wait();
    task
}

fn limit<S: Subject>(n: usize) -> S::Runtime {
    build_with::<S>(|config| config.offload_limit = n)
}

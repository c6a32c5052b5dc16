//! OF: running blocking code from async code.

mod bursts;
mod cancel;
mod idle;
mod limit;
mod nested;
mod results;
mod threads;

use fourway_core::Runtime;

use crate::{Case, setup::Setup, util::Gate};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    [
        threads::cases(s),
        results::cases(s),
        cancel::cases(s),
        nested::cases(s),
        limit::cases(s),
        idle::cases(s),
        bursts::cases(s),
    ]
    .concat()
}

pub(super) fn native<S: Setup>(s: S) -> Vec<Case> {
    results::native(s)
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

fn limit<S: Setup>(s: S, n: usize) -> S::Runtime {
    s.build_with(|config| config.offload_limit = n)
}

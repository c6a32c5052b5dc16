//! SP: spawning.

use fourway_core::{BlockOn, Spawner, Task};

use super::{Case, table};
use crate::{
    Subject,
    util::{Gate, build},
};

pub(super) fn cases<S: Subject>() -> Vec<Case> {
    table![
        "SP-1.1", "a detached task makes progress without anyone polling its handle",
        "a lazily driven handle would leave background work undone", detached_progress::<S>;
    ]
}

fn detached_progress<S: Subject>() {
    let rt = build::<S>();
    let (done, gate) = Gate::pair();
    rt.spawn(async move { done.open() }).detach();
    // From a plain thread that drives nothing.
    gate.wait();
    // And the runtime is still in order.
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

//! Helpers of the facade's tests.

use fourway::{AnyRuntime, call::Call, prelude::*};

/// On each runtime that is compiled in.
pub(crate) fn every(check: impl Fn(AnyRuntime)) {
    for name in fourway::compiled_in() {
        check(fourway::runtime_named(name).unwrap());
    }
}

/// Waits for one, awaits one, spawns one.
pub(crate) fn in_all_columns<C: Call>(rt: &AnyRuntime, make: impl Fn() -> C) -> [C::Output; 3] {
    let awaited = make();
    [
        make().wait(),
        rt.block_on(async move { awaited.await }),
        rt.block_on(make().spawn()).unwrap(),
    ]
}

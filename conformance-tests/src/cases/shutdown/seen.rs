//! SH-4, the state can be seen.

use fourway_core::{AnyRuntime, BlockOn, Offload, Shutdown, Spawner};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Gate, drive, eventually, must},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "SH-4.1", "every handle sees that the runtime is shut down, and none before",
        "glue has to tell its own kind of spawner", seen, needs [Shutdown];
        "SH-4.2", "the status counts closures that run, wait and are parked",
        "a queue that grows is what one wants to be told", counted;
    ]
}

fn seen<S: Setup>(s: S) {
    let rt = s.build();
    let (clone, erased) = (rt.clone(), AnyRuntime::new(rt.clone()));
    rt.block_on(rt.spawn(async {})).unwrap();
    assert!(!rt.is_shutdown() && !clone.is_shutdown() && !erased.is_shutdown());
    assert!(rt.shutdown(must()).unwrap().is_clean());
    assert!(rt.is_shutdown());
    assert!(clone.is_shutdown() && erased.is_shutdown());
    assert!(erased.shutdown(must()).unwrap().is_clean(), "a second time");
}

fn counted<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    let pool = || rt.status().pool;
    let (go, gate) = Gate::pair();
    let (unpark, parked) = Gate::pair();
    let inner = rt.clone();
    let first = rt.offload(move || inner.block_on(parked.opened()));
    eventually("the first is parked", || pool().lent == 1);
    let second = rt.offload(move || drive(gate.opened()));
    eventually("the second runs in its place", || pool().running == 1);
    let third = rt.offload(|| ());
    assert_eq!((pool().running, pool().queued, pool().lent), (1, 1, 1));
    assert_eq!(AnyRuntime::new(rt.clone()).status().pool, pool());
    go.open();
    unpark.open();
    for task in [first, second, third] {
        drive(task).unwrap();
    }
    eventually("all have ended", || {
        let pool = pool();
        (pool.running, pool.queued, pool.lent) == (0, 0, 0)
    });
}

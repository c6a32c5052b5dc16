//! `futures` spawns on every runtime.

use std::{cell::Cell, rc::Rc, time::Duration};

use fourway_core::{Runtime, local};
use fourway_interop::futures::{Futures, FuturesLocal};
use futures_util::{
    StreamExt as _,
    stream::FuturesUnordered,
    task::{LocalSpawnExt as _, Spawn as _, SpawnExt as _},
};

on_every_runtime!(
    spawns_with_handles,
    refuses_after_shutdown,
    spawns_locally,
    ticks_as_a_stream
);

fn spawns_with_handles(rt: impl Runtime) {
    let spawn = Futures::new(rt.clone());
    let handles: FuturesUnordered<_> = (1..=100_u64)
        .map(|n| {
            let inner = rt.clone();
            let square = async move { inner.offload(move || n * n).await.unwrap() };
            spawn.spawn_with_handle(square).unwrap()
        })
        .collect();
    let sum = rt.block_on(handles.fold(0, async |sum, n| sum + n));
    assert_eq!(sum, 338_350);
}

fn refuses_after_shutdown(rt: impl Runtime) {
    let spawn = Futures::new(rt.clone());
    spawn.status().unwrap();
    spawn.spawn(async {}).unwrap();
    if rt.shutdown(Duration::from_secs(60)).is_ok() {
        assert!(spawn.status().unwrap_err().is_shutdown());
        assert!(spawn.spawn(async {}).unwrap_err().is_shutdown());
    }
}

fn spawns_locally(rt: impl Runtime) {
    let left = local::block_on(&rt, async |tasks| {
        let spawn = FuturesLocal::new(tasks);
        let count = Rc::new(Cell::new(0));
        let inner = count.clone();
        let handle = spawn.spawn_local_with_handle(async move { inner.set(7) });
        handle.unwrap().await;
        assert_eq!(count.get(), 7);
        spawn
    });
    let error = left.unwrap().spawn_local(async {}).unwrap_err();
    assert!(error.is_shutdown());
}

fn ticks_as_a_stream(rt: impl Runtime) {
    let ticks = rt.interval(Duration::from_millis(1)).take(5);
    let ticks: Vec<_> = rt.block_on(ticks.collect());
    assert!(ticks.is_sorted() && ticks.len() == 5);
}

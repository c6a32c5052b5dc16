//! Shutting down runtimes of several parts, and asking for their status.
use std::{future::pending, time::Duration};

use fourway::{
    AnyRuntime, Compose, layer::Propagate, prelude::*, std_thread::StdThread, tokio::Tokio,
};

const MUST: Duration = Duration::from_secs(60);

fn tokio() -> Tokio {
    Tokio::builder().build().unwrap()
}

fn threads() -> StdThread {
    StdThread::new().unwrap()
}

#[test]
fn a_composed_runtime_shuts_both_parts_down_through_any_wrapper() {
    let (tasks, pool) = (tokio(), threads());
    let rt = AnyRuntime::new(Propagate::new(Compose::new(tasks.clone(), pool.clone())));
    let task = rt.spawn(pending::<()>());
    assert!(!rt.is_shutdown() && !tasks.is_shutdown() && !pool.is_shutdown());
    assert!(rt.shutdown(MUST).unwrap().is_clean());
    assert!(rt.is_shutdown() && tasks.is_shutdown() && pool.is_shutdown());
    assert!(task.wait().unwrap_err().is_shutdown());
    assert!(rt.offload(|| ()).wait().unwrap_err().is_shutdown());
}

#[test]
fn what_belongs_to_somebody_else_is_left_alone() {
    let owner = tokio();
    let borrowed = Tokio::from_handle(owner.handle().clone());
    let foreign = ::tokio::runtime::Builder::new_multi_thread()
        .build()
        .unwrap();
    let guest = Tokio::from_handle(foreign.handle().clone());
    let pool = threads();
    // Tasks that are not owned: nothing is done.
    let rt = Compose::new(guest.clone(), pool.clone());
    assert!(rt.shutdown(MUST).unwrap_err().is_not_owned());
    assert!(!pool.is_shutdown() && !guest.is_shutdown());
    // A pool that is not owned is left to its owner.
    let rt = Compose::new(pool.clone(), guest.clone());
    assert!(rt.shutdown(MUST).unwrap().is_clean());
    assert!(pool.is_shutdown() && !guest.is_shutdown());
    // Its handles see the end, by any owner.
    drop(foreign);
    assert!(guest.is_shutdown());
    assert!(owner.shutdown(MUST).unwrap().is_clean());
    assert!(borrowed.is_shutdown());
}

#[test]
fn the_pool_that_computes_goes_with_its_runtime() {
    let rt = threads();
    let computing = Compose::new(rt.clone(), rt.compute());
    assert_eq!(computing.offload(|| 6 * 7).wait().unwrap(), 42);
    assert!(rt.compute().shutdown(MUST).unwrap_err().is_not_owned());
    assert!(computing.shutdown(MUST).unwrap().is_clean());
    assert!(rt.is_shutdown() && rt.compute().is_shutdown());
}

#[test]
fn a_status_fits_a_line() {
    for rt in [AnyRuntime::new(tokio()), AnyRuntime::new(threads())] {
        let line = rt.status().to_string();
        assert!(
            line.starts_with("tasks: ") && line.contains("; closures: 0 queued"),
            "{line}"
        );
        assert!(rt.status().executor.workers.is_some_and(|n| n > 0));
    }
}

//! Tasks on Tokio, closures on a pool of plain threads.

use fourway_core::{
    AnyRuntime, BlockOn, Compose, Offload, Runtime, Spawner, context, layer::Propagate,
};
use fourway_std_thread::StdThread;
use fourway_tokio::Tokio;

/// Closures on foreign threads find the current Tokio, and may block on it.
#[test]
fn closures_find_tokio() {
    let tokio = Tokio::builder().worker_threads(1).build().unwrap();
    let rt = Compose::new(tokio.clone(), StdThread::new().unwrap());
    let closure = || {
        assert_eq!(context::current(), context::Context::Blocking);
        let handle = tokio::runtime::Handle::current();
        handle.block_on(handle.spawn(async { 1 })).unwrap()
    };
    assert_eq!(rt.block_on(rt.offload(closure)).unwrap(), 1);
    assert_eq!(rt.block_on(rt.try_offload(closure).unwrap()).unwrap(), 1);
    // From a task as well, and the task's own runtime is the same.
    let inner = rt.clone();
    let task = rt.spawn(async move { inner.offload(closure).await.unwrap() });
    assert_eq!(tokio.block_on(task).unwrap(), 1);
}

/// So they do if the runtime of the tasks is wrapped.
#[test]
fn closures_find_tokio_through_wrappers() {
    fn check(tasks: impl Runtime) {
        let rt = Compose::new(tasks, StdThread::new().unwrap());
        let closure = || tokio::runtime::Handle::try_current().is_ok();
        assert!(rt.block_on(rt.offload(closure)).unwrap());
        assert!(rt.block_on(rt.try_offload(closure).unwrap()).unwrap());
    }
    let tokio = || Tokio::builder().worker_threads(1).build().unwrap();
    check(Propagate::new(tokio()));
    check(AnyRuntime::new(tokio()));
    check(Propagate::new(AnyRuntime::new(Propagate::new(tokio()))));
    check(Compose::new(
        AnyRuntime::new(tokio()),
        StdThread::new().unwrap(),
    ));
}

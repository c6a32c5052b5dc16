//! The runtime's threads: their hooks, names and limits.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Task};
use fourway_smol::Smol;

#[test]
fn hooks_run_on_all_threads() {
    let (started, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = |counter: &Arc<AtomicUsize>| {
        let counter = counter.clone();
        move || {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    };
    let rt = Smol::builder()
        .worker_threads(2)
        // None ends for want of work.
        .keep_alive(Duration::from_secs(3600))
        .on_thread_start(count(&started))
        .on_thread_stop(count(&stopped))
        .build()
        .unwrap();
    rt.block_on(async {
        rt.spawn(async {}).await.unwrap();
        rt.offload(|| ()).await.unwrap();
    });
    assert_eq!(stopped.load(Ordering::SeqCst), 0);
    assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
    assert_eq!(started.load(Ordering::SeqCst), 3);
    assert_eq!(stopped.load(Ordering::SeqCst), 3);
}

#[test]
fn a_hook_that_panics_harms_nobody() {
    let rt = Smol::builder()
        .worker_threads(1)
        .on_thread_start(|| panic!("in the hook"))
        .on_thread_stop(|| panic!("in the hook"))
        .build()
        .unwrap();
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    assert_eq!(rt.block_on(rt.offload(|| 2)).unwrap(), 2);
    assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
}

#[test]
fn a_name_with_a_nul_byte_is_an_error() {
    let built = Smol::builder().thread_name("a\0b").build();
    assert_eq!(built.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_stack_that_is_too_small_is_an_error() {
    for bytes in [0, 1, 4096] {
        let built = Smol::builder().thread_stack_size(bytes).build();
        assert_eq!(built.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    let least = Smol::builder().thread_stack_size(64 << 10).build().unwrap();
    assert_eq!(least.offload(|| 1).wait().unwrap(), 1);
}

#[test]
fn the_largest_limit_is_no_limit() {
    let rt = Smol::builder().offload_limit(usize::MAX).build().unwrap();
    for _ in 0..20 {
        // The thread that waits runs the closure, in a closure too.
        let inner = rt.clone();
        let nested = rt.offload(move || inner.offload(|| 1).wait().unwrap());
        assert_eq!(nested.wait().unwrap(), 1);
    }
    assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
}

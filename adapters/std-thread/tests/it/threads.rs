//! The runtime's threads beside running work: hooks, and the pool for closures that compute.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, Compose, Offload, Shutdown, Spawner, Task};
use fourway_std_thread::StdThread;

#[test]
fn hooks_run_on_all_threads() {
    let (started, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = |counter: &Arc<AtomicUsize>| {
        let counter = counter.clone();
        move || {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    };
    let rt = StdThread::builder()
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
        rt.compute().offload(|| ()).await.unwrap();
    });
    assert_eq!(stopped.load(Ordering::SeqCst), 0);
    assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
    assert_eq!(started.load(Ordering::SeqCst), 4);
    assert_eq!(stopped.load(Ordering::SeqCst), 4);
}

#[test]
fn a_hook_that_panics_harms_nobody() {
    let rt = StdThread::builder()
        .worker_threads(1)
        .on_thread_start(|| panic!("in the hook"))
        .on_thread_stop(|| panic!("in the hook"))
        .build()
        .unwrap();
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    assert_eq!(rt.block_on(rt.offload(|| 2)).unwrap(), 2);
    assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
}

/// As many as the limit says are inside at a time, and never more.
#[test]
fn computing_closures_are_limited() {
    let rt = StdThread::builder().compute_limit(2).build().unwrap();
    let compute = rt.compute();
    let inside = Arc::new((Mutex::new((0, 0)), Condvar::new()));
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let inside = inside.clone();
            compute.offload(move || {
                let (state, changed) = &*inside;
                let mut state = state.lock().unwrap();
                state.0 += 1;
                state.1 = state.1.max(state.0);
                changed.notify_all();
                // The second one comes, because there are twenty, and room for two.
                while state.1 < 2 {
                    let waited = changed.wait_timeout(state, Duration::from_secs(60));
                    let (next, timeout) = waited.unwrap();
                    assert!(!timeout.timed_out(), "nobody else came");
                    state = next;
                }
                state.0 -= 1;
                thread::current().name().map(str::to_owned)
            })
        })
        .collect();
    for task in tasks {
        let name = rt.block_on(task).unwrap();
        assert!(name.unwrap().contains("compute"));
    }
    assert_eq!(inside.0.lock().unwrap().1, 2);
}

#[test]
fn computing_ends_with_the_runtime() {
    let rt = StdThread::new().unwrap();
    let compute = rt.compute();
    let composed = Compose::new(rt.clone(), compute.clone());
    assert_eq!(composed.block_on(composed.offload(|| 1)).unwrap(), 1);
    assert_eq!(
        composed
            .block_on(composed.try_offload(|| 2).unwrap())
            .unwrap(),
        2
    );
    assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
    let late = composed.try_offload(|| 3).unwrap_err();
    assert!(late.is_shutdown());
    assert_eq!(late.into_inner()(), 3);
    let late = compute.offload(|| ());
    assert!(late.is_finished());
    assert!(rt.block_on(late).unwrap_err().is_shutdown());
}

#[test]
fn the_largest_limit_is_no_limit() {
    let rt = StdThread::builder()
        .offload_limit(usize::MAX)
        .compute_limit(usize::MAX)
        .build()
        .unwrap();
    for _ in 0..20 {
        // The thread that waits runs the closure, in a closure too.
        let inner = rt.clone();
        let nested = rt.offload(move || inner.offload(|| 1).wait().unwrap());
        assert_eq!(nested.wait().unwrap(), 1);
    }
    let compute = rt.compute();
    assert_eq!(compute.offload(|| 2).wait().unwrap(), 2);
    assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
}

#[test]
fn a_name_with_a_nul_byte_is_an_error() {
    let built = StdThread::builder().thread_name("a\0b").build();
    assert_eq!(built.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn a_stack_that_is_too_small_is_an_error() {
    for bytes in [0, 1, 4096] {
        let built = StdThread::builder().thread_stack_size(bytes).build();
        assert_eq!(built.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    }
    let least = StdThread::builder()
        .thread_stack_size(64 << 10)
        .build()
        .unwrap();
    assert_eq!(least.offload(|| 1).wait().unwrap(), 1);
}

#[test]
fn zero_closures_are_an_error() {
    let built = StdThread::builder().compute_limit(0).build();
    let error = built.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("compute"), "{error}");
}

#[test]
fn more_workers_than_there_can_be_are_an_error() {
    let built = StdThread::builder().worker_threads(usize::MAX).build();
    assert_eq!(built.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}

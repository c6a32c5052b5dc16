//! A Tokio runtime whose own limit on blocking threads is used up by code that waits for
//! the offload pool: no thread that the pool asks of Tokio comes (OF-4, nested offload never
//! starves; BL-3, blocking where it is allowed).

use std::{sync::mpsc, time::Duration};

use fourway_core::{BlockOn, Offload, Task, context, implement};
use fourway_tokio::Tokio;
use tokio::runtime::{Builder, Handle, Runtime};

/// Only a test that fails takes so long.
const MUST: Duration = Duration::from_secs(30);

fn narrow() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn raw_blocking_closures_may_offload_and_wait_though_they_hold_all_threads() {
    let native = narrow();
    let rt = Tokio::from_handle(native.handle().clone());
    let (send, receive) = mpsc::channel();
    for n in 0..4 {
        let (rt, send) = (rt.clone(), send.clone());
        native.spawn_blocking(move || {
            let doubled = rt.block_on(async { rt.offload(move || n * 2).await });
            send.send(doubled.unwrap()).unwrap();
        });
    }
    let mut results: Vec<i32> = (0..4)
        .map(|_| receive.recv_timeout(MUST).expect("no deadlock"))
        .collect();
    results.sort_unstable();
    assert_eq!(results, [0, 2, 4, 6]);
}

#[test]
fn a_closure_on_a_replacement_finds_the_runtime() {
    let native = narrow();
    let rt = Tokio::from_handle(native.handle().clone());
    let id = native.handle().id();
    let (send, receive) = mpsc::channel();
    native.spawn_blocking(move || {
        let inside = rt.block_on(rt.offload(move || {
            (
                Handle::current().id() == id,
                context::current(),
                implement::runtime_id().is_some(),
            )
        }));
        send.send(inside.unwrap()).unwrap();
    });
    let inside = receive.recv_timeout(MUST).expect("no deadlock");
    assert_eq!(inside, (true, context::Context::Blocking, true));
}

/// Tokio has no thread for the closure at the moment, so the waiting thread runs it.
#[test]
fn a_closure_on_the_thread_that_waits_finds_the_runtime() {
    let native = narrow();
    let rt = Tokio::from_handle(native.handle().clone());
    let (go, wait) = mpsc::channel::<()>();
    let busy = native.spawn_blocking(move || wait.recv_timeout(MUST).unwrap());
    let waits = std::thread::current().id();
    let task = rt.offload(move || (std::thread::current().id(), Handle::try_current()));
    let (ran_on, handle) = task.wait().unwrap();
    assert_eq!(ran_on, waits);
    let handle = handle.expect("a closure finds Tokio, wherever it runs");
    assert_eq!(handle.id(), native.handle().id());
    go.send(()).unwrap();
    native.block_on(busy).unwrap();
}

#[test]
fn limits_hold_when_the_late_thread_comes_after_all() {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    let native = narrow();
    let rt = Tokio::builder()
        .offload_limit(2)
        .handle(native.handle().clone())
        .build()
        .unwrap();
    let (release, held) = mpsc::channel::<()>();
    // Holds Tokio's only blocking thread, so that the pool's are late.
    native.spawn_blocking(move || held.recv());
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let work = |rounds: usize| {
        let tasks: Vec<_> = (0..rounds)
            .map(|_| {
                let (running, most) = (running.clone(), most.clone());
                rt.offload(move || {
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for task in tasks {
            rt.block_on(task).unwrap();
        }
    };
    work(100);
    release.send(()).unwrap();
    // The late ones come, beside these, and find that they were replaced.
    work(1_000);
    assert!(most.load(Ordering::SeqCst) <= 2, "{most:?} at a time");
}

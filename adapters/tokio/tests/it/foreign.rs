//! Tokio runtimes that come from elsewhere: taken over, or merely used.

use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use fourway_core::{AnyRuntime, BlockOn, Offload, Shutdown, Spawner, Task, Timer, implement};
use fourway_tokio::Tokio;
use tokio::runtime::{Builder, Handle, Runtime};

/// Far above what any of it takes; only a failing test gets here.
const MUST: Duration = Duration::from_secs(30);

fn multi() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_time().build().unwrap()
}

fn single() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

#[test]
fn a_runtime_taken_over_is_driven_and_shut_down() {
    for raw in [multi(), single()] {
        let rt = Tokio::from_runtime(raw).unwrap();
        let inner = rt.clone();
        let task = rt.spawn(async move {
            inner.sleep(Duration::from_millis(1)).await;
            inner.offload(|| Handle::current().id()).await.unwrap()
        });
        assert_eq!(rt.block_on(task).unwrap(), rt.handle().id());
        let lost = rt.spawn(pending::<()>());
        let report = rt.shutdown(MUST).unwrap();
        assert!(report.is_clean(), "{report}");
        // Told apart from a cancellation, on any executor (JO-4, reasons are told apart).
        assert!(rt.block_on(lost).unwrap_err().is_shutdown());
        assert!(rt.block_on(rt.spawn(async {})).unwrap_err().is_shutdown());
        assert!(rt.block_on(rt.offload(|| ())).unwrap_err().is_shutdown());
        // Again is fine.
        assert!(rt.shutdown(MUST).unwrap().is_clean());
    }
}

#[test]
fn cancelled_is_cancelled_also_through_an_abort_handle() {
    let rt = Tokio::from_runtime(multi()).unwrap();
    let task = rt.spawn(pending::<()>());
    task.abort();
    assert!(rt.block_on(task).unwrap_err().is_cancelled());
    let task = rt.spawn(pending::<()>());
    let handle = task.abort_handle();
    handle.abort();
    assert!(rt.block_on(task).unwrap_err().is_cancelled());
    // Asked for after the runtime was shut down, it was the shutdown all the same.
    let task = rt.spawn(pending::<()>());
    let handle = task.abort_handle();
    assert!(rt.shutdown(MUST).unwrap().is_clean());
    handle.abort();
    task.abort();
    assert!(rt.block_on(task).unwrap_err().is_shutdown());
}

#[test]
fn the_last_handle_may_go_inside_the_runtimes_own_tasks_and_closures() {
    for raw in [multi(), single()] {
        let handle = raw.handle().clone();
        let rt = Tokio::from_runtime(raw).unwrap();
        let (dropped, seen) = mpsc::channel();
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let inner = rt.clone();
        let from_task = dropped.clone();
        rt.spawn(async move {
            gone.await.unwrap();
            drop(inner);
            from_task.send(()).unwrap();
        })
        .detach();
        drop(rt);
        go.send(()).unwrap();
        seen.recv_timeout(MUST).unwrap();
        // It is on its way down: a task that is spawned now does not stay.
        let (held, ended) = mpsc::channel::<()>();
        drop(handle.spawn(async move {
            let _held = held;
            pending::<()>().await;
        }));
        assert_eq!(
            ended.recv_timeout(MUST),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    }
    for raw in [multi(), single()] {
        let rt = Tokio::from_runtime(raw).unwrap();
        let (dropped, seen) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let inner = rt.clone();
        rt.offload(move || {
            gone.recv_timeout(MUST).unwrap();
            drop(inner);
            dropped.send(()).unwrap();
        })
        .detach();
        drop(rt);
        go.send(()).unwrap();
        seen.recv_timeout(MUST).unwrap();
    }
}

#[test]
fn a_foreign_runtime_is_not_ours_to_shut_down() {
    let raw = multi();
    let rt = Tokio::from_handle(raw.handle().clone());
    assert!(rt.shutdown(MUST).unwrap_err().is_not_owned());
    drop(rt);
    assert_eq!(raw.block_on(raw.spawn(async { 1 })).unwrap(), 1);
}

#[test]
fn shutting_down_in_async_code_is_refused() {
    for raw in [multi(), single()] {
        let rt = Tokio::from_runtime(raw).unwrap();
        let inner = rt.clone();
        let task = rt.handle().spawn(async move { inner.shutdown(MUST) });
        assert!(rt.block_on(task).unwrap().unwrap_err().is_in_async());
        assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    }
}

#[test]
fn the_current_runtime_and_none() {
    assert!(Tokio::try_current().is_err());
    // At the caller's line.
    static AT: Mutex<Option<(String, u32)>> = Mutex::new(None);
    let here = thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if thread::current().id() == here {
            let at = info.location().expect("panics have a location");
            *AT.lock().unwrap() = Some((at.file().to_owned(), at.line()));
        }
        before(info);
    }));
    let line = line!() + 1;
    let payload = catch_unwind(|| Tokio::current()).unwrap_err();
    assert!(
        payload
            .downcast::<String>()
            .unwrap()
            .contains("tokio::main")
    );
    assert_eq!(AT.lock().unwrap().take(), Some((file!().to_owned(), line)));

    let raw = multi();
    let id = raw.handle().id();
    raw.block_on(async {
        assert_eq!(Tokio::current().handle().id(), id);
        // However often one asks, it is one runtime to fourway.
        let number = || async { implement::runtime_id().expect("in a task") };
        let one = Tokio::current().spawn(async move { number().await });
        let two = Tokio::current().spawn(async move { number().await });
        assert_eq!(one.await.unwrap(), two.await.unwrap());
    });
    // One that we made is found as that one.
    let own = Tokio::builder().worker_threads(1).build().unwrap();
    let ours = own.block_on(own.spawn(async { implement::runtime_id() }));
    let found = own.handle().spawn(async {
        let found = AnyRuntime::current().expect("in a task");
        found
            .spawn(async { implement::runtime_id() })
            .await
            .unwrap()
    });
    assert_eq!(own.block_on(found).unwrap(), ours.unwrap());
}

#[test]
fn detached_work_outlives_the_handles() {
    let raw = multi();
    let (done, seen) = mpsc::channel();
    let from_task = done.clone();
    {
        let rt = Tokio::from_handle(raw.handle().clone());
        rt.offload(move || done.send(1).unwrap()).detach();
        rt.spawn(async move { from_task.send(2).unwrap() }).detach();
    }
    let sum = seen.recv_timeout(MUST).unwrap() + seen.recv_timeout(MUST).unwrap();
    assert_eq!(sum, 3);
}

/// Its owner must not wait for threads that are idle in our pool.
#[test]
fn a_foreign_runtime_takes_the_pool_with_it() {
    for raw in [multi(), single()] {
        let builder = Tokio::builder().handle(raw.handle().clone());
        // Dropping it would take this long, if it had to wait.
        let rt = builder.keep_alive(10 * MUST).build().unwrap();
        rt.block_on(rt.offload(|| ())).unwrap();
        let (dropped, seen) = mpsc::channel();
        thread::spawn(move || {
            drop(raw);
            dropped.send(()).unwrap();
        });
        seen.recv_timeout(MUST).expect("dropped without waiting");
        assert!(rt.try_offload(|| ()).unwrap_err().is_shutdown());
        assert!(rt.block_on(rt.spawn(async {})).unwrap_err().is_shutdown());
    }
}

#[test]
fn one_blocking_thread_is_enough() {
    fn down(rt: &Tokio, depth: u32) -> u32 {
        assert_eq!(Handle::current().id(), rt.handle().id());
        if depth == 0 {
            return 0;
        }
        let inner = rt.clone();
        1 + rt
            .block_on(rt.offload(move || down(&inner, depth - 1)))
            .unwrap()
    }
    let runtimes = [Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .build()
        .unwrap()];
    for raw in runtimes {
        let rt = Tokio::from_handle(raw.handle().clone());
        let inner = rt.clone();
        let task = rt.offload(move || down(&inner, 8));
        assert_eq!(rt.block_on(task).unwrap(), 8);
        // And it comes free for others, though the pool's threads like to wait.
        assert_eq!(raw.block_on(raw.spawn_blocking(|| 5)).unwrap(), 5);
    }
}

#[test]
fn nobody_drives_a_foreign_current_thread_runtime() {
    let raw = single();
    let rt = Tokio::from_handle(raw.handle().clone()).with_drive_timeout(Duration::from_millis(50));
    // Work that needs no driver works.
    assert_eq!(rt.block_on(async { 1 }), 1);
    let error = rt.try_block_on(rt.spawn(async {})).unwrap_err();
    assert!(error.is_not_driven(), "{error}");
    // The runtime is as good as before.
    assert_eq!(raw.block_on(rt.spawn(async { 2 })).unwrap(), 2);
}

#[test]
fn somebody_drives_a_foreign_current_thread_runtime() {
    let raw = single();
    let rt = Tokio::from_handle(raw.handle().clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let driver = thread::spawn(move || raw.block_on(stopped));
    let inner = rt.clone();
    let task = rt.spawn(async move {
        inner.sleep(Duration::from_millis(1)).await;
        3
    });
    assert_eq!(rt.block_on(task).unwrap(), 3);
    stop.send(()).unwrap();
    driver.join().unwrap().unwrap();
}

#[test]
fn blocking_on_panics_with_the_way_out() {
    let raw = single();
    let rt = Tokio::from_handle(raw.handle().clone()).with_drive_timeout(Duration::from_millis(20));
    let payload = catch_unwind(AssertUnwindSafe(|| rt.block_on(rt.spawn(async {})))).unwrap_err();
    let message = payload.downcast::<String>().unwrap();
    assert!(message.contains("nobody is driving"), "{message}");
}

#[test]
fn a_pool_of_its_own_goes_with_the_last_handle() {
    let native = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let handle = native.handle();
    let build = || {
        let builder = Tokio::builder().offload_limit(1).handle(handle.clone());
        builder.build().unwrap()
    };
    for _ in 0..50 {
        drop(build());
    }
    // Detached closures are not lost with the handle, though they wait in the queue.
    let rt = build();
    let (send, receive) = std::sync::mpsc::channel();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    rt.offload(move || gate.recv()).detach();
    for number in 0..3 {
        let send = send.clone();
        rt.offload(move || send.send(number).unwrap()).detach();
    }
    drop((rt, send));
    go.send(()).unwrap();
    assert_eq!(receive.iter().collect::<Vec<_>>(), [0, 1, 2]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while handle.metrics().num_alive_tasks() > 0 {
        assert!(std::time::Instant::now() < deadline, "a task is left");
        std::thread::yield_now();
    }
}

//! Ending an executor of its own, while everything else goes on (SH-1 to SH-3,
//! orderly shutdown; JO-5, every join resolves).

use std::{
    cell::RefCell,
    future::{pending, poll_fn},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, JoinError, Offload, Shutdown, Spawner, Task, Timer};
use fourway_smol::Smol;

/// Far above what any of it takes; only a failing test gets here.
const MUST: Duration = Duration::from_secs(30);

fn own(workers: usize) -> Smol {
    Smol::builder().worker_threads(workers).build().unwrap()
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Joins on a plain thread, and fails if that takes too long.
#[track_caller]
fn join<T: Send + 'static>(task: impl Task<T> + 'static) -> Result<T, JoinError> {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(smol::future::block_on(task)));
    result.recv_timeout(MUST).expect("a join must resolve")
}

#[test]
fn suspended_futures_go_while_the_only_worker_is_stuck() {
    let rt = own(1);
    let (here, stuck) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (gone, went) = mpsc::channel();
    let suspended = rt.spawn(async move {
        let _guard = OnDrop(move || gone.send(()).unwrap());
        pending::<()>().await;
    });
    let busy = rt.spawn(async move {
        here.send(()).unwrap();
        released.recv_timeout(MUST).unwrap();
        5
    });
    let behind = rt.spawn(async { 6 });
    stuck.recv_timeout(MUST).unwrap();

    let report = rt.shutdown(Duration::ZERO).unwrap();
    assert!(!report.is_clean());
    assert!(report.tasks_running >= 1, "{report:?}");
    assert!(report.threads_running >= 1, "{report:?}");
    went.recv_timeout(MUST).unwrap();
    assert!(join(suspended).unwrap_err().is_shutdown());
    assert!(join(behind).unwrap_err().is_shutdown());
    assert!(rt.spawn(async {}).is_finished());

    release.send(()).unwrap();
    let report = rt.shutdown(MUST).unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(join(busy).unwrap(), 5, "a poll that finished counts");
}

#[test]
fn the_report_counts_what_runs() {
    let rt = own(2);
    let (here, running) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let wait = || {
        let (here, released) = (here.clone(), released.clone());
        move || {
            here.send(()).unwrap();
            let _ = released.lock().unwrap().recv_timeout(MUST);
        }
    };
    let (in_task, in_closure) = (wait(), wait());
    let task = rt.spawn(async move { in_task() });
    let closure = rt.offload(in_closure);
    for _ in 0..2 {
        running.recv_timeout(MUST).unwrap();
    }
    let report = rt.shutdown(Duration::ZERO).unwrap();
    assert_eq!((report.tasks_running, report.closures_running), (1, 1));
    drop(release);
    let report = rt.shutdown(MUST).unwrap();
    assert!(report.is_clean(), "{report}");
    join(task).unwrap();
    join(closure).unwrap();
}

/// A task that is being woken at the very moment of the shutdown is neither
/// lost nor leaked.
#[test]
fn wakes_race_with_the_shutdown() {
    for round in 0..200 {
        let rt = own(1 + round % 2);
        let alive = Arc::new(());
        let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (alive, wakers) = (alive.clone(), wakers.clone());
                rt.spawn(poll_fn(move |cx| {
                    let _alive = &alive;
                    wakers.lock().unwrap().push(cx.waker().clone());
                    Poll::<()>::Pending
                }))
            })
            .collect();
        while wakers.lock().unwrap().len() < 20 {
            thread::yield_now();
        }
        let waking: Vec<_> = (0..3)
            .map(|_| {
                let wakers = wakers.lock().unwrap().clone();
                thread::spawn(move || wakers.iter().for_each(Waker::wake_by_ref))
            })
            .collect();
        if round % 3 == 0 {
            drop(rt);
        } else {
            assert!(rt.shutdown(MUST).unwrap().is_clean());
        }
        for task in tasks {
            assert!(join(task).unwrap_err().is_shutdown());
        }
        for thread in waking {
            thread.join().unwrap();
        }
        assert_eq!(Arc::strong_count(&alive), 1, "all futures are destroyed");
    }
}

#[test]
fn spawns_and_cancellations_race_with_the_shutdown() {
    for round in 0..200 {
        let rt = own(1 + round % 2);
        let alive = Arc::new(());
        let threads: Vec<_> = (0..3)
            .map(|n| {
                let (rt, alive) = (rt.clone(), alive.clone());
                thread::spawn(move || {
                    let mut tasks = Vec::new();
                    for i in 0..50 {
                        let alive = alive.clone();
                        let task = rt.spawn(async move {
                            let _alive = alive;
                            if i % 2 == 0 {
                                pending::<()>().await;
                            }
                        });
                        if (i + n) % 5 == 0 {
                            task.abort();
                        }
                        tasks.push(task);
                    }
                    tasks
                })
            })
            .collect();
        thread::yield_now();
        assert!(rt.shutdown(MUST).unwrap().is_clean());
        for thread in threads {
            for task in thread.join().unwrap() {
                // However it ended: that it did is the point.
                let _ = join_quickly(task);
            }
        }
        assert_eq!(Arc::strong_count(&alive), 1, "all futures are destroyed");
    }
}

/// As `join`, without a thread for each: for tasks that must have ended by now.
#[track_caller]
fn join_quickly<T: Send + 'static>(
    mut task: impl Task<T> + 'static,
) -> Option<Result<T, JoinError>> {
    let mut cx = std::task::Context::from_waker(Waker::noop());
    match std::pin::Pin::new(&mut task).poll(&mut cx) {
        Poll::Ready(result) => Some(result),
        // Another thread is just ending it.
        Poll::Pending => Some(join(task)),
    }
}

#[test]
fn destructors_may_spawn_wake_and_drop_handles_during_the_shutdown() {
    let rt = own(1);
    let (results, received) = mpsc::channel();
    let inner = rt.clone();
    let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
    for _ in 0..10 {
        let (rt, results, wakers) = (inner.clone(), results.clone(), wakers.clone());
        rt.clone()
            .spawn(async move {
                let others = wakers.clone();
                let _guard = OnDrop(move || {
                    let wakers = others.lock().unwrap().clone();
                    wakers.iter().for_each(Waker::wake_by_ref);
                    results.send(rt.spawn(async {})).unwrap();
                });
                poll_fn(|cx| {
                    wakers.lock().unwrap().push(cx.waker().clone());
                    Poll::<()>::Pending
                })
                .await;
            })
            .detach();
    }
    drop(inner);
    while wakers.lock().unwrap().len() < 10 {
        thread::yield_now();
    }
    assert!(rt.shutdown(MUST).unwrap().is_clean());
    for _ in 0..10 {
        let refused = received.recv_timeout(MUST).unwrap();
        assert!(join(refused).unwrap_err().is_shutdown());
    }
}

#[test]
fn a_destructors_panic_during_the_shutdown_reaches_the_joiner() {
    let rt = own(1);
    let (here, suspended) = mpsc::channel();
    let task = rt.spawn(async move {
        let _guard = OnDrop(|| std::panic::resume_unwind(Box::new("from a destructor")));
        here.send(()).unwrap();
        pending::<()>().await;
    });
    suspended.recv_timeout(MUST).unwrap();
    assert!(rt.shutdown(MUST).unwrap().is_clean());
    let error = join(task).unwrap_err();
    assert_eq!(error.panic_message(), Some("from a destructor"));
}

#[test]
fn the_last_handle_may_go_anywhere() {
    // In a task, on the only worker.
    let rt = own(1);
    let (gone, went) = mpsc::channel();
    let other = rt.spawn(async move {
        let _guard = OnDrop(move || gone.send(()).unwrap());
        pending::<()>().await;
    });
    let inner = rt.clone();
    let (go, gate) = mpsc::channel::<()>();
    let task = rt.spawn(async move {
        gate.recv_timeout(MUST).unwrap();
        drop(inner);
        1
    });
    drop(rt);
    go.send(()).unwrap();
    assert_eq!(join(task).unwrap(), 1);
    went.recv_timeout(MUST).unwrap();
    assert!(join(other).unwrap_err().is_shutdown());

    // In a closure of its own pool.
    let rt = own(1);
    let inner = rt.clone();
    let closure = rt.offload(move || drop(inner));
    drop(rt);
    // Run, or dropped with the queue.
    let _ = join(closure);

    // In the root future of its own `block_on`.
    let rt = own(1);
    let inner = rt.clone();
    rt.block_on(async move { drop(inner) });
    // In a thread-local's destructor.
    thread_local! {
        static HELD: RefCell<Option<Smol>> = const { RefCell::new(None) };
    }
    let pending_task = rt.spawn(pending::<()>());
    thread::spawn(move || HELD.set(Some(rt))).join().unwrap();
    assert!(join(pending_task).unwrap_err().is_shutdown());
}

#[test]
fn refusals() {
    let rt = own(1);
    let error = rt.block_on(async { rt.shutdown(MUST).unwrap_err() });
    assert!(error.is_in_async());
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    assert!(Smol::global().shutdown(MUST).unwrap_err().is_not_owned());

    let invalid = |result: io::Result<Smol>| {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    };
    invalid(Smol::builder().worker_threads(0).build());
    invalid(Smol::builder().worker_threads(usize::MAX).build());
    invalid(Smol::builder().offload_limit(0).build());
    invalid(Smol::builder().global_executor().worker_threads(2).build());
}

/// A task in `block_in_place` is running work: it is waited for, and its worker's
/// other tasks are ended by the stand-in.
#[test]
fn a_shutdown_while_a_worker_blocks_in_place() {
    let rt = own(1);
    let (here, blocked) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let suspended = rt.spawn(pending::<()>());
    let inner = rt.clone();
    let task = rt.spawn(async move {
        inner
            .block_in_place(|| {
                here.send(()).unwrap();
                released.recv_timeout(MUST).unwrap();
                9
            })
            .unwrap()
    });
    blocked.recv_timeout(MUST).unwrap();
    let report = rt.shutdown(Duration::ZERO).unwrap();
    assert_eq!(report.tasks_running, 1, "{report:?}");
    assert!(join(suspended).unwrap_err().is_shutdown());
    release.send(()).unwrap();
    assert!(rt.shutdown(MUST).unwrap().is_clean());
    assert_eq!(join(task).unwrap(), 9);
}

/// Tasks of a closed runtime are told apart: cancelled ones stay cancelled.
#[test]
fn cancelled_and_shut_down_are_told_apart() {
    let rt = own(2);
    let count = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let count = count.clone();
            rt.spawn(async move {
                count.fetch_add(1, Ordering::SeqCst);
                pending::<()>().await;
            })
        })
        .collect();
    while count.load(Ordering::SeqCst) < 20 {
        thread::yield_now();
    }
    tasks.iter().step_by(2).for_each(Task::abort);
    assert!(rt.shutdown(MUST).unwrap().is_clean());
    for (n, task) in tasks.into_iter().enumerate() {
        let error = join(task).unwrap_err();
        assert_eq!(error.is_cancelled(), n % 2 == 0, "{error}");
        assert_eq!(error.is_shutdown(), n % 2 == 1, "{error}");
    }
}

#[test]
fn timers_outlive_the_runtime() {
    let rt = own(1);
    let sleep = rt.sleep(Duration::from_millis(5));
    assert!(rt.shutdown(MUST).unwrap().is_clean());
    Smol::global().block_on(sleep);
}

/// However many there are: the panics wait for their joiners, who come late.
#[test]
fn panics_of_thousands_of_destructors_reach_their_joiners() {
    const TASKS: usize = 3000;
    let rt = own(2);
    let polled = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| {
            let polled = polled.clone();
            // Without the panic hook, which would fill the terminal.
            let panics = OnDrop(move || std::panic::resume_unwind(Box::new(number)));
            rt.spawn(async move {
                let _panics = panics;
                polled.fetch_add(1, Ordering::SeqCst);
                pending::<()>().await;
            })
        })
        .collect();
    let end = std::time::Instant::now() + MUST;
    while polled.load(Ordering::SeqCst) < TASKS {
        assert!(std::time::Instant::now() < end, "all are polled");
        thread::yield_now();
    }
    assert!(rt.shutdown(MUST).unwrap().is_clean());
    for (number, task) in tasks.into_iter().enumerate() {
        let error = rt.block_on(task).unwrap_err();
        assert!(error.is_panic(), "{number}: {error}");
        let payload = error.into_panic();
        assert_eq!(payload.downcast_ref(), Some(&number));
    }
}

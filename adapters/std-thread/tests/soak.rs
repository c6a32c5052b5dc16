//! The runtime on real threads, for a second each, or for as long as
//! `FOURWAY_SOAK_SECONDS` says: lost wake-ups, threads that come and go, and
//! shutting down in the midst of it all.
//!
//! Nothing is timed: a soak fails if something is wrong, or if it stands still.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use fourway_adapt::{self as adapt};
use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Task, Timer, yield_now};
use fourway_std_thread::StdThread;
use fourway_testing::{Counter, soak};

/// A place for a number of turns; each side waits for its own.
#[derive(Clone, Default)]
struct Turn(Arc<Mutex<(usize, Vec<Waker>)>>);

struct Until {
    turn: Turn,
    number: usize,
}

impl Turn {
    fn next(&self) {
        let wakers = {
            let mut state = self.0.lock().unwrap();
            state.0 += 1;
            std::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn until(&self, number: usize) -> Until {
        Until {
            turn: self.clone(),
            number,
        }
    }
}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut state = self.turn.0.lock().unwrap();
        if state.0 >= self.number {
            return Poll::Ready(());
        }
        state.1.push(waker);
        Poll::Pending
    }
}

fn runtime(workers: usize) -> StdThread {
    StdThread::builder()
        .worker_threads(workers)
        .offload_limit(2)
        .keep_alive(Duration::from_micros(200))
        .build()
        .unwrap()
}

/// Tasks that hand a turn to each other, and to a thread that blocks: one lost
/// wake-up and they stand still.
#[test]
fn soak_wake_ups() {
    for workers in [1, 2, 4] {
        let rt = runtime(workers);
        soak("wake-ups", 3, |random| {
            let turn = Turn::default();
            let tasks = [0, 1].map(|side| {
                let turn = turn.clone();
                rt.spawn(async move {
                    for n in 0..20 {
                        turn.until(2 * n + side).await;
                        turn.next();
                    }
                })
            });
            random.dawdle();
            adapt::run(turn.until(40));
            for task in tasks {
                adapt::run(task).unwrap();
            }
        });
        let report = rt.shutdown(Duration::MAX).unwrap();
        assert_eq!(report.threads_running, 0);
    }
}

/// Runtimes that are shut down, or dropped, while threads and tasks spawn, wake,
/// sleep, offload and block: every join resolves, each future is dropped once,
/// and after a shutdown nothing is left.
#[test]
fn soak_shutdown() {
    soak("shutdown", 2, |random| {
        let rt = runtime(1 + random.below(2) as usize);
        let (made, dropped) = (AtomicUsize::new(0), Counter::default());
        let turn = Turn::default();
        let spawn = |kind: usize| {
            made.fetch_add(1, Ordering::SeqCst);
            let (dropped, turn, inner) = (dropped.on_drop(), turn.clone(), rt.clone());
            // A task that holds a handle on its runtime would keep it alive.
            let inner = (kind % 5 < 3).then_some(inner);
            rt.spawn(async move {
                let _dropped = dropped;
                match (kind % 5, inner) {
                    (0, Some(rt)) => rt.sleep(Duration::from_micros(50)).await,
                    (1, Some(rt)) => drop(rt.offload(|| ()).await),
                    (2, Some(rt)) => drop(rt.block_in_place(thread::yield_now)),
                    (3, _) => turn.until(1).await,
                    _ => yield_now().await,
                }
            })
        };
        let tasks: Vec<_> = (0..10).map(spawn).collect();
        let waits = random.below(2) == 0;
        thread::scope(|scope| {
            let late = scope.spawn(|| {
                let tasks: Vec<_> = (0..10).map(spawn).collect();
                turn.next();
                tasks
            });
            random.dawdle();
            if waits {
                let report = rt.shutdown(Duration::MAX).unwrap();
                assert_eq!((report.tasks_running, report.threads_running), (0, 0));
                for task in &tasks {
                    assert!(task.is_finished(), "a task was left behind");
                }
            }
            for task in tasks.into_iter().chain(late.join().unwrap()) {
                if let Err(error) = adapt::run(task) {
                    assert!(waits && error.is_shutdown(), "{error}");
                }
            }
        });
        drop(rt);
        assert_eq!(dropped.get(), made.into_inner());
    });
}

/// The last handle goes anywhere, also inside a task: suspended futures are
/// destroyed, and their joins say so.
#[test]
fn soak_last_handle() {
    soak("last handle", 2, |random| {
        let rt = runtime(2);
        let dropped = Counter::default();
        let turn = Turn::default();
        let tasks: Vec<_> = (0..4)
            .map(|n| {
                let (dropped, turn) = (dropped.on_drop(), turn.clone());
                rt.spawn(async move {
                    let _dropped = dropped;
                    turn.until(n % 2).await;
                })
            })
            .collect();
        let holder = rt.clone();
        rt.spawn(async move {
            yield_now().await;
            drop(holder);
        })
        .detach();
        let waker = thread::spawn(move || turn.next());
        random.dawdle();
        drop(rt);
        for task in tasks {
            if let Err(error) = adapt::run(task) {
                assert!(error.is_shutdown(), "{error}");
            }
        }
        assert_eq!(dropped.get(), 4);
        waker.join().unwrap();
    });
}

/// Cancelled in each state, from two sides.
#[test]
fn soak_cancel() {
    let rt = runtime(2);
    soak("cancel", 3, |random| {
        let dropped = Counter::default();
        let turn = Turn::default();
        let task = rt.spawn({
            let (dropped, turn) = (dropped.on_drop(), turn.clone());
            async move {
                let _dropped = dropped;
                yield_now().await;
                turn.until(1).await;
            }
        });
        let abort = task.abort_handle();
        random.dawdle();
        let other = thread::spawn(move || {
            abort.abort();
            abort.is_finished()
        });
        turn.next();
        if let Err(error) = adapt::run(task.cancel()) {
            assert!(error.is_cancelled(), "{error}");
        }
        assert_eq!(dropped.get(), 1);
        other.join().unwrap();
    });
    rt.shutdown(Duration::MAX).unwrap();
}

/// Blocking in place on all workers at once: the stand-ins keep the others going,
/// and leave again.
#[test]
fn soak_block_in_place() {
    let rt = runtime(2);
    soak("block in place", 2, |_| {
        let tasks: Vec<_> = (0..4)
            .map(|n| {
                let inner = rt.clone();
                rt.spawn(async move {
                    inner
                        .block_in_place(|| inner.block_on(inner.spawn(async move { n })))
                        .expect("a worker can be stood in for")
                        .unwrap()
                })
            })
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(adapt::run(task).unwrap(), n);
        }
    });
    let report = rt.shutdown(Duration::MAX).unwrap();
    assert_eq!((report.tasks_running, report.threads_running), (0, 0));
}

/// The system has no threads of such a size: an error, not a hang.
#[test]
fn no_thread_to_be_had() {
    let built: io::Result<StdThread> = StdThread::builder()
        .worker_threads(2)
        .thread_stack_size(usize::MAX / 4)
        .build();
    assert!(built.is_err());
}

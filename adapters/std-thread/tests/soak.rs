//! The runtime on real threads, for a second each, or for as long as
//! `FOURWAY_SOAK_SECONDS` says: lost wake-ups, threads that come and go, and
//! shutting down in the midst of it all.
//!
//! Nothing is timed: a soak fails if something is wrong, or if it stands still.

use std::{
    cell::Cell,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use fourway_adapt::{self as adapt};
use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Task, Timer, yield_now};
use fourway_std_thread::StdThread;

/// Runs `round` on each of `threads` threads, again and again until the time is
/// over. Ends the process if no round ends for a minute.
fn soak(name: &'static str, threads: usize, round: impl Fn(&Random) + Sync) {
    let seconds = std::env::var("FOURWAY_SOAK_SECONDS")
        .ok()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(1);
    let until = Instant::now() + Duration::from_secs(seconds);
    let rounds = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watchdog = scope.spawn(|| {
            let mut last = (0, Instant::now());
            while !over.load(Ordering::Acquire) {
                thread::park_timeout(Duration::from_millis(200));
                let now = rounds.load(Ordering::Relaxed);
                if now != last.0 {
                    last = (now, Instant::now());
                } else if last.1.elapsed() > Duration::from_secs(60) {
                    eprintln!("soak `{name}` stands still after {now} rounds");
                    std::process::exit(101);
                }
            }
        });
        let workers: Vec<_> = (0..threads)
            .map(|n| {
                let (rounds, round) = (&rounds, &round);
                scope.spawn(move || {
                    let random = Random(Cell::new(0x9e37_79b9_7f4a_7c15 ^ (n as u64 + 1)));
                    // One at least, however slow the machine is.
                    loop {
                        round(&random);
                        rounds.fetch_add(1, Ordering::Relaxed);
                        if Instant::now() >= until {
                            break;
                        }
                    }
                })
            })
            .collect();
        let failed = workers.into_iter().any(|worker| worker.join().is_err());
        over.store(true, Ordering::Release);
        watchdog.thread().unpark();
        assert!(!failed, "soak `{name}` failed, see above");
    });
}

/// A small generator of numbers (xorshift).
struct Random(Cell<u64>);

impl Random {
    fn below(&self, end: u64) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        x % end
    }

    /// Gives the other threads a chance, or not.
    fn dawdle(&self) {
        match self.below(4) {
            0 => thread::yield_now(),
            1 => (0..self.below(500)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

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
        let (made, dropped) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let turn = Turn::default();
        let spawn = |kind: usize| {
            made.fetch_add(1, Ordering::SeqCst);
            let (dropped, turn, inner) = (Dropped(dropped.clone()), turn.clone(), rt.clone());
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
        assert_eq!(dropped.load(Ordering::SeqCst), made.into_inner());
    });
}

/// The last handle goes anywhere, also inside a task: suspended futures are
/// destroyed, and their joins say so.
#[test]
fn soak_last_handle() {
    soak("last handle", 2, |random| {
        let rt = runtime(2);
        let dropped = Arc::new(AtomicUsize::new(0));
        let turn = Turn::default();
        let tasks: Vec<_> = (0..4)
            .map(|n| {
                let (dropped, turn) = (Dropped(dropped.clone()), turn.clone());
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
        assert_eq!(dropped.load(Ordering::SeqCst), 4);
        waker.join().unwrap();
    });
}

/// Cancelled in each state, from two sides.
#[test]
fn soak_cancel() {
    let rt = runtime(2);
    soak("cancel", 3, |random| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let turn = Turn::default();
        let task = rt.spawn({
            let (dropped, turn) = (Dropped(dropped.clone()), turn.clone());
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
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
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

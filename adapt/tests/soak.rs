//! The pool, the task made of a runner and a handle, timers and local tasks on
//! real threads, for a second each, or for as long as `FOURWAY_SOAK_SECONDS` says. The models in
//! `src/shuttle_models` explore these parts step by step. Here the machine runs them, with its real
//! memory and its real scheduler.
//!
//! Nothing is timed: a soak fails if something is wrong, or if it stands still.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use fourway_adapt::{
    self as adapt, BoxFuture, join,
    pool::{Pool, PoolBuilder, PoolStatus, StdThreads, Threads, Worker},
    timer::Timers,
};
use fourway_core::{
    BlockOn, BlockOnError, JoinError, Task, Timer,
    local::{self, LocalSpawner},
    task::Metadata,
};
use fourway_testing::{Counter, soak};

// ---------------------------------------------------------------------------
// Tools

/// Closes the pool and expects all counts to come back.
fn end(pool: &Pool) {
    pool.close();
    let status = pool.wait_ended(None);
    let expected = {
        let mut expected = PoolStatus::default();
        expected.dropped = status.dropped;
        expected
    };
    assert_eq!(status, expected);
}

fn pool(limit: usize, keep_alive: Duration) -> Pool {
    PoolBuilder::default()
        .limit(limit)
        .eager(1)
        .keep_alive(keep_alive)
        .build(StdThreads::new("soak"))
        .expect("the limit is not zero")
}

// ---------------------------------------------------------------------------
// The pool

/// Workers that run out of time just as closures come.
#[test]
fn soak_idle_exit() {
    for keep_alive in [Duration::ZERO, Duration::from_micros(60)] {
        let pool = pool(2, keep_alive);
        soak("idle exit", 3, |random| {
            let n = random.below(100);
            assert_eq!(adapt::run(pool.offload(move || n)).ok(), Some(n));
            random.dawdle();
        });
        end(&pool);
    }
}

/// The limit holds while threads come, go, block and lend their slots.
#[test]
fn soak_nested() {
    fn deep(pool: &Pool, running: &Arc<AtomicUsize>, limit: usize, depth: u64) -> u64 {
        let enter = || assert!(running.fetch_add(1, Ordering::SeqCst) < limit);
        let leave = || running.fetch_sub(1, Ordering::SeqCst);
        enter();
        let below = if depth == 0 {
            0
        } else {
            let inner = pool.offload({
                let (pool, running) = (pool.clone(), running.clone());
                move || deep(&pool, &running, limit, depth - 1)
            });
            leave();
            let below = adapt::block_on(inner, None).expect("a closure may block");
            enter();
            1 + below.expect("nobody cancels it")
        };
        leave();
        below
    }

    for limit in [1, 2] {
        let pool = pool(limit, Duration::from_micros(100));
        let running = Arc::default();
        soak("nested", 3, |random| {
            let depth = random.below(5);
            let task = pool.offload({
                let (pool, running) = (pool.clone(), Arc::clone(&running));
                move || deep(&pool, &running, limit, depth)
            });
            assert_eq!(adapt::run(task).ok(), Some(depth));
        });
        end(&pool);
    }
}

/// Cancelling, taking and closing at once: each closure and each output is
/// dropped once.
#[test]
fn soak_cancel_and_close() {
    soak("cancel and close", 2, |random| {
        let pool = pool(1 + random.below(2) as usize, Duration::from_micros(50));
        let (captures, outputs, ran) = (Counter::default(), Counter::default(), Counter::default());
        let handles: Vec<_> = (0..40)
            .map(|_| {
                let (capture, output) = (captures.on_drop(), outputs.clone());
                let ran = ran.clone();
                pool.offload(move || {
                    let _capture = capture;
                    ran.add();
                    output.on_drop()
                })
            })
            .collect();
        let aborts: Vec<_> = handles.iter().map(Task::abort_handle).collect();
        let closes = random.below(2) == 0;
        thread::scope(|scope| {
            scope.spawn(|| aborts.iter().step_by(3).for_each(|abort| abort.abort()));
            if closes {
                scope.spawn(|| pool.close());
            }
            for (n, handle) in handles.into_iter().enumerate() {
                match n % 4 {
                    0 => drop(handle),
                    1 => handle.detach(),
                    _ => match adapt::run(handle) {
                        Ok(output) => drop(output),
                        Err(error) => assert!(
                            error.is_cancelled() || (closes && error.is_shutdown()),
                            "{error}"
                        ),
                    },
                }
            }
        });
        end(&pool);
        assert_eq!(captures.get(), 40);
        assert_eq!(outputs.get(), ran.get());
    });
}

/// A source of threads that fails at random, in each possible way.
struct Unreliable {
    threads: StdThreads,
    state: AtomicUsize,
}

impl Threads for Unreliable {
    fn start(&self, worker: Worker) -> io::Result<()> {
        let n = self.state.fetch_add(1, Ordering::Relaxed);
        match (n.wrapping_mul(0x9e37_79b9) >> 7) % 8 {
            0 => Err(io::ErrorKind::OutOfMemory.into()),
            1 => {
                drop(worker);
                Ok(())
            }
            2 => {
                thread::spawn(move || drop(worker));
                Ok(())
            }
            _ => self.threads.start(worker),
        }
    }

    fn join(&self) {
        self.threads.join();
    }
}

/// Every join resolves, whatever the source does.
#[test]
fn soak_threads_fail() {
    let pool = PoolBuilder::default()
        .limit(2)
        .eager(1)
        .keep_alive(Duration::ZERO)
        .build(Unreliable {
            threads: StdThreads::new("soak"),
            state: AtomicUsize::new(0),
        })
        .unwrap();
    let ran = AtomicUsize::new(0);
    soak("threads fail", 3, |random| {
        let nested = random.below(2) == 0;
        let task = pool.offload({
            let pool = pool.clone();
            move || {
                if nested {
                    let inner = pool.offload(|| ());
                    let _ = adapt::block_on(inner, None).expect("a closure may block");
                }
            }
        });
        match adapt::run(task) {
            Ok(()) => drop(ran.fetch_add(1, Ordering::Relaxed)),
            Err(error) => assert!(error.is_unstarted() || error.is_shutdown(), "{error}"),
        }
    });
    assert!(ran.load(Ordering::Relaxed) > 0);
    end(&pool);
}

/// The system itself has no thread of such a size.
#[test]
fn no_thread_to_be_had() {
    let pool = PoolBuilder::default()
        .build(StdThreads::new("vast").stack_size(Some(usize::MAX / 4)))
        .unwrap();
    let task = pool.offload(|| ());
    let (joined, result) = std::sync::mpsc::channel();
    thread::spawn(move || joined.send(adapt::run(task)));
    let result = result.recv_timeout(Duration::from_secs(60));
    let error = result.expect("the join resolves").unwrap_err();
    assert!(error.is_unstarted(), "{error}");
    end(&pool);
}

// ---------------------------------------------------------------------------
// Tasks

/// An executor with a queue and threads: no more than it takes.
struct Executor {
    queue: Mutex<(VecDeque<Arc<Job>>, bool)>,
    changed: Condvar,
}

struct Job {
    future: Mutex<Option<BoxFuture>>,
    queued: AtomicBool,
    executor: Arc<Executor>,
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            let executor = self.executor.clone();
            executor.queue.lock().unwrap().0.push_back(self);
            executor.changed.notify_one();
        }
    }
}

impl Executor {
    fn spawn(self: &Arc<Self>, future: BoxFuture) {
        let job = Job {
            future: Mutex::new(Some(future)),
            queued: AtomicBool::new(false),
            executor: self.clone(),
        };
        Arc::new(job).wake();
    }

    fn run(&self) {
        let mut queue = self.queue.lock().unwrap();
        loop {
            if let Some(job) = queue.0.pop_front() {
                drop(queue);
                // Held during the poll: a wake meanwhile makes another thread
                // wait here, and poll again.
                let mut future = job.future.lock().unwrap();
                job.queued.store(false, Ordering::SeqCst);
                let waker = Waker::from(job.clone());
                let mut cx = Context::from_waker(&waker);
                if let Some(pending) = &mut *future {
                    if pending.as_mut().poll(&mut cx).is_ready() {
                        *future = None;
                    }
                }
                drop(future);
                drop((waker, job));
                queue = self.queue.lock().unwrap();
            } else if queue.1 {
                return;
            } else {
                queue = self.changed.wait(queue).unwrap();
            }
        }
    }
}

/// Ready once another thread says so.
#[derive(Clone, Default)]
struct Event(Arc<Mutex<(bool, Option<Waker>)>>);

impl Event {
    fn set(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Event {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut state = self.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        let before = state.1.replace(waker);
        drop(state);
        drop(before);
        Poll::Pending
    }
}

/// Joined, cancelled, dropped and woken at the same time: joins resolve, futures
/// and outputs are dropped once.
#[test]
fn soak_tasks() {
    let executor = Arc::new(Executor {
        queue: Mutex::default(),
        changed: Condvar::new(),
    });
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| executor.run());
        }
        soak("tasks", 3, |random| {
            let (futures, outputs) = (Counter::default(), Counter::default());
            let (made, event) = (Counter::default(), Event::default());
            let (runner, task) = join::task(
                Metadata::caller(),
                {
                    let (captured, output) = (futures.on_drop(), outputs.clone());
                    let (made, event) = (made.clone(), event.clone());
                    async move {
                        let _captured = captured;
                        event.await;
                        made.add();
                        output.on_drop()
                    }
                },
                None,
            );
            let abort = task.abort_handle();
            executor.spawn(Box::pin(runner));
            random.dawdle();
            let (aborts, drops) = (random.below(2) == 0, random.below(3) == 0);
            let setter = thread::spawn({
                let event = event.clone();
                move || event.set()
            });
            if aborts {
                abort.abort();
            }
            if drops {
                drop(task);
                // There is no handle to join: the task ends by itself.
                while futures.get() == 0 {
                    thread::yield_now();
                }
            } else {
                match adapt::run(task) {
                    Ok(output) => drop(output),
                    Err(error) => assert!(aborts && error.is_cancelled(), "{error}"),
                }
                assert!(abort.is_finished());
            }
            assert_eq!(futures.get(), 1);
            setter.join().unwrap();
            while outputs.get() < made.get() {
                thread::yield_now();
            }
            assert_eq!(outputs.get(), made.get());
        });
        executor.queue.lock().unwrap().1 = true;
        executor.changed.notify_all();
    });
}

// ---------------------------------------------------------------------------
// Timers, parking, local tasks

/// Timers that are made, dropped, fire and change threads at once.
#[test]
fn soak_timers() {
    let shared = Mutex::new(Timers::new("soak"));
    soak("timers", 4, |random| {
        let timers = shared.lock().unwrap().clone();
        let time = Duration::from_micros(random.below(300));
        if random.below(16) == 0 {
            // Closes the last one with its last handle.
            *shared.lock().unwrap() = Timers::new("soak");
        }
        let (mut first, mut second) = (timers.sleep(time), timers.sleep(time * 2));
        let deadline = Instant::now() + time;
        drop(timers);
        // Whichever is first; the other one is dropped while it fires.
        adapt::run(poll_fn(|cx| {
            let second = Pin::new(&mut second).poll(cx);
            if Pin::new(&mut first).poll(cx).is_ready() {
                return Poll::Ready(());
            }
            second
        }));
        assert!(Instant::now() >= deadline - time);
    });
}

struct Threaded;

impl BlockOn for Threaded {
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = future.into_future();
        adapt::block_on(future, None)
    }
}

/// Local tasks that other threads wake and abort, and a parker that is used
/// again and again while old wakers are still about.
#[test]
fn soak_local() {
    soak("local", 3, |random| {
        let (woken, never) = (Event::default(), Event::default());
        let outcome: Result<Result<(), JoinError>, _> = local::block_on(&Threaded, async |local| {
            let first = local.spawn_local(woken.clone());
            let second = local.spawn_local(never.clone());
            let abort = second.abort_handle();
            let remote = thread::spawn({
                let woken = woken.clone();
                move || {
                    woken.set();
                    abort.abort();
                }
            });
            random.dawdle();
            first.await.unwrap();
            let second = second.await;
            remote.join().unwrap();
            second
        });
        assert!(outcome.unwrap().unwrap_err().is_cancelled());
        never.set();
    });
}

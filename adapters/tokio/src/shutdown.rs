use std::{
    fmt,
    future::poll_fn,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use fourway_core::{
    Shutdown, ShutdownError, ShutdownReport,
    context::{self, Context},
};
use tokio::runtime::{Runtime, RuntimeFlavor};

use crate::Tokio;

impl Shutdown for Tokio {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        let shared = &self.shared;
        let Some(native) = &shared.native else {
            return Err(ShutdownError::not_owned());
        };
        context::check_may_block().map_err(|_| ShutdownError::in_async())?;
        // Too far ahead to be a time: wait as long as it takes.
        let deadline = Instant::now().checked_add(timeout);
        shared.closed.store(true, Ordering::Release);
        // First, for Tokio waits for its blocking threads.
        shared.pool.close();
        let threads = native.end(deadline);
        let pool = shared.pool.wait_ended(deadline);
        let mut report = ShutdownReport::default();
        report.tasks_running = shared.handle.metrics().num_alive_tasks();
        report.closures_running = pool.running + pool.lent;
        report.closures_dropped = pool.dropped;
        report.threads_running = threads.max(report.tasks_running).max(pool.threads);
        Ok(report)
    }
}

/// A native runtime that is ours to end.
pub(crate) enum Native {
    MultiThread {
        // `None` once it is being ended.
        runtime: Mutex<Option<Runtime>>,
        threads: Option<Arc<ThreadCount>>,
    },
    CurrentThread {
        driver: Driver,
        threads: Option<Arc<ThreadCount>>,
    },
}

impl Native {
    pub(crate) fn new(
        runtime: Runtime,
        thread_name: &str,
        threads: Option<Arc<ThreadCount>>,
    ) -> io::Result<Self> {
        Ok(match runtime.handle().runtime_flavor() {
            RuntimeFlavor::CurrentThread => Self::CurrentThread {
                driver: Driver::start(runtime, thread_name)?,
                threads,
            },
            _ => Self::MultiThread {
                runtime: Mutex::new(Some(runtime)),
                threads,
            },
        })
    }

    /// Ends it, without waiting.
    pub(crate) fn end_in_background(&self) {
        match self {
            Self::MultiThread { runtime, .. } => {
                if let Some(runtime) = lock(runtime).take() {
                    runtime.shutdown_background();
                }
            }
            Self::CurrentThread { driver, .. } => driver.stop(),
        }
    }

    /// Ends it, waits until `deadline`, and gives how many threads are left.
    fn end(&self, deadline: Option<Instant>) -> usize {
        let (driver, threads) = match self {
            Self::MultiThread { runtime, threads } => {
                // Not under the lock: this waits.
                let runtime = lock(runtime).take();
                if let Some(runtime) = runtime {
                    runtime.shutdown_timeout(left(deadline));
                }
                (0, threads)
            }
            Self::CurrentThread { driver, threads } => {
                driver.stop();
                (usize::from(!driver.wait(deadline)), threads)
            }
        };
        driver + threads.as_ref().map_or(0, |threads| threads.wait(deadline))
    }
}

/// What is left until a deadline; a very long time if there is none.
fn left(deadline: Option<Instant>) -> Duration {
    // Tokio adds it to the current time: not the longest there is.
    const LONG: Duration = Duration::from_secs(60 * 60 * 24 * 365);
    deadline.map_or(LONG, |at| at.saturating_duration_since(Instant::now()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No user code runs under these locks, so that nothing can poison them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts the threads of a runtime, by Tokio's own hooks.
#[derive(Debug, Default)]
pub(crate) struct ThreadCount {
    running: Mutex<usize>,
    ended: Condvar,
}

impl ThreadCount {
    pub(crate) fn started(&self) {
        *lock(&self.running) += 1;
    }

    pub(crate) fn stopped(&self) {
        *lock(&self.running) -= 1;
        self.ended.notify_all();
    }

    /// Waits until there are none, or until `deadline`; gives how many are left.
    fn wait(&self, deadline: Option<Instant>) -> usize {
        let running = lock(&self.running);
        let (running, _) = self
            .ended
            .wait_timeout_while(running, left(deadline), |running| *running > 0)
            .unwrap_or_else(PoisonError::into_inner);
        *running
    }
}

/// The thread that drives a current-thread runtime.
pub(crate) struct Driver {
    stop: Arc<Stop>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    ended: Arc<Ended>,
}

/// Tells the driver to stop. Neither a lock nor a wake of Tokio's can block.
#[derive(Default)]
struct Stop {
    asked: AtomicBool,
    driver: Mutex<Option<Waker>>,
}

impl Stop {
    fn ask(&self) {
        // The flag before the waker: see `poll`. Release pairs with the load
        // there.
        self.asked.store(true, Ordering::Release);
        let driver = lock(&self.driver).take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn poll(&self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        // The waker before the flag: who asks in between finds the waker, or is
        // seen.
        let waker = cx.waker().clone();
        let before = lock(&self.driver).replace(waker);
        drop(before);
        if self.asked.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

#[derive(Default)]
struct Ended {
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Driver {
    fn start(runtime: Runtime, thread_name: &str) -> io::Result<Self> {
        let stop = Arc::<Stop>::default();
        let asked = stop.clone();
        let ended = Arc::<Ended>::default();
        let at_end = ended.clone();
        let thread = thread::Builder::new()
            .name(thread_name.to_owned())
            .spawn(move || {
                // What is called between polls, such as wakers of timers, is
                // called on a thread that must not block either.
                let _mark = context::enter(Context::Async, None);
                runtime.block_on(poll_fn(|cx| asked.poll(cx)));
                // Destroys all tasks, here; blocking threads end by themselves.
                runtime.shutdown_timeout(Duration::ZERO);
                *lock(&at_end.ended) = true;
                at_end.changed.notify_all();
            })?;
        Ok(Self {
            stop,
            thread: Mutex::new(Some(thread)),
            ended,
        })
    }

    fn stop(&self) {
        self.stop.ask();
    }

    /// Waits for the thread; `false` if the time is over.
    fn wait(&self, deadline: Option<Instant>) -> bool {
        let ended = lock(&self.ended.ended);
        let (ended, _) = self
            .ended
            .changed
            .wait_timeout_while(ended, left(deadline), |ended| !*ended)
            .unwrap_or_else(PoisonError::into_inner);
        if !*ended {
            return false;
        }
        drop(ended);
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // It has said that it ends. It does not panic.
            let _ = thread.join();
        }
        true
    }
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MultiThread { .. } => "MultiThread",
            Self::CurrentThread { .. } => "CurrentThread",
        })
    }
}

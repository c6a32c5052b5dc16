use std::{
    cell::Cell,
    fmt,
    future::poll_fn,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use fourway_adapt::{ThreadGroup, ThreadHooks, thread_name};
use fourway_core::{
    RuntimeStatus, Shutdown, ShutdownError, ShutdownReport, context::Context, implement,
};
use tokio::runtime::{Runtime, RuntimeFlavor};

use crate::{Tokio, offload::Chosen};

impl Shutdown for Tokio {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        let shared = &self.shared;
        if self.is_inherited() {
            // In this process nothing of it runs.
            return Ok(ShutdownReport::default());
        }
        let Some(native) = &shared.native else {
            return Err(ShutdownError::not_owned());
        };
        implement::check_may_block().map_err(|_| ShutdownError::in_async())?;
        // `None` if the deadline is too far ahead for the clock: wait as long as it takes.
        let deadline = Instant::now().checked_add(timeout);
        shared.clock.close();
        shared.extensions.close();
        // First, for Tokio waits for its blocking threads.
        shared.pool.close();
        let alive = || shared.handle.metrics().num_alive_tasks();
        let ended = native.end(alive(), deadline);
        let pool = shared.pool.wait_ended(deadline);
        let mut report = ShutdownReport::default();
        // Tokio takes a task off its list before the poll that is going on ends. A
        // thread that is left, and is not the pool's, is a worker in such a poll, or
        // one that had no time to end.
        let workers = ended.threads_at_work.saturating_sub(pool.threads);
        report.tasks_running = ended.tasks_before.min(workers).max(alive());
        report.closures_running = pool.running + pool.lent;
        report.closures_dropped = pool.dropped;
        report.threads_running = ended
            .threads_left
            .max(report.tasks_running)
            .max(pool.threads);
        Ok(report)
    }

    /// Without ending Tokio's runtime, which can be done once, with one time to wait.
    fn close_pool(&self) -> Result<(), ShutdownError> {
        if self.is_inherited() {
            return Ok(());
        }
        if self.shared.native.is_none() {
            return Err(ShutdownError::not_owned());
        }
        implement::check_may_block().map_err(|_| ShutdownError::in_async())?;
        self.shared.pool.close();
        Ok(())
    }

    fn is_shutdown(&self) -> bool {
        if self.is_inherited() {
            return true;
        }
        // Other code may have shut down a runtime that is not ours: then Tokio has destroyed the
        // task that tells.
        self.shared.clock.is_closed()
    }

    fn status(&self) -> RuntimeStatus {
        if self.is_inherited() {
            return RuntimeStatus::default();
        }
        let metrics = self.shared.handle.metrics();
        let mut status = RuntimeStatus::default();
        status.executor.workers = Some(metrics.num_workers());
        status.executor.tasks = Some(metrics.num_alive_tasks());
        status.executor.queued = Some(metrics.global_queue_depth());
        status.pool = self.shared.pool.status();
        status
    }
}

/// A native runtime that is ours to end.
pub(crate) struct Native {
    runs: Runs,
    ended: Arc<Ended>,
    /// Counts its threads, if it was built here.
    threads: Option<Arc<ThreadCount>>,
    /// How many tasks there were when it was first to end.
    tasks: OnceLock<usize>,
}

enum Runs {
    MultiThread(Workers),
    CurrentThread(Driver),
}

/// The thread that drives a current-thread runtime, as it is to be.
pub(crate) struct DriverThread {
    pub(crate) name: String,
    pub(crate) chosen: Chosen,
}

/// The result of ending a runtime.
struct End {
    tasks_before: usize,
    /// Threads that may be polling a task, or run a closure.
    threads_at_work: usize,
    /// These, and threads that only have destructors of thread-locals to run.
    threads_left: usize,
}

impl Native {
    pub(crate) fn new(
        runtime: Runtime,
        driver: DriverThread,
        threads: Option<Arc<ThreadCount>>,
    ) -> io::Result<Self> {
        let ended = Arc::<Ended>::default();
        Ok(Self {
            runs: match runtime.handle().runtime_flavor() {
                RuntimeFlavor::CurrentThread => {
                    Runs::CurrentThread(Driver::start(runtime, driver, ended.clone())?)
                }
                _ => Runs::MultiThread(Workers {
                    runtime: Mutex::new(Some(runtime)),
                    name: thread_name(&driver.name, "shutdown"),
                    ending: ThreadGroup::new(),
                }),
            },
            ended,
            threads,
            tasks: OnceLock::new(),
        })
    }

    /// Ends it, without waiting.
    pub(crate) fn end_in_background(&self) {
        match &self.runs {
            Runs::MultiThread(workers) => {
                let runtime = lock(&workers.runtime).take();
                if let Some(runtime) = runtime {
                    runtime.shutdown_background();
                }
            }
            Runs::CurrentThread(driver) => driver.stop(Some(Instant::now())),
        }
    }

    /// Ends it, and waits until `deadline`.
    fn end(&self, tasks: usize, deadline: Option<Instant>) -> End {
        let tasks_before = *self.tasks.get_or_init(|| tasks);
        match &self.runs {
            Runs::MultiThread(workers) => workers.end(&self.ended, deadline),
            Runs::CurrentThread(driver) => driver.stop(deadline),
        }
        // The destructor of a thread-local, on a thread for which the ending one waits: to wait for
        // the end would be to wait for itself (SH-1, orderly shutdown).
        let is_own = self.threads.as_ref().is_some_and(|own| own.has_this());
        // Otherwise also when another thread is ending it: a thread that has said that it ends may
        // still have destructors of thread-locals to run.
        let phase = match is_own {
            true => self.ended.now(),
            false => self.ended.wait(deadline),
        };
        let driver = match &self.runs {
            Runs::CurrentThread(_) if phase == Phase::Running => 1,
            Runs::CurrentThread(driver) => {
                driver.threads.join();
                0
            }
            // The thread that ends it has said that it ends itself.
            Runs::MultiThread(workers) if phase == Phase::Ended => {
                workers.ending.join();
                0
            }
            Runs::MultiThread(_) => 0,
        };
        let others = match &self.threads {
            _ if phase == Phase::Ended => 0,
            Some(threads) => threads.wait(deadline),
            // The number is not known.
            None => match self.runs {
                Runs::CurrentThread(_) => usize::from(phase == Phase::InTheBackground),
                Runs::MultiThread(_) => 1,
            },
        };
        let threads_at_work = driver + others;
        End {
            tasks_before,
            threads_at_work,
            // Tokio's hooks, which count, come before the destructors of thread-locals.
            threads_left: match self.runs {
                Runs::MultiThread(_) if phase != Phase::Ended && !is_own => threads_at_work.max(1),
                _ => threads_at_work,
            },
        }
    }
}

/// A multi-thread runtime.
struct Workers {
    /// `None` once it is being ended.
    runtime: Mutex<Option<Runtime>>,
    /// The name of the thread that ends it.
    name: String,
    ending: ThreadGroup,
}

impl Workers {
    /// Has it ended, by a thread for this alone. Tokio waits for threads once, with one deadline,
    /// and is asked no more after that. So the thread waits for all of them as long as it
    /// takes, and each shutdown waits for it until its own deadline.
    fn end(&self, ended: &Arc<Ended>, deadline: Option<Instant>) {
        let Some(runtime) = lock(&self.runtime).take() else {
            return;
        };
        let runtime = Arc::new(Mutex::new(Some(runtime)));
        let (theirs, has_ended) = (runtime.clone(), ended.clone());
        let started = self.ending.spawn(self.name.clone(), None, move || {
            let runtime = lock(&theirs).take();
            if let Some(runtime) = runtime {
                has_ended.set(end(runtime, None));
            }
        });
        if started.is_err() {
            // Without a thread it is this one that waits, and once.
            let runtime = lock(&runtime).take();
            if let Some(runtime) = runtime {
                ended.set(end(runtime, deadline));
            }
        }
    }
}

/// Ends a runtime; says whether its threads are gone.
fn end(runtime: Runtime, deadline: Option<Instant>) -> Phase {
    runtime.shutdown_timeout(left(deadline));
    // Tokio returns early only when all threads have ended, and are joined.
    if deadline.is_none_or(|deadline| Instant::now() < deadline) {
        Phase::Ended
    } else {
        Phase::InTheBackground
    }
}

/// The time until a deadline; a very long time if there is none.
fn left(deadline: Option<Instant>) -> Duration {
    // Tokio adds it to the current time, so it must not be the longest duration.
    const LONG: Duration = Duration::from_secs(60 * 60 * 24 * 365);
    deadline.map_or(LONG, |at| at.saturating_duration_since(Instant::now()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No user code runs under these locks, so that nothing can poison them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts the threads of a runtime, by Tokio's own hooks.
#[derive(Debug)]
pub(crate) struct ThreadCount {
    /// Of the runtime. Not its address: threads may outlive this.
    number: u64,
    running: Mutex<usize>,
    ended: Condvar,
}

thread_local! {
    /// The number of the runtime whose thread this is. Without a destructor, so that those of
    /// other thread-locals find it.
    static OF: Cell<Option<u64>> = const { Cell::new(None) };
}

impl ThreadCount {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            // Relaxed: the number only has to be another one each time.
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            running: Mutex::new(0),
            ended: Condvar::new(),
        }
    }

    /// Is the calling thread one of them, perhaps after its last hook?
    fn has_this(&self) -> bool {
        OF.get() == Some(self.number)
    }

    pub(crate) fn started(&self) {
        OF.set(Some(self.number));
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

/// How far a native runtime has been ended.
#[derive(Default)]
struct Ended {
    phase: Mutex<Phase>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Running,
    /// The time was over before all of its threads were.
    InTheBackground,
    Ended,
}

impl Ended {
    fn set(&self, phase: Phase) {
        *lock(&self.phase) = phase;
        self.changed.notify_all();
    }

    fn now(&self) -> Phase {
        *lock(&self.phase)
    }

    fn wait(&self, deadline: Option<Instant>) -> Phase {
        let phase = lock(&self.phase);
        let running = |phase: &mut Phase| *phase == Phase::Running;
        let (phase, _) = self
            .changed
            .wait_timeout_while(phase, left(deadline), running)
            .unwrap_or_else(PoisonError::into_inner);
        *phase
    }
}

/// The thread that drives a current-thread runtime.
struct Driver {
    stop: Arc<Stop>,
    /// The group of the driver's thread.
    threads: ThreadGroup,
}

/// Tells the driver to stop. Neither a lock nor a wake of Tokio's can block.
#[derive(Default)]
struct Stop {
    state: Mutex<StopState>,
}

#[derive(Default)]
struct StopState {
    /// Until when to wait for the other threads; `Some(None)`: as long as it takes.
    asked: Option<Option<Instant>>,
    driver: Option<Waker>,
}

impl Stop {
    /// The first deadline counts.
    fn ask(&self, deadline: Option<Instant>) {
        let mut state = lock(&self.state);
        state.asked.get_or_insert(deadline);
        let driver = state.driver.take();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn poll(&self, cx: &mut std::task::Context<'_>) -> Poll<Option<Instant>> {
        let waker = cx.waker().clone();
        let mut state = lock(&self.state);
        if let Some(deadline) = state.asked {
            return Poll::Ready(deadline);
        }
        let before = state.driver.replace(waker);
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Driver {
    fn start(runtime: Runtime, thread: DriverThread, ended: Arc<Ended>) -> io::Result<Self> {
        let stop = Arc::<Stop>::default();
        let asked = stop.clone();
        let threads = ThreadGroup::new();
        let Chosen { stack_size, hooks } = thread.chosen;
        let runtime = Arc::new(Mutex::new(Some(runtime)));
        let theirs = runtime.clone();
        let life = move || {
            hooks.started();
            let mut driven = Driven {
                phase: Phase::Ended,
                hooks,
                ended,
            };
            // Code between the polls, such as wakers of timers, must not block the thread either, nor
            // the destructors of tasks, if the thread unwinds and drops the runtime.
            let _mark = implement::enter(Context::Async, None);
            // Dropped before these.
            let runtime = lock(&theirs).take();
            let runtime = runtime.expect("taken out otherwise if there is no thread");
            let deadline = runtime.block_on(poll_fn(|cx| asked.poll(cx)));
            // Destroys all tasks, here, and before that waits for blocking threads, so that it
            // needs the deadline.
            driven.phase = end(runtime, deadline);
        };
        let started = threads.spawn(thread_name(&thread.name, 0), stack_size, life);
        if let Err(error) = started {
            // To drop it would wait, and panic in async code.
            let runtime = lock(&runtime).take();
            if let Some(runtime) = runtime {
                runtime.shutdown_background();
            }
            return Err(error);
        }
        Ok(Self { stop, threads })
    }

    fn stop(&self, deadline: Option<Instant>) {
        self.stop.ask(deadline);
    }
}

/// Says that the driver's thread ends; also if it unwinds, because of a waker that raw Tokio code
/// has given to Tokio's drivers. Then no task runs any more, but a shutdown must not wait for it.
struct Driven {
    phase: Phase,
    hooks: ThreadHooks,
    ended: Arc<Ended>,
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.hooks.stopping();
        self.ended.set(self.phase);
    }
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.runs {
            Runs::MultiThread(_) => "MultiThread",
            Runs::CurrentThread(_) => "CurrentThread",
        })
    }
}

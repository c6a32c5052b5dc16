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

use fourway_adapt::{ThreadGroup, ThreadHooks, fork::Process, thread_name};
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
        let closures = shared.pool.status();
        let has_closures = closures.running + closures.lent > 0;
        let ended = native.end(alive(), has_closures, deadline);
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
            Runs::CurrentThread(driver) => driver.stop(Ending::AtOnce),
        }
    }

    /// Ends it, and waits until `deadline`.
    fn end(&self, tasks: usize, has_closures: bool, deadline: Option<Instant>) -> End {
        let tasks_before = *self.tasks.get_or_init(|| tasks);
        let is_multi_thread = match &self.runs {
            Runs::MultiThread(workers) => {
                workers.end(&self.ended, deadline);
                true
            }
            Runs::CurrentThread(driver) => {
                // Tokio waits for its blocking threads before it destroys the tasks, and nobody
                // drives these meanwhile: a closure that waits for one, or for a timer, would wait
                // for the whole time.
                // A runtime that was built here counts its threads by itself afterwards. It misses raw
                // blocking work alone whose thread has not begun.
                let at_once = self.threads.is_some() || has_closures;
                driver.stop(if at_once {
                    Ending::AtOnce
                } else {
                    Ending::Waiting(deadline)
                });
                false
            }
        };
        // On a thread for which the ending one waits: to wait for the end would be to wait for itself
        // (SH-1, orderly shutdown).
        let is_own = is_multi_thread && self.threads.as_ref().is_some_and(|own| own.has_this());
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
            Some(threads) if !is_multi_thread => threads.wait_gone(deadline),
            _ if phase == Phase::Ended => 0,
            Some(threads) => threads.wait(deadline),
            // The number is not known.
            None => match self.runs {
                Runs::CurrentThread(_) => usize::from(phase == Phase::InTheBackground),
                Runs::MultiThread(_) => 1,
            },
        };
        let threads = driver + others;
        End {
            tasks_before,
            threads_at_work: match self.runs {
                // Its tasks are destroyed.
                Runs::CurrentThread(_) if phase == Phase::Ended => 0,
                _ => threads,
            },
            // Tokio's hooks, which count, come before the destructors of thread-locals.
            threads_left: match self.runs {
                Runs::MultiThread(_) if phase != Phase::Ended && !is_own => threads.max(1),
                _ => threads,
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
    process: Process,
    counts: Mutex<Counts>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Counts {
    /// Threads between Tokio's hooks.
    running: usize,
    /// Threads between the first hook and the last destructor of a thread-local.
    present: usize,
}

/// What the calling thread adds to the counts.
#[derive(Clone, Copy)]
struct Own {
    /// The number of the runtime whose thread this is.
    of: u64,
    running: usize,
    present: usize,
}

thread_local! {
    /// Without a destructor, so that those of other thread-locals find it.
    static OWN: Cell<Option<Own>> = const { Cell::new(None) };
    /// Registered before all other thread-locals but Tokio's own, and so destroyed after them.
    static LAST: Cell<Option<Last>> = const { Cell::new(None) };
}

struct Last(Arc<ThreadCount>);

impl Drop for Last {
    fn drop(&mut self) {
        // A child that this thread has forked: the lock may be held for ever (FK-1, forked children).
        if !self.0.process.is_this() {
            return;
        }
        change(|own| own.present = 0);
        lock(&self.0.counts).present -= 1;
        self.0.ended.notify_all();
    }
}

fn change(change: impl FnOnce(&mut Own)) {
    if let Some(mut own) = OWN.get() {
        change(&mut own);
        OWN.set(Some(own));
    }
}

impl ThreadCount {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            // Relaxed: the number only has to be another one each time.
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            process: Process::this(),
            counts: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    /// What the calling thread adds, perhaps after its last hook, if it is one of them.
    fn own(&self) -> Option<Own> {
        OWN.get().filter(|own| own.of == self.number)
    }

    fn has_this(&self) -> bool {
        self.own().is_some()
    }

    pub(crate) fn started(self: &Arc<Self>) {
        OWN.set(Some(Own {
            of: self.number,
            running: 1,
            present: 1,
        }));
        let mut counts = lock(&self.counts);
        counts.running += 1;
        counts.present += 1;
        drop(counts);
        LAST.set(Some(Last(self.clone())));
    }

    pub(crate) fn stopped(&self) {
        change(|own| own.running = 0);
        lock(&self.counts).running -= 1;
        self.ended.notify_all();
    }

    /// Waits until there are none but the calling one, or until `deadline`; gives how many are left.
    fn wait(&self, deadline: Option<Instant>) -> usize {
        let own = self.own().map_or(0, |own| own.running);
        self.wait_while(deadline, own, |counts| counts.running)
    }

    /// The same, and for the destructors of their thread-locals.
    fn wait_gone(&self, deadline: Option<Instant>) -> usize {
        let own = self.own().map_or(0, |own| own.present);
        self.wait_while(deadline, own, |counts| counts.present)
    }

    fn wait_while(
        &self,
        deadline: Option<Instant>,
        own: usize,
        count: impl Fn(&Counts) -> usize,
    ) -> usize {
        let counts = lock(&self.counts);
        let (counts, _) = self
            .ended
            .wait_timeout_while(counts, left(deadline), |counts| count(counts) > own)
            .unwrap_or_else(PoisonError::into_inner);
        count(&counts)
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
    asked: Option<Ending>,
    driver: Option<Waker>,
}

/// How the driver's thread is to end the runtime.
#[derive(Clone, Copy)]
enum Ending {
    /// Its tasks, timers and sockets are destroyed at once, and nobody waits here for threads.
    AtOnce,
    /// After Tokio has waited for its blocking threads, until then; `None`: as long as it takes. For
    /// a runtime that was built elsewhere, whose threads only Tokio can count.
    Waiting(Option<Instant>),
}

impl Stop {
    /// The first one counts.
    fn ask(&self, ending: Ending) {
        let mut state = lock(&self.state);
        state.asked.get_or_insert(ending);
        let driver = state.driver.take();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn poll(&self, cx: &mut std::task::Context<'_>) -> Poll<Ending> {
        let waker = cx.waker().clone();
        let mut state = lock(&self.state);
        if let Some(ending) = state.asked {
            return Poll::Ready(ending);
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
            // Both destroy all tasks, here.
            match runtime.block_on(poll_fn(|cx| asked.poll(cx))) {
                Ending::AtOnce => runtime.shutdown_background(),
                Ending::Waiting(deadline) => driven.phase = end(runtime, deadline),
            }
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

    fn stop(&self, ending: Ending) {
        self.stop.ask(ending);
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

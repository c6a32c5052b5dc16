//! The worker threads: starting them, standing in for them, and taking them down.
//!
//! [`worker`] says what they do, [`idle`](crate::idle) when they sleep.
//!
//! Closing: no new task is registered. Every suspended task is woken, so that each is in a queue or
//! with a worker. A thread that then begins to run a task destroys it in place of polling it. A
//! worker leaves when it finds no more tasks. The last worker says so, and then looks once more at
//! the queue from outside. A thread that queues a task from outside checks after that whether the
//! last worker has left. If so, it destroys the queued tasks itself. So no task is left behind
//! (JO-5, every join resolves).
//!
//! A forked child has no workers, and each lock here, as well as the queue from outside, may be in
//! the middle of something for ever. So nothing of an executor that is
//! [inherited](Executor::is_inherited) is touched (FK-1, forked children).

use std::{
    fmt, io,
    ptr::NonNull,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use fourway_adapt::{ThreadGroup, ThreadHooks, fork::Process, thread_name};
use fourway_core::{
    ExecutorStatus, context,
    implement::{self, RuntimeId},
};

use crate::{
    cell::{Header, TaskRef},
    idle::Idle,
    queue::{Injector, surely},
    registry::Registry,
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering, fence},
        now,
    },
    worker::{self, Core, Lane},
};

pub(crate) struct Config {
    pub(crate) runtime: RuntimeId,
    pub(crate) thread_name: String,
    pub(crate) stack_size: Option<usize>,
    pub(crate) workers: usize,
    pub(crate) hooks: ThreadHooks,
}

pub(crate) struct Executor {
    config: Config,
    process: Process,
    pub(crate) lanes: Box<[Lane]>,
    /// Tasks that were queued by threads that are no workers.
    pub(crate) outside: Injector<TaskRef>,
    pub(crate) idle: Idle,
    #[cfg(feature = "reactor")]
    pub(crate) sources: crate::reactor::Sources,
    registry: Registry,
    /// Tasks are destroyed in place of being polled.
    closing: AtomicBool,
    /// All tasks are in a queue or with a worker; workers leave when they find none.
    closed: AtomicBool,
    /// The last worker has left.
    ended: AtomicBool,
    threads: ThreadGroup,
    state: Mutex<State>,
    /// Signalled when a worker ends, or a task that was left behind.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Threads, including those that have given their core away.
    workers: usize,
    /// Threads that have given it away, and are in the middle of a task.
    blocking: usize,
    started: usize,
    /// For threads that are just starting.
    cores: Vec<Core>,
    /// The tasks that were suspended when the executor was closed.
    left: Vec<TaskRef>,
}

/// The state of the executor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    pub(crate) threads: usize,
    pub(crate) polling: usize,
}

impl Executor {
    /// An executor whose threads have yet to be started.
    pub(crate) fn new(config: Config) -> Arc<Self> {
        let (lanes, cores) = worker::cores(config.workers);
        Arc::new(Self {
            lanes,
            outside: Injector::new(),
            idle: Idle::new(config.workers),
            #[cfg(feature = "reactor")]
            sources: crate::reactor::Sources::default(),
            config,
            process: Process::this(),
            registry: Registry::new(),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            threads: ThreadGroup::new(),
            state: Mutex::new(State {
                cores,
                ..State::default()
            }),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn runtime(&self) -> RuntimeId {
        self.config.runtime
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under the lock, so that nothing can poison it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // -----------------------------------------------------------------------
    // Tasks

    /// Queues a task from a thread that does not queue it with one of the workers.
    pub(crate) fn push_outside(&self, task: TaskRef) {
        self.outside.push(task);
        // Its fence pairs with the fence in `end`.
        self.idle.notify();
        if self.ended.load(Ordering::Relaxed) {
            self.destroy_queued();
        }
    }

    /// Is this a forked child of the process that the executor is of?
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        !self.process.is_this()
    }

    /// Must a task be destroyed in place of being polled? The thread that has begun to run it asks,
    /// see [`close`](Self::close).
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Are there no more tasks to come?
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// A task is about to be suspended for the first time. `false`: it must be destroyed, because
    /// the executor is closing.
    pub(crate) fn register(&self, task: &TaskRef) -> bool {
        self.registry.enter(task)
    }

    /// A task that may be registered has ended.
    pub(crate) fn forget(&self, task: NonNull<Header>) {
        self.registry.leave(task);
    }

    // -----------------------------------------------------------------------
    // Threads

    /// Starts all workers.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        (0..self.config.workers).try_for_each(|_| self.start_worker())
    }

    /// Starts a thread for one of the waiting cores.
    fn start_worker(self: &Arc<Self>) -> io::Result<()> {
        let number = {
            let mut state = self.lock();
            // Counted before it arrives, so that closing waits for it.
            state.workers += 1;
            state.started += 1;
            state.started - 1
        };
        let name = thread_name(&self.config.thread_name, number);
        let executor = self.clone();
        self.threads
            .spawn(name, self.config.stack_size, move || executor.run_worker())
            .inspect_err(|_| self.leave(false))
    }

    /// The life of a worker thread.
    fn run_worker(self: Arc<Self>) {
        self.config.hooks.around(&mut || {
            let core = self.lock().cores.pop();
            let Some(core) = core else {
                // `stand_in` has taken the core back.
                return self.leave(false);
            };
            worker::give_core(self.clone(), core);
            // Code between the polls, which are wakers of joiners and of sockets, must not block the
            // worker either (BL-2, no blocking in async code). The hooks may.
            let mark = implement::enter(context::Context::Async, Some(self.runtime()));
            let core = worker::work(&self);
            drop(mark);
            if self.is_inherited() {
                // A task has forked, and this thread is all there is of the child. It ends
                // here, and the process with it.
                return std::mem::forget(core);
            }
            // Without a core, the thread has blocked in its last task.
            self.leave(core.is_none());
            drop(core);
        });
    }

    /// A worker leaves, or never came.
    fn leave(&self, blocked: bool) {
        let mut state = self.lock();
        state.workers -= 1;
        state.blocking -= usize::from(blocked);
        let last = state.workers == 0 && self.is_closed();
        if !last {
            drop(state);
            self.changed.notify_all();
            return;
        }
        // The last worker stays counted until nothing is left, so that no thread takes this for the
        // end.
        state.workers = 1;
        let left = state.left.clone();
        drop(state);
        self.end(&left);
        // Other threads may be about to destroy one of the tasks, and notify when they have.
        let mut state = self.wait_while(None, |_| left.iter().any(|task| !task.is_done()));
        let rest = std::mem::take(&mut state.left);
        state.workers = 0;
        drop(state);
        self.changed.notify_all();
        drop((left, rest));
    }

    /// The last worker is gone.
    fn end(&self, left: &[TaskRef]) {
        self.ended.store(true, Ordering::Relaxed);
        // Pairs with the fence of `Idle::notify` in `push_outside`: either that thread sees that it
        // is on its own, or this one sees the task.
        fence(Ordering::SeqCst);
        self.destroy_queued();
        self.destroy(left);
    }

    /// Destroys the tasks that are due for a poll. A thread may be interrupted between making a
    /// task due and queueing it, for as long as the system likes; that thread finds the task gone,
    /// or destroys it.
    fn destroy(&self, tasks: &[TaskRef]) {
        for task in tasks {
            task.clone().destroy();
        }
        self.tell_ended();
    }

    /// A task has ended, and a thread may be waiting for it.
    fn tell_ended(&self) {
        // Under the lock, so that a thread that has just looked is already waiting.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Has another thread work in place of the calling worker, which must not be a worker any more
    /// when it comes back from blocking.
    ///
    /// # Errors
    ///
    /// If no thread can be started: the caller still is the worker.
    pub(crate) fn stand_in(self: &Arc<Self>) -> io::Result<()> {
        if self.is_inherited() {
            return Err(io::Error::other(
                "the runtime is that of the parent process",
            ));
        }
        let Some(core) = worker::take_core() else {
            return Ok(());
        };
        {
            let mut state = self.lock();
            state.cores.push(core);
            state.blocking += 1;
        }
        self.start_worker().inspect_err(|_| {
            let mut state = self.lock();
            state.blocking -= 1;
            // Any core will do. There is one: no thread has come for it.
            let core = state.cores.pop();
            drop(state);
            if let Some(core) = core {
                worker::give_core(self.clone(), core);
            }
        })
    }

    // -----------------------------------------------------------------------
    // Closing

    /// Accepts no more tasks, and has all existing ones destroyed. Does not wait.
    pub(crate) fn close(&self) {
        // Before the suspended tasks are woken, each with a Release exchange of its state. A thread
        // that begins to run the task after that has seen this store too. A thread that began
        // before finds the task notified, and begins once more. The registry refuses the tasks that
        // are not in it yet.
        self.closing.store(true, Ordering::Relaxed);
        #[cfg(feature = "reactor")]
        self.sources.close();
        let Some(tasks) = self.registry.close() else {
            return;
        };
        // In two steps, so that the workers stay until all tasks are queued: the destructors must
        // run on their threads and not on this one.
        for task in &tasks {
            task.wake_by_ref();
        }
        let nobody = {
            let mut state = self.lock();
            state.left = tasks;
            self.closed.store(true, Ordering::SeqCst);
            state.workers == 0
        };
        if nobody {
            let left = std::mem::take(&mut self.lock().left);
            self.end(&left);
        } else {
            self.idle.wake_all();
        }
    }

    /// After [`close`](Self::close): destroys on the calling thread the tasks that no worker has
    /// taken yet.
    pub(crate) fn destroy_queued(&self) {
        let mut any = false;
        while let Some(task) = self.take_any() {
            task.destroy();
            any = true;
        }
        if any {
            self.tell_ended();
        }
    }

    fn take_any(&self) -> Option<TaskRef> {
        let outside = surely(|| self.outside.steal());
        outside.or_else(|| self.lanes.iter().find_map(Lane::take_any))
    }

    /// Runs one task, as a worker does.
    #[cfg(all(test, fourway_loom))]
    pub(crate) fn run_one(&self) -> bool {
        let task = self.take_any();
        let ran = task.is_some();
        if let Some(task) = task {
            task.run();
        }
        ran
    }

    /// After [`close`](Self::close): destroys the tasks that other threads are just about to queue,
    /// unless the last worker has.
    pub(crate) fn destroy_left(&self) {
        let left = self.lock().left.clone();
        self.destroy(&left);
    }

    fn wait_while(
        &self,
        deadline: Option<Instant>,
        condition: impl Fn(&State) -> bool,
    ) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while condition(&state) {
            let left = match deadline.map(|d| d.saturating_duration_since(now())) {
                Some(Duration::ZERO) => break,
                Some(left) => left,
                None => Duration::MAX,
            };
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state
    }

    /// The state of the executor. A task that is about to run next on a worker counts as queued or
    /// as neither; to know would take more than a look.
    pub(crate) fn status(&self) -> ExecutorStatus {
        let mut status = ExecutorStatus::default();
        status.workers = Some(self.lock().workers);
        status.busy = Some(self.lanes.iter().filter(|lane| lane.is_busy()).count());
        let queued = self.lanes.iter().map(Lane::queued).sum::<usize>();
        status.queued = Some(queued + self.outside.len());
        status
    }

    /// Waits until all workers have ended, or until `deadline`.
    pub(crate) fn wait_ended(&self, deadline: Option<Instant>) -> Status {
        let state = self.wait_while(deadline, |state| state.workers > 0);
        let busy = self.lanes.iter().filter(|lane| lane.is_busy()).count();
        let status = Status {
            threads: state.workers,
            polling: state.workers.min(busy + state.blocking),
        };
        if state.workers == 0 {
            drop(state);
            // They have left the loop, and end now. A user's hook at their end may have called
            // this.
            self.threads.join();
        }
        status
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workers = if self.is_inherited() {
            0
        } else {
            self.lock().workers
        };
        f.debug_struct("Executor")
            .field("workers", &workers)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

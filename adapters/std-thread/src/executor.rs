//! The worker threads, their queue, and the registry of tasks.
//!
//! One queue, in order: every ready task runs before any of them runs twice
//! (FA-1). Workers wait on a condition variable; a push wakes one if any waits.
//!
//! Closing: nothing new is registered; every registered task is woken, so that
//! each is in the queue or with a worker; and whoever begins to run a task then
//! destroys it in place of polling it. The last worker to leave says so under the
//! queue's lock, and whoever pushes after that destroys the task himself. So no
//! task is left behind (JO-5).

use std::{
    cell::Cell as ThreadCell,
    collections::VecDeque,
    fmt, io,
    sync::{Arc, PoisonError, Weak},
    time::{Duration, Instant},
};

use fourway_core::context::RuntimeId;

use crate::{
    cell::Run,
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        now,
        thread::{self, JoinHandle},
        thread_local,
    },
};

pub(crate) struct Config {
    pub(crate) runtime: RuntimeId,
    pub(crate) thread_name: String,
    pub(crate) stack_size: Option<usize>,
}

pub(crate) struct Executor {
    config: Config,
    state: Mutex<State>,
    /// Idle workers wait here.
    work: Condvar,
    /// Signalled when a worker ends.
    ended: Condvar,
    registry: Mutex<Registry>,
    /// Tasks are destroyed in place of being polled.
    closing: AtomicBool,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<dyn Run>>,
    workers: usize,
    idle: usize,
    /// Workers that are polling or destroying a task.
    polling: usize,
    /// Threads that are destroying a task because no worker is left to do it.
    outside: usize,
    /// Workers that should leave: stand-ins whose time is over. Which thread
    /// leaves does not matter.
    surplus: usize,
    started: usize,
    threads: Vec<JoinHandle<()>>,
    /// All tasks are in the queue or with a worker; workers leave when the queue
    /// is empty.
    closed: bool,
}

/// How the executor is getting on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    pub(crate) threads: usize,
    pub(crate) polling: usize,
}

thread_local! {
    static ON_WORKER: ThreadCell<bool> = const { ThreadCell::new(false) };
}

/// Is the calling thread a worker? (Of the runtime it is marked with.)
pub(crate) fn on_worker() -> bool {
    ON_WORKER.get()
}

impl Executor {
    pub(crate) fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            config,
            state: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
            registry: Mutex::default(),
            closing: AtomicBool::new(false),
        })
    }

    pub(crate) fn runtime(&self) -> RuntimeId {
        self.config.runtime
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under the lock, so that nothing can poison it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is a task to be destroyed in place of being polled? To be asked by whoever
    /// has begun to run it, see [`close`](Self::close).
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Queues a task.
    pub(crate) fn push(&self, task: Arc<dyn Run>) {
        let mut state = self.lock();
        if state.closed && state.workers == 0 {
            state.outside += 1;
            drop(state);
            task.destroy();
            self.lock().outside -= 1;
            self.ended.notify_all();
            return;
        }
        state.queue.push_back(task);
        let wake = state.idle > 0;
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    pub(crate) fn start_worker(self: &Arc<Self>) -> io::Result<()> {
        let number = {
            let mut state = self.lock();
            // Counted before it arrives, so that closing waits for it.
            state.workers += 1;
            state.started += 1;
            state.started - 1
        };
        let mut builder =
            thread::Builder::new().name(format!("{}-{number}", self.config.thread_name));
        if let Some(bytes) = self.config.stack_size {
            builder = builder.stack_size(bytes);
        }
        let executor = self.clone();
        match builder.spawn(move || executor.work()) {
            Ok(thread) => {
                let mut state = self.lock();
                state.threads.retain(|thread| !thread.is_finished());
                state.threads.push(thread);
                Ok(())
            }
            Err(error) => {
                let state = self.lock();
                self.leave(state);
                Err(error)
            }
        }
    }

    /// The life of a worker.
    fn work(&self) {
        ON_WORKER.set(true);
        let mut state = self.lock();
        loop {
            if state.surplus > 0 {
                state.surplus -= 1;
                // It may have been woken for a task that it now leaves.
                if !state.queue.is_empty() {
                    self.work.notify_one();
                }
                break;
            }
            if let Some(task) = state.queue.pop_front() {
                state.polling += 1;
                drop(state);
                task.run();
                state = self.lock();
                state.polling -= 1;
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
        self.leave(state);
    }

    /// A worker leaves, or never came.
    fn leave(&self, mut state: MutexGuard<'_, State>) {
        state.workers -= 1;
        let last = state.workers == 0 && state.closed;
        drop(state);
        if last {
            self.destroy_queued();
        }
        self.ended.notify_all();
    }

    /// Accepts no more tasks, and has all there are destroyed. Does not wait.
    pub(crate) fn close(&self) {
        let tasks = {
            let mut registry = self.registry();
            if registry.closed {
                return;
            }
            registry.closed = true;
            std::mem::take(&mut registry.tasks)
        };
        // In two steps, so that the workers stay until all tasks are queued: the
        // destructors are to run on their threads and not on this one.
        //
        // Relaxed: before the wakes, each of which exchanges the task's state with
        // Release. Whoever begins to run the task after that has seen this too;
        // whoever began before finds the task notified, and begins once more.
        self.closing.store(true, Ordering::Relaxed);
        for task in tasks.iter().flatten() {
            if let Some(task) = task.upgrade() {
                task.wake_up();
            }
        }
        self.registry().left = tasks;
        let workers = {
            let mut state = self.lock();
            state.closed = true;
            state.workers
        };
        self.work.notify_all();
        if workers == 0 {
            // Nobody is left to take them.
            self.destroy_queued();
        }
    }

    /// After [`close`](Self::close): destroys on the calling thread what no
    /// worker has taken yet.
    pub(crate) fn destroy_queued(&self) {
        loop {
            let task = self.lock().queue.pop_front();
            match task {
                Some(task) => task.destroy(),
                None => return,
            }
        }
    }

    /// Runs one task, as a worker does.
    #[cfg(all(test, fourway_loom))]
    pub(crate) fn run_one(&self) -> bool {
        let task = self.lock().queue.pop_front();
        let ran = task.is_some();
        if let Some(task) = task {
            task.run();
        }
        ran
    }

    /// After [`wait_ended`](Self::wait_ended): destroys what others are just about
    /// to queue. A thread may be interrupted between making a task due for a poll
    /// and pushing it, for as long as the system likes; that thread finds it gone,
    /// or is destroying it and waited for.
    pub(crate) fn destroy_left(&self, deadline: Option<Instant>) {
        let left = std::mem::take(&mut self.registry().left);
        for task in left.into_iter().flatten() {
            if let Some(task) = task.upgrade() {
                task.destroy();
            }
        }
        drop(self.wait_while(deadline, |state| state.outside > 0));
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
                .ended
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state
    }

    /// Waits until all workers have ended, or until `deadline`.
    pub(crate) fn wait_ended(&self, deadline: Option<Instant>) -> Status {
        let mut state = self.wait_while(deadline, |state| state.workers > 0);
        let status = Status {
            threads: state.workers,
            polling: state.polling,
        };
        if state.workers == 0 {
            let threads = std::mem::take(&mut state.threads);
            drop(state);
            for thread in threads {
                // They have left the loop, and end now. Workers do not panic.
                let _ = thread.join();
            }
        }
        status
    }

    /// Has another thread work in place of the calling worker, until the guard
    /// is dropped.
    pub(crate) fn stand_in(self: &Arc<Self>) -> io::Result<StandIn<'_>> {
        self.start_worker()?;
        Ok(StandIn { executor: self })
    }
}

/// Made by [`Executor::stand_in`].
pub(crate) struct StandIn<'a> {
    executor: &'a Executor,
}

impl Drop for StandIn<'_> {
    fn drop(&mut self) {
        let mut state = self.executor.lock();
        state.surplus += 1;
        let wake = state.idle > 0;
        drop(state);
        if wake {
            self.executor.work.notify_one();
        }
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Executor")
            .field("workers", &state.workers)
            .field("queued", &state.queue.len())
            .field("closed", &state.closed)
            .finish_non_exhaustive()
    }
}

// ---------------------------------------------------------------------------
// The registry

/// All tasks that have not ended, weakly.
#[derive(Default)]
struct Registry {
    tasks: Vec<Option<Weak<dyn Run>>>,
    free: Vec<usize>,
    closed: bool,
    /// The tasks there were when it was closed.
    left: Vec<Option<Weak<dyn Run>>>,
}

/// A task's place in the registry. Zero: none.
#[derive(Debug, Default)]
pub(crate) struct Key(AtomicUsize);

impl Executor {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a task; `false` if the executor is closed.
    pub(crate) fn register(&self, key: &Key, task: Weak<dyn Run>) -> bool {
        let mut registry = self.registry();
        if registry.closed {
            return false;
        }
        let place = match registry.free.pop() {
            Some(place) => {
                registry.tasks[place] = Some(task);
                place
            }
            None => {
                registry.tasks.push(Some(task));
                registry.tasks.len() - 1
            }
        };
        // Relaxed: read by whoever ends the task, which got it through the queue.
        key.0.store(place + 1, Ordering::Relaxed);
        true
    }

    /// Strikes out a task that has ended.
    pub(crate) fn forget(&self, key: &Key) {
        let Some(place) = key.0.swap(0, Ordering::Relaxed).checked_sub(1) else {
            return;
        };
        let mut registry = self.registry();
        // Closing takes the whole list.
        let Some(entry) = registry.tasks.get_mut(place) else {
            return;
        };
        let task = entry.take();
        registry.free.push(place);
        drop(registry);
        // Weak, but its drop may free the task's memory: not under the lock.
        drop(task);
    }
}

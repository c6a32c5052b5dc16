//! A `smol::Executor` with threads of its own, which can be shut down.
//!
//! # Why it is not simply dropped
//!
//! `smol::Executor` destroys its suspended tasks when it is dropped: it wakes
//! them all, and drops what is then in its queue. A task that another thread is
//! just waking is not in the queue yet, and comes there too late: it is never run again, its future
//! is leaked, and its join hangs. So the executor here is kept, and running, until the last task
//! has ended:
//!
//! 1. [`close`](Executor::close) sets `closing`, and wakes every suspended task.
//!    [`Supervised`], which is around every future, lists itself when it is
//!    suspended for the first time, so that there are wakers to call.
//! 2. A task that is run while `closing` is set is not polled any more: its
//!    future is destroyed, and the task ends. So a task that is woken late still runs, on a thread
//!    that is still there.
//! 3. Each thread looks, whenever it is woken and whenever it has ended a task,
//!    whether the executor is [empty](smol::Executor::is_empty). The first to
//!    find it so sets `ended` and tells the others, and the threads end.
//!
//! A `spawn` that looked at `closing` just before it was set may come after the
//! last look. Therefore a thread sets `ended` *before* it looks, and takes it
//! back if there are tasks, all under a lock; and `spawn` looks at `ended` after
//! it has put the task into the executor. Both sides pass through the executor's
//! own lock on its list of tasks in between, so that one of them sees the other:
//! the thread stays, or `spawn` ends the task itself.

use std::{
    cell::OnceCell,
    fmt,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use fourway_adapt::{
    Outcome, ThreadGroup, ThreadHooks,
    async_task::{self, Begun, Number},
    discard,
    fork::Process,
    thread_name,
};
use fourway_core::{
    ExecutorStatus, context,
    implement::{self, RuntimeId},
};
use pin_project_lite::pin_project;

use crate::runtime::smol_is_usable;

pub(crate) struct Config {
    pub(crate) runtime: RuntimeId,
    pub(crate) thread_name: String,
    pub(crate) stack_size: Option<usize>,
    pub(crate) hooks: ThreadHooks,
}

/// The handles of a runtime hold this. Its drop closes the executor.
pub(crate) struct Owner(Arc<Executor>);

impl Owner {
    pub(crate) fn new(executor: Executor) -> Self {
        Self(Arc::new(executor))
    }

    pub(crate) fn executor(&self) -> &Arc<Executor> {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Held by the threads and the tasks too; see the module's docs.
pub(crate) struct Executor {
    native: smol::Executor<'static>,
    process: Process,
    config: Config,
    /// Nothing new is accepted, and tasks are destroyed rather than polled.
    closing: AtomicBool,
    /// There are no tasks any more. Written under the lock on `threads`.
    ended: AtomicBool,
    suspended: Mutex<Suspended>,
    threads: Mutex<Threads>,
    group: ThreadGroup,
    /// Signalled when a thread ends.
    thread_ended: Condvar,
}

#[derive(Default)]
struct Threads {
    /// The workers that have not ended.
    workers: Vec<Arc<Worker>>,
    /// How many were started to stay; for their names.
    started: usize,
}

pub(crate) struct Status {
    /// Threads that are polling or destroying a task's future.
    pub(crate) busy: usize,
    pub(crate) threads: usize,
}

impl Executor {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            native: smol::Executor::new(),
            process: Process::this(),
            config,
            closing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            suspended: Mutex::default(),
            threads: Mutex::default(),
            group: ThreadGroup::new(),
            thread_ended: Condvar::new(),
        }
    }

    pub(crate) fn begin<F>(self: &Arc<Self>, number: Number, future: F) -> Begun<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let runtime = Some(self.config.runtime);
        if self.is_closing() {
            return async_task::refuse(future, runtime);
        }
        let task = async_task::start(number, future, runtime, |future| {
            self.native.spawn(Supervised {
                future: Some(future),
                executor: self.clone(),
                entry: None,
            })
        });
        if self.ended.load(Ordering::SeqCst) {
            self.end_latecomers();
        }
        task
    }

    #[cold]
    fn end_latecomers(&self) {
        // Under the lock, `ended` is final, or a thread is still looking.
        let threads = self.lock_threads();
        let ended = self.ended.load(Ordering::SeqCst);
        drop(threads);
        if ended {
            self.drain();
        }
    }

    /// Runs the queued tasks, which after the end destroys them.
    fn drain(&self) {
        while self.native.try_tick() {}
    }

    /// Begins the shutdown. Does not wait.
    pub(crate) fn close(self: &Arc<Self>) {
        let mut suspended = self.lock_suspended();
        // Under the lock, so that no task is listed after this. SeqCst: see
        // `Worker::busy`.
        let first = !self.closing.swap(true, Ordering::SeqCst);
        let wakers = std::mem::take(&mut *suspended);
        drop(suspended);
        wakers.wake_all();
        let workers = self.lock_threads().workers.clone();
        for worker in &workers {
            worker.poke();
        }
        // A thread has to destroy the suspended tasks. If all threads are inside of polls, which
        // may take any time, an extra one does. If none can be started, the others do it when they
        // are free.
        let all_busy = workers.iter().all(|worker| worker.is_busy());
        if first && all_busy && !workers.is_empty() {
            let _ = self.start(Kind::Extra);
        }
    }

    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Is it time for the threads to go?
    fn try_end(&self) -> bool {
        if !self.is_closing() {
            return false;
        }
        let threads = self.lock_threads();
        if self.ended.load(Ordering::SeqCst) {
            return true;
        }
        self.ended.store(true, Ordering::SeqCst);
        if !self.native.is_empty() {
            self.ended.store(false, Ordering::SeqCst);
            return false;
        }
        let workers = threads.workers.clone();
        drop(threads);
        for worker in workers {
            worker.poke();
        }
        true
    }

    pub(crate) fn status(&self) -> ExecutorStatus {
        let threads = self.lock_threads();
        let mut status = ExecutorStatus::default();
        status.workers = Some(threads.workers.len());
        status.busy = Some(threads.workers.iter().filter(|w| w.is_busy()).count());
        status
    }

    /// Waits until all threads have ended, or until `deadline`.
    pub(crate) fn wait_ended(&self, deadline: Option<Instant>) -> Status {
        let mut threads = self.lock_threads();
        loop {
            if threads.workers.is_empty() {
                drop(threads);
                self.group.join();
                return Status {
                    busy: 0,
                    threads: 0,
                };
            }
            let left = match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => {
                    return Status {
                        busy: threads.workers.iter().filter(|w| w.is_busy()).count(),
                        threads: threads.workers.len(),
                    };
                }
                Some(left) => left,
                None => Duration::MAX,
            };
            threads = self
                .thread_ended
                .wait_timeout(threads, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Starts a thread that stays.
    pub(crate) fn start_worker(self: &Arc<Self>) -> io::Result<()> {
        self.start(Kind::Worker).map(drop)
    }

    /// Starts a thread that runs tasks until the returned guard is dropped.
    pub(crate) fn stand_in(self: &Arc<Self>) -> io::Result<StandIn> {
        if !self.process.is_this() {
            return Err(io::Error::other(
                "the runtime is that of the parent process",
            ));
        }
        self.start(Kind::Extra).map(StandIn)
    }

    fn start(self: &Arc<Self>, kind: Kind) -> io::Result<Arc<Worker>> {
        let worker = Arc::new(Worker {
            runtime: self.config.runtime,
            busy: AtomicBool::new(false),
            leave: AtomicBool::new(false),
            waker: Mutex::new(None),
        });
        let mut threads = self.lock_threads();
        if self.ended.load(Ordering::SeqCst) {
            return Err(io::Error::other("the runtime is shut down"));
        }
        let name = match kind {
            Kind::Worker => {
                threads.started += 1;
                thread_name(&self.config.thread_name, threads.started - 1)
            }
            Kind::Extra => thread_name(&self.config.thread_name, "extra"),
        };
        threads.workers.push(worker.clone());
        drop(threads);
        // Leaves the list when the thread ends, or at once if there is none.
        let listed = Listed {
            executor: self.clone(),
            worker: worker.clone(),
        };
        let hooks = self.config.hooks.clone();
        let life = move || {
            hooks.started();
            listed.run();
            hooks.stopping();
        };
        self.group.spawn(name, self.config.stack_size, life)?;
        Ok(worker)
    }

    /// Lists a task that is suspended for the first time, unless it is too late
    /// for that.
    fn suspend(&self, waker: &Waker) -> Option<usize> {
        let waker = waker.clone();
        let mut suspended = self.lock_suspended();
        if self.is_closing() {
            return None;
        }
        Some(suspended.insert(waker))
    }

    /// A listed task has ended.
    fn forget(&self, entry: usize) {
        let waker = self.lock_suspended().remove(entry);
        drop(waker);
    }

    fn lock_threads(&self) -> MutexGuard<'_, Threads> {
        // No user code runs under the lock, so that nothing can poison it.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_suspended(&self) -> MutexGuard<'_, Suspended> {
        // As above: the wakers are smol's own.
        self.suspended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = if self.process.is_this() {
            self.lock_threads().workers.len()
        } else {
            0
        };
        f.debug_struct("Executor")
            .field("threads", &threads)
            .field("closing", &self.is_closing())
            .finish_non_exhaustive()
    }
}

/// The wakers of tasks that have been suspended and not ended.
#[derive(Default)]
struct Suspended {
    wakers: Vec<Option<Waker>>,
    /// Empty places in `wakers`.
    free: Vec<usize>,
}

impl Suspended {
    fn insert(&mut self, waker: Waker) -> usize {
        if let Some(entry) = self.free.pop() {
            self.wakers[entry] = Some(waker);
            entry
        } else {
            self.wakers.push(Some(waker));
            self.wakers.len() - 1
        }
    }

    /// `None` if `close` has taken the waker.
    fn remove(&mut self, entry: usize) -> Option<Waker> {
        let waker = self.wakers.get_mut(entry)?.take()?;
        self.free.push(entry);
        Some(waker)
    }

    fn wake_all(self) {
        self.wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

// ---------------------------------------------------------------------------
// Threads

#[derive(Clone, Copy)]
enum Kind {
    Worker,
    Extra,
}

/// One thread.
struct Worker {
    runtime: RuntimeId,
    /// Is it inside of a poll or a destructor of a task? Set before the thread looks at `closing`,
    /// and read after that was set, all SeqCst: so `close` sees each thread that goes on to poll as
    /// busy.
    busy: AtomicBool,
    /// A stand-in's work is done.
    leave: AtomicBool,
    /// Wakes its `UntilEnd`.
    waker: Mutex<Option<Waker>>,
}

impl Worker {
    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst)
    }

    fn lock_waker(&self) -> MutexGuard<'_, Option<Waker>> {
        // No user code runs under the lock, so that nothing can poison it.
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the thread look whether it should end.
    fn poke(&self) {
        let waker = self.lock_waker().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A worker in the list of its executor's threads, until this is dropped.
struct Listed {
    executor: Arc<Executor>,
    worker: Arc<Worker>,
}

impl Listed {
    fn run(self) {
        // Code between the polls, such as wakers of timers, must not block the thread either.
        let _mark = implement::enter(context::Context::Async, Some(self.worker.runtime));
        THREAD.with(|thread| {
            let _ = thread.set(self.worker.clone());
        });
        // Tasks do not panic, nor does the executor. If one does all the same, the panic hook has
        // reported it, and the thread goes on for the other tasks.
        while let Err(payload) = catch_unwind(AssertUnwindSafe(|| {
            let end = UntilEnd {
                executor: &self.executor,
                worker: &self.worker,
            };
            let life = self.executor.native.run(end);
            if smol_is_usable() {
                async_io::block_on(life);
            } else {
                fourway_adapt::run(life);
            }
        })) {
            discard(payload);
        }
        // The local queue of this thread went back to the common one just now. If all is over, no
        // other thread would find its tasks there.
        if self.executor.ended.load(Ordering::SeqCst) {
            self.executor.drain();
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut threads = self.executor.lock_threads();
        threads
            .workers
            .retain(|worker| !Arc::ptr_eq(worker, &self.worker));
        drop(threads);
        self.executor.thread_ended.notify_all();
    }
}

/// Ready when a thread has to go.
struct UntilEnd<'a> {
    executor: &'a Executor,
    worker: &'a Worker,
}

impl Future for UntilEnd<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Before the look, so that a poke after it finds the waker.
        let mut waker = self.worker.lock_waker();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        if self.worker.leave.load(Ordering::SeqCst) || self.executor.try_end() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// A thread that takes the place of a blocked one, until this is dropped.
pub(crate) struct StandIn(Arc<Worker>);

impl Drop for StandIn {
    fn drop(&mut self) {
        self.0.leave.store(true, Ordering::SeqCst);
        self.0.poke();
    }
}

// ---------------------------------------------------------------------------
// Tasks

thread_local! {
    /// The worker that this thread is.
    static THREAD: OnceCell<Arc<Worker>> = const { OnceCell::new() };
}

fn with_worker<T>(runtime: RuntimeId, f: impl FnOnce(&Worker) -> T) -> Option<T> {
    // There is none while the thread's locals are being destroyed.
    THREAD
        .try_with(|thread| thread.get().filter(|w| w.runtime == runtime).map(|w| f(w)))
        .ok()
        .flatten()
}

/// Is this thread one of the runtime's, and inside of a task?
pub(crate) fn on_task(runtime: RuntimeId) -> bool {
    with_worker(runtime, Worker::is_busy) == Some(true)
}

/// Marks the thread as being inside of a task of `runtime`, if it is one of its
/// threads, until the guard is dropped.
#[inline]
fn enter_task(runtime: RuntimeId) -> Option<InTask> {
    with_worker(runtime, |worker| {
        // Busy already: one destructor inside of another. Relaxed: only this
        // thread writes.
        if worker.busy.load(Ordering::Relaxed) {
            return None;
        }
        worker.busy.store(true, Ordering::SeqCst);
        Some(InTask(()))
    })
    .flatten()
}

struct InTask(());

impl Drop for InTask {
    #[inline]
    fn drop(&mut self) {
        let _ = THREAD.try_with(|thread| {
            if let Some(worker) = thread.get() {
                // Release: a thread that sees this one idle sees what the task did.
                worker.busy.store(false, Ordering::Release);
            }
        });
    }
}

pin_project! {
    /// Around the future of each task: ends it when the executor is closed.
    struct Supervised<F> {
        // `None` once it has been destroyed.
        #[pin]
        future: Option<F>,
        executor: Arc<Executor>,
        // Its place among the suspended tasks.
        entry: Option<usize>,
    }

    impl<F> PinnedDrop for Supervised<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                let _in_task = enter_task(this.executor.config.runtime);
                destroy(this.future.as_mut());
            }
            if let Some(entry) = this.entry.take() {
                this.executor.forget(entry);
            }
            if this.executor.is_closing() {
                // It may have been the last task. This thread looks once the executor has taken it
                // off its list.
                with_worker(this.executor.config.runtime, Worker::poke);
            }
        }
    }
}

impl<F, T> Future for Supervised<F>
where
    F: Future<Output = Outcome<T>>,
{
    type Output = Outcome<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<T>> {
        let mut this = self.project();
        let _in_task = enter_task(this.executor.config.runtime);
        if !this.executor.is_closing() {
            let future = this.future.as_mut().as_pin_mut();
            let future = future.expect("a task was polled after it had ended");
            // The result is neither taken apart nor overwritten here. Without optimisation, either
            // makes one more copy on the stack below the future's own, and futures and outputs may
            // be large.
            let poll = future.poll(cx);
            if poll.is_ready() {
                destroy(this.future);
                return poll;
            }
            if this.entry.is_none() {
                *this.entry = this.executor.suspend(cx.waker());
            }
            // Closed meanwhile, it would be woken and come back here at once.
            if !this.executor.is_closing() {
                return Poll::Pending;
            }
        }
        destroy(this.future);
        destroyed()
    }
}

fn destroy<F>(mut future: Pin<&mut Option<F>>) {
    future.set(None);
}

fn destroyed<T>() -> Poll<Outcome<T>> {
    Poll::Ready(Outcome::destroyed())
}

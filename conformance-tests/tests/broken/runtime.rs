//! A small runtime with a place for each bug: [`Broken`].
//!
//! Without a bug ([`Bug::None`]) it keeps the contract; that is checked too. It is
//! written to be read and broken, not to be fast: boxed futures, one queue, a lock
//! for everything.

use std::{
    any::Any,
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use fourway_conformance::Config;
use fourway_core::{
    Abort, AbortHandle, AnyRuntime, BlockOn, BlockOnError, JoinError, Offload, Shutdown,
    ShutdownError, ShutdownReport, Spawner, Task, Timer, TryOffloadError,
    adapt::{
        self, BoxFuture,
        pool::{OffloadTask, Pool, PoolBuilder, StdThreads},
        timer::Timers,
    },
    context::{self, Context as Code, Registration, RuntimeId},
};

use crate::bugs::{self, Bug};

#[derive(Clone)]
pub(crate) struct Broken {
    shared: Arc<Shared>,
}

/// With the last handle it goes, and takes the runtime down.
struct Shared {
    inner: Arc<Inner>,
    pool: Pool,
    timers: Timers,
    registration: Registration,
    owner: bool,
}

struct Inner {
    bug: Bug,
    state: Mutex<State>,
    work: Condvar,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Cell>>,
    tasks: Vec<Weak<Cell>>,
    /// Those that were there when it was closed.
    doomed: Vec<Weak<Cell>>,
    /// For [`Bug::LostTaskKept`].
    kept: Vec<Arc<Cell>>,
    threads: Vec<JoinHandle<()>>,
    workers: usize,
    polling: usize,
    surplus: usize,
    /// Accepts nothing; destroys instead of polling.
    closing: bool,
    /// Workers leave when the queue is empty.
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static ON_WORKER: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

// ---------------------------------------------------------------------------
// Tasks

/// A task without the type of its output, which its future leaves in a `Join`.
struct Cell {
    inner: Arc<Inner>,
    state: Mutex<CellState>,
    aborted: AtomicBool,
    /// Destroys, resolves: called with the reason when the task ends early.
    end: Box<dyn Fn(Option<BoxFuture>, End) + Send + Sync>,
}

struct CellState {
    future: Option<BoxFuture>,
    run: Run,
    /// Wakes that have not been followed by a poll, for [`Bug::NoCoalescing`].
    extra: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    Idle,
    Queued,
    Running,
    Notified,
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Cancelled,
    Shutdown,
}

impl Inner {
    fn is(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    fn push(&self, cell: Arc<Cell>) {
        let mut state = lock(&self.state);
        if state.closed && state.workers == 0 {
            drop(state);
            return cell.destroy();
        }
        state.queue.push_back(cell);
        drop(state);
        self.work.notify_one();
    }

    fn work(self: &Arc<Self>) {
        ON_WORKER.set(true);
        let mut state = lock(&self.state);
        loop {
            if state.surplus > 0 {
                state.surplus -= 1;
                self.work.notify_one();
                break;
            }
            if let Some(cell) = state.queue.pop_front() {
                state.polling += 1;
                let closing = state.closing;
                drop(state);
                let alive = if closing {
                    cell.destroy();
                    true
                } else {
                    cell.run()
                };
                state = lock(&self.state);
                state.polling -= 1;
                if !alive {
                    break;
                }
                continue;
            }
            if state.closed {
                break;
            }
            if self.is(Bug::BusyIdle) {
                drop(state);
                (0..10_000).for_each(|_| std::hint::spin_loop());
                state = lock(&self.state);
            } else {
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.workers -= 1;
        let last = state.workers == 0 && state.closed;
        drop(state);
        if last {
            self.drain();
            self.reap();
        }
        self.ended.notify_all();
    }

    fn drain(&self) {
        loop {
            let cell = lock(&self.state).queue.pop_front();
            match cell {
                Some(cell) => cell.destroy(),
                None => break,
            }
        }
    }

    /// When there are no workers any more: a task that a foreign thread is just
    /// waking is in no queue yet.
    fn reap(&self) {
        let doomed = std::mem::take(&mut lock(&self.state).doomed);
        for task in doomed {
            if let Some(task) = task.upgrade() {
                task.destroy();
            }
        }
    }

    fn close(&self) {
        let tasks = {
            let mut state = lock(&self.state);
            if state.closing {
                return;
            }
            state.closing = true;
            state.kept.clear();
            std::mem::take(&mut state.tasks)
        };
        if !self.is(Bug::JoinHangsAfterShutdown) && !self.is(Bug::ShutdownLeavesFutures) {
            lock(&self.state).doomed.clone_from(&tasks);
            for task in tasks {
                if let Some(task) = task.upgrade() {
                    task.wake();
                }
            }
        } else {
            // Nobody is told, and nothing is dropped.
            for task in tasks {
                std::mem::forget(task.upgrade());
            }
        }
        let workers = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.workers
        };
        self.work.notify_all();
        if workers == 0 {
            self.drain();
        }
    }

    fn start_worker(self: &Arc<Self>) {
        lock(&self.state).workers += 1;
        let inner = self.clone();
        let thread = thread::Builder::new()
            .name(String::from("broken"))
            .spawn(move || inner.work())
            .expect("a thread");
        lock(&self.state).threads.push(thread);
    }
}

impl Cell {
    /// Polls once; `false` if the worker did not survive it.
    fn run(self: Arc<Self>) -> bool {
        let inner = self.inner.clone();
        let mut future = {
            let mut state = lock(&self.state);
            state.run = Run::Running;
            match state.future.take() {
                Some(future) => future,
                None => return true,
            }
        };
        if self.aborted.load(Ordering::SeqCst) && !inner.is(Bug::PolledAfterCancel) {
            lock(&self.state).run = Run::Done;
            (self.end)(Some(future), End::Cancelled);
            return true;
        }
        let waker = Waker::from(self.clone());
        let mut cx = Context::from_waker(&waker);
        let poll = if inner.is(Bug::PanicKillsWorker) {
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)))
        } else {
            Ok(future.as_mut().poll(&mut cx))
        };
        let Ok(poll) = poll else {
            // The worker is gone, and whoever waits is told nothing.
            std::mem::forget(future);
            return false;
        };
        if poll.is_ready() {
            lock(&self.state).run = Run::Done;
            drop(future);
            return true;
        }
        if self.aborted.load(Ordering::SeqCst) {
            lock(&self.state).run = Run::Done;
            (self.end)(Some(future), End::Cancelled);
            return true;
        }
        let again = {
            let mut state = lock(&self.state);
            state.future = Some(future);
            let notified = state.run == Run::Notified && !inner.is(Bug::LostWakeDuringPoll);
            let extra = std::mem::take(&mut state.extra) > 0;
            let again = notified || extra || inner.is(Bug::SpuriousPolls);
            state.run = if again { Run::Queued } else { Run::Idle };
            again
        };
        if again {
            if inner.is(Bug::SpuriousPolls) {
                thread::sleep(Duration::from_millis(1));
            }
            inner.push(self);
        }
        true
    }

    fn destroy(&self) {
        let future = {
            let mut state = lock(&self.state);
            state.run = Run::Done;
            state.future.take()
        };
        let reason = if self.aborted.load(Ordering::SeqCst) {
            End::Cancelled
        } else {
            End::Shutdown
        };
        if future.is_some() {
            (self.end)(future, reason);
        }
    }
}

impl Wake for Cell {
    fn wake(self: Arc<Self>) {
        if self.inner.is(Bug::WakeAfterGonePanics) && lock(&self.inner.state).closed {
            panic!("woken after the runtime is gone");
        }
        let push = {
            let mut state = lock(&self.state);
            match state.run {
                Run::Idle => {
                    state.run = Run::Queued;
                    true
                }
                Run::Running => {
                    state.run = Run::Notified;
                    false
                }
                Run::Queued | Run::Notified => {
                    if self.inner.is(Bug::NoCoalescing) {
                        state.extra += 1;
                    }
                    false
                }
                Run::Done => false,
            }
        };
        if push {
            if self.inner.is(Bug::WakePollsInline) {
                self.run();
            } else {
                self.inner.clone().push(self);
            }
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let future = lock(&self.state).future.take();
        if future.is_some() {
            (self.end)(future, End::Shutdown);
        }
    }
}

/// The joiner's side.
struct Join<T> {
    bug: Bug,
    state: Mutex<JoinState<T>>,
}

struct JoinState<T> {
    result: Option<Result<T, JoinError>>,
    joiner: Option<Waker>,
    finished: bool,
    /// Nobody will take the result.
    abandoned: bool,
}

impl<T> Join<T> {
    fn new(bug: Bug) -> Arc<Self> {
        Arc::new(Self {
            bug,
            state: Mutex::new(JoinState {
                result: None,
                joiner: None,
                finished: false,
                abandoned: false,
            }),
        })
    }

    fn fill(&self, result: Result<T, JoinError>) {
        let mut state = lock(&self.state);
        if state.finished {
            return;
        }
        state.finished = true;
        if state.abandoned {
            drop(state);
            if self.bug == Bug::OutputDropPanicEscapes {
                drop(result);
            } else {
                adapt::discard(result);
            }
            return;
        }
        state.result = Some(result);
        let joiner = if self.bug == Bug::JoinerWakerLeaks {
            state.joiner.clone()
        } else {
            state.joiner.take()
        };
        drop(state);
        if let Some(joiner) = joiner {
            joiner.wake();
        }
    }
}

fn payload_of<T>(bug: Bug, payload: Box<dyn Any + Send>) -> Result<T, JoinError> {
    Err(match bug {
        Bug::PayloadLost => JoinError::panicked(Box::new("the task panicked")),
        Bug::PanicLooksCancelled => JoinError::cancelled(),
        _ => JoinError::panicked(payload),
    })
}

pub(crate) struct BrokenTask<T: Send + 'static> {
    cell: Option<Arc<Cell>>,
    join: Arc<Join<T>>,
    /// For [`Bug::LazySpawn`].
    start: Option<Arc<Inner>>,
    done: bool,
}

impl<T: Send + 'static> Future for BrokenTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let (Some(inner), Some(cell)) = (self.start.take(), &self.cell) {
            inner.push(cell.clone());
        }
        let bug = self.join.bug;
        let join = self.join.clone();
        let waker = cx.waker().clone();
        let mut state = lock(&join.state);
        assert!(!self.done, "polled after it was ready");
        if let Some(result) = state.result.take() {
            drop(state);
            self.done = true;
            if bug == Bug::PanicRethrownAtJoin {
                if let Err(error) = result {
                    if error.is_panic() {
                        error.resume_unwind();
                    }
                    return Poll::Ready(Err(error));
                }
            }
            return Poll::Ready(result);
        }
        let before = if bug != Bug::FirstJoinerWins || state.joiner.is_none() {
            state.joiner.replace(waker)
        } else {
            Some(waker)
        };
        drop(state);
        drop(before);
        Poll::Pending
    }
}

fn abort(cell: &Arc<Cell>) {
    if cell.inner.is(Bug::AbortIgnoredWhileRunning) {
        let run = lock(&cell.state).run;
        if matches!(run, Run::Running | Run::Notified) {
            return;
        }
    }
    cell.aborted.store(true, Ordering::SeqCst);
    cell.clone().wake();
}

impl<T: Send + 'static> Task<T> for BrokenTask<T> {
    fn is_finished(&self) -> bool {
        lock(&self.join.state).finished
    }

    fn abort(&self) {
        let Some(cell) = &self.cell else { return };
        if self.join.bug == Bug::CancelLosesOutput {
            let lost = lock(&self.join.state).result.take();
            if lost.is_some() {
                lock(&self.join.state).result = Some(Err(JoinError::cancelled()));
            }
        }
        abort(cell);
        if self.join.bug == Bug::CancelDoesNotWait {
            self.join.fill(Err(JoinError::cancelled()));
        }
    }

    fn abort_handle(&self) -> AbortHandle {
        struct Handle<T>(Weak<Cell>, Option<Arc<Cell>>, Arc<Join<T>>);
        impl<T: Send + 'static> Abort for Handle<T> {
            fn abort(&self) {
                if lock(&self.2.state).abandoned && self.2.bug == Bug::AbortHandleDiesOnDetach {
                    return;
                }
                if let Some(cell) = self.1.clone().or_else(|| self.0.upgrade()) {
                    abort(&cell);
                }
            }

            fn is_finished(&self) -> bool {
                lock(&self.2.state).finished
            }
        }
        let cell = self.cell.clone();
        let weak = cell.as_ref().map(Arc::downgrade).unwrap_or_default();
        AbortHandle::new(Arc::new(Handle(weak, cell, self.join.clone())))
    }

    fn detach(mut self) {
        self.cell = None;
        let mut state = lock(&self.join.state);
        state.abandoned = true;
        let (result, joiner) = (state.result.take(), state.joiner.take());
        drop(state);
        drop(joiner);
        adapt::discard(result);
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }
}

impl<T: Send + 'static> Drop for BrokenTask<T> {
    fn drop(&mut self) {
        let Some(cell) = self.cell.take() else { return };
        let mut state = lock(&self.join.state);
        state.abandoned = true;
        let (result, joiner) = (state.result.take(), state.joiner.take());
        drop(state);
        drop(joiner);
        match self.join.bug {
            Bug::OutputDropPanicEscapes => drop(result),
            _ => adapt::discard(result),
        }
        match self.join.bug {
            Bug::DetachOnDrop => {}
            // Forgotten if the task has not begun: the flag is looked at only
            // when it is woken, and this does not wake it.
            Bug::CancelLostWhenDropped => cell.aborted.store(true, Ordering::SeqCst),
            _ => abort(&cell),
        }
    }
}

impl Spawner for Broken {
    type Task<T: Send + 'static> = BrokenTask<T>;

    fn spawn<F>(&self, future: F) -> BrokenTask<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let inner = &self.shared.inner;
        let bug = inner.bug;
        let id = Some(self.shared.registration.id());
        let join = Join::new(bug);
        let mut task = BrokenTask {
            cell: None,
            join: join.clone(),
            start: None,
            done: false,
        };
        let end = {
            let join = join.clone();
            move |future: Option<BoxFuture>, reason: End| {
                let mark = (bug != Bug::NoMarkInDrop).then(|| context::enter(Code::Async, id));
                let destroyed = match bug {
                    Bug::DestroyUnderLock => {
                        let _state = lock(&join.state);
                        catch_unwind(AssertUnwindSafe(|| drop(future)))
                    }
                    Bug::DestructorPanicAborts => {
                        if catch_unwind(AssertUnwindSafe(|| drop(future))).is_err() {
                            std::process::abort();
                        }
                        Ok(())
                    }
                    _ => catch_unwind(AssertUnwindSafe(|| drop(future))),
                };
                drop(mark);
                let reason = match (reason, bug) {
                    (End::Shutdown, Bug::ShutdownLooksCancelled) => JoinError::cancelled(),
                    (End::Shutdown, _) => JoinError::shutdown(),
                    (End::Cancelled, Bug::CancelledLooksShutDown) => JoinError::shutdown(),
                    (End::Cancelled, _) => JoinError::cancelled(),
                };
                join.fill(match destroyed {
                    Err(_) if bug == Bug::DestructorPanicLost => Err(reason),
                    Err(payload) => payload_of(bug, payload),
                    Ok(()) => Err(reason),
                });
            }
        };
        if lock(&inner.state).closing {
            match bug {
                Bug::SpawnAfterShutdownPanics => panic!("the runtime is shut down"),
                Bug::SpawnAfterShutdownHangs => drop(future),
                Bug::SpawnAfterShutdownLeaks => {
                    std::mem::forget(future);
                    join.fill(Err(JoinError::shutdown()));
                }
                _ => end(
                    Some(Box::pin(async move { drop(future.await) })),
                    End::Shutdown,
                ),
            }
            return task;
        }
        let runner: BoxFuture = Box::pin(Runner {
            future: Some(Box::pin(future)),
            join,
            bug,
            id,
        });
        let cell = Arc::new(Cell {
            inner: inner.clone(),
            state: Mutex::new(CellState {
                future: Some(runner),
                run: Run::Queued,
                extra: 0,
            }),
            aborted: AtomicBool::new(false),
            end: Box::new(end),
        });
        {
            let mut state = lock(&inner.state);
            state.tasks.retain(|task| task.strong_count() > 0);
            state.tasks.push(Arc::downgrade(&cell));
            if bug == Bug::LostTaskKept {
                state.kept.push(cell.clone());
            }
        }
        task.cell = Some(cell.clone());
        match bug {
            Bug::PollsInlineAtSpawn => {
                cell.run();
            }
            Bug::LazySpawn => task.start = Some(inner.clone()),
            _ => inner.push(cell),
        }
        task
    }
}

/// Polls the user's future, and leaves the result in the `Join`.
struct Runner<F: Future> {
    future: Option<Pin<Box<F>>>,
    join: Arc<Join<F::Output>>,
    bug: Bug,
    id: Option<context::RuntimeId>,
}

impl<F: Future> Future for Runner<F>
where
    F::Output: Send + 'static,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let bug = self.bug;
        let _mark = match bug {
            Bug::NoMarkInTask => None,
            _ => Some(context::enter(Code::Async, self.id)),
        };
        let Some(future) = self.future.as_mut() else {
            return Poll::Ready(());
        };
        let polled = if bug == Bug::PanicKillsWorker {
            Ok(future.as_mut().poll(cx))
        } else {
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)))
        };
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => {
                if bug == Bug::HookRunsTwice {
                    let text = JoinError::panicked(payload);
                    let again = catch_unwind(AssertUnwindSafe(|| panic!("{text}")));
                    return self.ready(payload_of(bug, again.unwrap_err()));
                }
                return self.ready(payload_of(bug, payload));
            }
        };
        match result {
            Ok(output) if bug == Bug::JoinBeforeDestroy => {
                self.join.fill(Ok(output));
                thread::sleep(Duration::from_millis(20));
                self.future = None;
                Poll::Ready(())
            }
            result => self.ready(result),
        }
    }
}

impl<F: Future> Runner<F> {
    fn ready(&mut self, result: Result<F::Output, JoinError>) -> Poll<()> {
        let destroyed = catch_unwind(AssertUnwindSafe(|| self.future = None));
        self.join.fill(match (result, destroyed) {
            (result, Ok(())) => result,
            (Ok(output), Err(payload)) => {
                adapt::discard(output);
                payload_of(self.bug, payload)
            }
            (Err(first), Err(second)) => {
                adapt::discard(second);
                Err(first)
            }
        });
        Poll::Ready(())
    }
}

// ---------------------------------------------------------------------------
// Blocking

impl BlockOn for Broken {
    fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let id = Some(self.shared.registration.id());
        let bug = self.shared.inner.bug;
        match bug {
            Bug::NestedRuns | Bug::NestedHangs | Bug::NestedPanics
                if context::current() == Code::Async =>
            {
                match bug {
                    Bug::NestedHangs => loop {
                        thread::park();
                    },
                    Bug::NestedPanics => panic!("cannot start a runtime from within a runtime"),
                    _ => return Ok(drive(future)),
                }
            }
            Bug::NestedPolls => {
                let nested = context::current() == Code::Async;
                let mut future = std::pin::pin!(future);
                let mut cx = Context::from_waker(Waker::noop());
                if nested {
                    let _ = future.as_mut().poll(&mut cx);
                    return Err(BlockOnError::nested());
                }
                return adapt::block_on(future, id);
            }
            Bug::ContextCached => {
                // Asked once for the whole process, as if it never changed.
                static FIRST: std::sync::OnceLock<Code> = std::sync::OnceLock::new();
                if *FIRST.get_or_init(context::current) == Code::Async {
                    return Err(BlockOnError::nested());
                }
                return Ok(drive(future));
            }
            Bug::RefusesInClosure if context::current() == Code::Blocking => {
                return Err(BlockOnError::nested());
            }
            Bug::EatenToken => {
                context::check_may_block()?;
                let _mark = context::enter(Code::Async, id);
                return Ok(drive_by_token(future));
            }
            Bug::OneBlockerAtATime => {
                static ONE: Mutex<()> = Mutex::new(());
                context::check_may_block()?;
                let _one = lock(&ONE);
                return adapt::block_on(future, id);
            }
            Bug::NestedOffloadStarves => {
                // Marks, but does not lend the slot.
                context::check_may_block()?;
                return Ok(drive(Marked {
                    future: Box::pin(future),
                    id,
                }));
            }
            Bug::NoMarkInBlockOn => {
                context::check_may_block()?;
                return Ok(drive(future));
            }
            Bug::MarkLeftAfterPanic => {
                context::check_may_block()?;
                return match catch_unwind(AssertUnwindSafe(|| adapt::block_on(future, id))) {
                    Ok(result) => result,
                    Err(payload) => {
                        std::mem::forget(context::enter(Code::Async, id));
                        std::panic::resume_unwind(payload)
                    }
                };
            }
            Bug::BlockOnPanicSwallowed => {
                context::check_may_block()?;
                let driven = catch_unwind(AssertUnwindSafe(|| adapt::block_on(future, id)));
                return driven.unwrap_or_else(|_| {
                    loop {
                        thread::park();
                    }
                });
            }
            _ => {}
        }
        adapt::block_on(future, id)
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        let id = self.shared.registration.id();
        if context::current() != Code::Async {
            return Ok(f());
        }
        if context::runtime_id() != Some(id) {
            return Err(BlockOnError::unsupported());
        }
        let inner = &self.shared.inner;
        let stand_in = ON_WORKER.get() && !inner.is(Bug::BlockInPlaceStalls);
        if stand_in {
            inner.start_worker();
        }
        let result = {
            let _mark = (!inner.is(Bug::BlockInPlaceUnmarked))
                .then(|| context::enter(Code::Blocking, Some(id)));
            catch_unwind(AssertUnwindSafe(f))
        };
        if stand_in {
            lock(&inner.state).surplus += 1;
            inner.work.notify_one();
        }
        match result {
            Ok(value) => Ok(value),
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }
}

struct Marked<F> {
    future: Pin<Box<F>>,
    id: Option<context::RuntimeId>,
}

impl<F: Future> Future for Marked<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _mark = context::enter(Code::Async, self.id);
        self.future.as_mut().poll(cx)
    }
}

/// Drives a future without telling anyone.
fn drive<F: Future>(future: F) -> F::Output {
    adapt::run(future)
}

/// Trusts the thread's park token.
fn drive_by_token<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        thread::park();
    }
}

// ---------------------------------------------------------------------------
// Offloading

/// The pool's handle, or the bug's.
pub(crate) struct BrokenOffload<T: Send + 'static> {
    task: Option<OffloadTask<T>>,
    bug: Bug,
    /// For bugs that hand out a result of their own.
    own: Option<Arc<Join<T>>>,
}

impl<T: Send + 'static> Future for BrokenOffload<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(join) = &self.own {
            let mut state = lock(&join.state);
            if let Some(result) = state.result.take() {
                return Poll::Ready(result);
            }
            state.joiner = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bug = self.bug;
        let task = self.task.as_mut().expect("present until detached");
        Pin::new(task).poll(cx).map(|result| match result {
            Err(error) if error.is_panic() && bug == Bug::OffloadPayloadLost => {
                payload_of(Bug::PayloadLost, error.into_panic())
            }
            result => result,
        })
    }
}

impl<T: Send + 'static> Task<T> for BrokenOffload<T> {
    fn is_finished(&self) -> bool {
        match (&self.own, &self.task) {
            (Some(join), _) => lock(&join.state).finished,
            (None, Some(task)) => task.is_finished(),
            (None, None) => true,
        }
    }

    fn abort(&self) {
        if let (Some(task), false) = (&self.task, self.bug == Bug::OffloadCancelIgnored) {
            task.abort();
        }
    }

    fn abort_handle(&self) -> AbortHandle {
        struct Nothing;
        impl Abort for Nothing {
            fn abort(&self) {}
            fn is_finished(&self) -> bool {
                false
            }
        }
        match &self.task {
            Some(task) => task.abort_handle(),
            None => AbortHandle::new(Arc::new(Nothing)),
        }
    }

    fn detach(mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }
}

impl<T: Send + 'static> Drop for BrokenOffload<T> {
    fn drop(&mut self) {
        if let (Some(task), Bug::RunsDroppedClosures) = (self.task.take(), self.bug) {
            task.detach();
        }
    }
}

impl<T: Send + 'static> BrokenOffload<T> {
    fn of(task: OffloadTask<T>, bug: Bug) -> Self {
        Self {
            task: Some(task),
            bug,
            own: None,
        }
    }
}

type Closure = Box<dyn FnOnce() + Send>;

/// A closure for whoever runs it, and a handle on its result.
fn by_hand<F, T>(f: F, bug: Bug, id: Option<RuntimeId>) -> (Closure, BrokenOffload<T>)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let join = Join::new(bug);
    let filled = join.clone();
    let run = move || {
        let _mark = context::enter(Code::Blocking, id);
        let result = catch_unwind(AssertUnwindSafe(f));
        filled.fill(result.map_err(JoinError::panicked));
    };
    let task = BrokenOffload {
        task: None,
        bug,
        own: Some(join),
    };
    (Box::new(run), task)
}

impl Offload for Broken {
    type OffloadTask<T: Send + 'static> = BrokenOffload<T>;

    fn offload<F, T>(&self, f: F) -> BrokenOffload<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let bug = self.shared.inner.bug;
        let id = Some(self.shared.registration.id());
        match bug {
            // Every closure a thread of its own.
            Bug::ThreadPerClosure => {
                let (run, task) = by_hand(f, bug, id);
                thread::spawn(run);
                task
            }
            // On the threads that poll tasks.
            Bug::OffloadOnWorker => {
                let (run, task) = by_hand(f, bug, id);
                let mut run = Some(run);
                let future = std::future::poll_fn(move |_| {
                    if let Some(run) = run.take() {
                        run();
                    }
                    Poll::Ready(())
                });
                self.spawn(future).detach();
                task
            }
            // At once, on the caller's thread.
            Bug::OffloadInline => {
                let (run, task) = by_hand(f, bug, id);
                run();
                task
            }
            Bug::NewestClosureFirst => {
                static STACK: Mutex<Vec<Closure>> = Mutex::new(Vec::new());
                let (run, task) = by_hand(f, bug, id);
                lock(&STACK).push(run);
                let newest = || {
                    let run = lock(&STACK).pop();
                    if let Some(run) = run {
                        run();
                    }
                };
                self.shared.pool.offload(newest).detach();
                task
            }
            Bug::UnmarkedClosure => {
                let task = self.shared.pool.offload(move || {
                    let _mark = context::enter(Code::Sync, None);
                    f()
                });
                BrokenOffload::of(task, bug)
            }
            _ => BrokenOffload::of(self.shared.pool.offload(f), bug),
        }
    }

    fn try_offload<F, T>(&self, f: F) -> Result<BrokenOffload<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let bug = self.shared.inner.bug;
        if bug == Bug::QueueNeverFull {
            return Ok(self.offload(f));
        }
        let task = self.shared.pool.try_offload(f)?;
        Ok(BrokenOffload::of(task, bug))
    }
}

// ---------------------------------------------------------------------------
// Time

pub(crate) struct BrokenSleep {
    sleep: adapt::timer::Sleep,
    bug: Bug,
    polls: usize,
    leaked: Option<Waker>,
}

impl Future for BrokenSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.polls += 1;
        if self.polls == 1 {
            match self.bug {
                Bug::DueTimerPends => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Bug::SleepWakerLeaks => self.leaked = Some(cx.waker().clone()),
                _ => {}
            }
        }
        Pin::new(&mut self.sleep).poll(cx)
    }
}

impl Drop for BrokenSleep {
    fn drop(&mut self) {
        std::mem::forget(self.leaked.take());
    }
}

impl Timer for Broken {
    type Sleep = BrokenSleep;

    fn sleep(&self, duration: Duration) -> BrokenSleep {
        let bug = self.shared.inner.bug;
        let timers = &self.shared.timers;
        let sleep = match bug {
            Bug::TimerEarly => timers.sleep(duration.saturating_sub(Duration::from_millis(3))),
            Bug::HugeDurationPanics => timers.sleep_until(Instant::now() + duration),
            Bug::TimersCoarse => {
                // As if the wait for the first timer could not be cut short.
                static LAST: Mutex<Option<Instant>> = Mutex::new(None);
                let mut last = lock(&LAST);
                let wanted = Instant::now().checked_add(duration);
                *last = last.max(wanted);
                match *last {
                    Some(at) => timers.sleep_until(at),
                    None => timers.sleep(duration),
                }
            }
            _ => timers.sleep(duration),
        };
        BrokenSleep {
            sleep,
            bug,
            polls: 0,
            leaked: None,
        }
    }
}

// ---------------------------------------------------------------------------
// Life and end

impl Broken {
    pub(crate) fn build(config: &Config) -> Self {
        let bug = bugs::bug();
        let inner = Arc::new(Inner {
            bug,
            state: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
        });
        let home: Arc<std::sync::OnceLock<Weak<Shared>>> = Arc::default();
        let registration = context::register({
            let home = home.clone();
            move || {
                let shared = home.get()?.upgrade()?;
                Some(AnyRuntime::new(Self { shared }))
            }
        });
        let limit = match bug {
            Bug::LimitIgnored => config.offload_limit + 1,
            _ => config.offload_limit,
        };
        let pool = PoolBuilder::default()
            .limit(limit)
            .queue_bound(config.offload_queue)
            .keep_alive(config.keep_alive)
            .runtime(Some(registration.id()))
            .build(StdThreads::new("broken-offload"))
            .expect("a valid config");
        for _ in 0..config.workers {
            inner.start_worker();
        }
        let shared = Arc::new(Shared {
            inner,
            pool,
            timers: Timers::new("broken-timer"),
            registration,
            owner: true,
        });
        let _ = home.set(Arc::downgrade(&shared));
        Self { shared }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.owner {
            return;
        }
        match self.inner.bug {
            Bug::DropInAsyncPanics if context::current() == Code::Async => {
                self.inner.close();
                if !thread::panicking() {
                    panic!("cannot drop a runtime in a context where blocking is not allowed");
                }
            }
            Bug::DropWaits => {
                self.inner.close();
                let mut state = lock(&self.inner.state);
                while state.workers > 0 {
                    state = self
                        .inner
                        .ended
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
            Bug::NeverEnds => {}
            _ => self.inner.close(),
        }
    }
}

impl Shutdown for Broken {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        let inner = &self.shared.inner;
        if !inner.is(Bug::ShutdownInAsync) {
            context::check_may_block().map_err(|_| ShutdownError::in_async())?;
        }
        let deadline = Instant::now().checked_add(timeout);
        if !inner.is(Bug::QueuedClosuresRunAtShutdown) {
            self.shared.pool.close();
        }
        inner.close();
        self.shared.timers.close();
        if !inner.is(Bug::ShutdownLeavesFutures) && !inner.is(Bug::JoinHangsAfterShutdown) {
            inner.drain();
        }
        let mut report = ShutdownReport::default();
        if inner.is(Bug::ReportAlwaysClean) {
            return Ok(report);
        }
        let mut state = lock(&inner.state);
        while state.workers > 0 {
            let left = deadline.map_or(Duration::MAX, |at| {
                at.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                break;
            }
            state = inner
                .ended
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        report.tasks_running = state.polling;
        report.threads_running = state.workers;
        let threads = if state.workers == 0 {
            std::mem::take(&mut state.threads)
        } else {
            Vec::new()
        };
        drop(state);
        for thread in threads {
            let _ = thread.join();
        }
        if report.threads_running == 0 {
            inner.reap();
        }
        let pool = self.shared.pool.wait_ended(deadline);
        if inner.is(Bug::QueuedClosuresRunAtShutdown) {
            self.shared.pool.close();
        }
        self.shared.timers.join();
        report.closures_running = pool.running + pool.lent;
        report.closures_dropped = pool.dropped;
        report.threads_running += pool.threads;
        Ok(report)
    }
}

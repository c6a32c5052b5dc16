//! A small runtime with a place for each bug: [`Broken`].
//!
//! Without a bug ([`Bug::None`]) it keeps the contract; that is checked too. It is
//! written to be read and broken, not to be fast: boxed futures, one queue, a lock
//! for everything.

use std::{
    any::Any,
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind},
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, JoinHandle, ThreadId},
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
    values::Values,
};

use crate::{
    bugs::{self, Bug},
    odd::{self, Odd},
};

pub(crate) struct Broken {
    shared: Arc<Shared>,
    /// For [`Bug::FirstHandleOwns`].
    first: bool,
}

impl Clone for Broken {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            first: false,
        }
    }
}

/// With the last handle it goes, and takes the runtime down.
struct Shared {
    inner: Arc<Inner>,
    pool: Pool,
    timers: Timers,
    registration: Registration,
    builder: ThreadId,
    keep_alive: Duration,
}

struct Inner {
    bug: Bug,
    state: Mutex<State>,
    work: Condvar,
    ended: Condvar,
    /// For [`Bug::OneWakerForAll`].
    all: OnceLock<Waker>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Cell>>,
    tasks: Vec<Weak<Cell>>,
    /// Those that were there when it was closed.
    doomed: Vec<Weak<Cell>>,
    /// For [`Bug::LostTaskKept`] and [`Bug::OneWakerForAll`].
    kept: Vec<Arc<Cell>>,
    threads: Vec<JoinHandle<()>>,
    workers: usize,
    polling: usize,
    surplus: usize,
    /// Threads in `block_on`, for [`Bug::CallerDriven`].
    blockers: usize,
    /// Pushes from outside, for [`Bug::NotifyLost`].
    pushes: usize,
    shut: bool,
    /// Accepts nothing; destroys instead of polling.
    closing: bool,
    /// Workers leave when the queue is empty.
    closed: bool,
}

impl State {
    fn pop(&mut self) -> Option<Arc<Cell>> {
        if odd::is(Odd::RandomOrder) {
            return self.queue.remove(odd::pick(self.queue.len()));
        }
        self.queue.pop_front()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static ON_WORKER: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// For [`Bug::LifoSlot`].
    static SLOT: RefCell<Option<Arc<Cell>>> = const { RefCell::new(None) };
    /// For [`Bug::PanicReachesWaker`].
    static INLINE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// For [`Bug::NeedsThreadLocal`]: has a destructor.
    static LOCAL: Box<u8> = Box::new(0);
    /// For [`Bug::TaskDiesWithThread`].
    static ALIVE: Alive = Alive(Arc::new(AtomicBool::new(true)));
}

struct Alive(Arc<AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// What is done on entering the runtime, from wherever.
fn enter(bug: Bug) {
    match bug {
        Bug::NeedsThreadLocal => LOCAL.with(|_| ()),
        Bug::PanicsWhileUnwinding => assert!(!thread::panicking(), "the lock is poisoned"),
        _ => {}
    }
}

/// For [`Bug::RootStarvesTasks`]: roots that are not parked.
static ROOTS: AtomicUsize = AtomicUsize::new(0);
/// For [`Bug::WakesUnderLock`].
static SPAWNING: Mutex<()> = Mutex::new(());
/// For [`Bug::SpawnNeedsPollLock`].
static POLLING: Mutex<()> = Mutex::new(());

// ---------------------------------------------------------------------------
// Tasks

/// A task without the type of its output, which its future leaves in a `Join`.
struct Cell {
    inner: Arc<Inner>,
    state: Mutex<CellState>,
    aborted: Arc<AtomicBool>,
    polls: AtomicUsize,
    /// Threads that are just waking it, for [`Bug::WakersCollide`].
    waking: AtomicUsize,
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
        let inside = ON_WORKER.get();
        if inside && self.is(Bug::LifoSlot) {
            match SLOT.with(|slot| slot.replace(Some(cell))) {
                Some(before) => state.queue.push_back(before),
                None => return,
            }
        } else if inside && self.is(Bug::NewestTaskFirst) {
            state.queue.push_front(cell);
        } else {
            state.queue.push_back(cell);
        }
        if !inside && self.is(Bug::NotifyLost) {
            state.pushes += 1;
            if state.pushes % 50 == 0 {
                return;
            }
        }
        drop(state);
        self.work.notify_one();
    }

    fn work(self: &Arc<Self>) {
        ON_WORKER.set(true);
        let mut polls = 0;
        let mut state = lock(&self.state);
        loop {
            if state.surplus > 0 {
                state.surplus -= 1;
                self.work.notify_one();
                break;
            }
            let driven = !self.is(Bug::CallerDriven) || state.blockers > 0 || state.closing;
            let starved = self.is(Bug::RootStarvesTasks) && ROOTS.load(Ordering::SeqCst) > 0;
            let driven = driven && !starved;
            let own = SLOT.with(RefCell::take);
            let next = own.or_else(|| driven.then(|| state.pop()).flatten());
            if let Some(cell) = next {
                state.polling += 1;
                let closing = state.closing && !self.is(Bug::FinishesQueueAtShutdown);
                drop(state);
                let mut alive = if closing {
                    cell.destroy();
                    true
                } else {
                    let _one = self.is(Bug::SpawnNeedsPollLock).then(|| lock(&POLLING));
                    if cell.polls.load(Ordering::SeqCst) % 16 == 0 {
                        odd::dawdle();
                    }
                    cell.run()
                };
                enter(self.bug);
                polls += 1;
                if polls == 50 && odd::is(Odd::RestlessWorkers) {
                    self.start_worker();
                    alive = false;
                }
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
            if self.is(Bug::RootStarvesTasks) {
                drop(state);
                thread::sleep(Duration::from_millis(1));
                state = lock(&self.state);
            } else if self.is(Bug::BusyIdle) {
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
        self.leave(state);
    }

    /// One thread that polls or destroys is no more.
    fn leave(&self, mut state: MutexGuard<'_, State>) {
        state.workers -= 1;
        let last = state.workers == 0 && state.closed;
        drop(state);
        if last {
            self.drain();
            if !self.is(Bug::ReapedOnlyByShutdown) {
                self.reap();
            }
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
            let later = matches!(
                self.bug,
                Bug::ShutdownWaitsForPolls | Bug::ReapedOnlyByShutdown
            );
            for task in tasks.into_iter().filter(|_| !later) {
                if let Some(task) = task.upgrade() {
                    task.notify();
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

    /// For [`Odd::DestroysElsewhere`]: on a thread that a shutdown waits for. Not any
    /// more if that has begun.
    fn destroy_elsewhere(self: &Arc<Self>, cell: &Arc<Cell>) -> bool {
        {
            let mut state = lock(&self.state);
            if state.closing {
                return false;
            }
            state.workers += 1;
        }
        let future = {
            let mut state = lock(&cell.state);
            let idle = state.run == Run::Idle;
            idle.then(|| {
                state.run = Run::Done;
                state.future.take()
            })
        };
        let Some(future) = future else {
            self.leave(lock(&self.state));
            return false;
        };
        let (inner, cell) = (self.clone(), cell.clone());
        let thread = thread::spawn(move || {
            (cell.end)(future, End::Cancelled);
            drop(cell);
            inner.leave(lock(&inner.state));
        });
        lock(&self.state).threads.push(thread);
        true
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
            self.finish(future, End::Cancelled);
            return true;
        }
        let polls = self.polls.fetch_add(1, Ordering::SeqCst) + 1;
        let waker = match inner.bug {
            Bug::StaleWakerIgnored => Waker::from(Arc::new(OfOnePoll(self.clone(), polls))),
            Bug::OneWakerForAll => {
                let new = || Waker::from(Arc::new(OfAll(Arc::downgrade(&inner))));
                inner.all.get_or_init(new).clone()
            }
            _ if odd::is(Odd::FreshWakers) => {
                Waker::from(Arc::new(OfOnePoll(self.clone(), usize::MAX)))
            }
            _ => Waker::from(self.clone()),
        };
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
            let mut state = lock(&self.state);
            state.run = Run::Done;
            if inner.is(Bug::FutureKeptByWaker) {
                state.future = Some(future);
            } else {
                drop(state);
                drop(future);
            }
            return true;
        }
        if self.aborted.load(Ordering::SeqCst) {
            lock(&self.state).run = Run::Done;
            self.finish(future, End::Cancelled);
            return true;
        }
        let again = {
            let mut state = lock(&self.state);
            state.future = Some(future);
            let notified = state.run == Run::Notified && !inner.is(Bug::LostWakeDuringPoll);
            let extra = std::mem::take(&mut state.extra) > 0;
            let again = notified || extra || inner.is(Bug::SpuriousPolls);
            let again = again && !self.is_spent();
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
        if let Some(future) = future {
            self.finish(future, reason);
        }
    }

    /// Has its future destroyed, under whatever locks the bug says.
    fn finish(&self, future: BoxFuture, reason: End) {
        let inner = &self.inner;
        let _task = inner
            .is(Bug::DestroyUnderTaskLock)
            .then(|| lock(&self.state));
        let _runtime = inner
            .is(Bug::DestroyUnderRuntimeLock)
            .then(|| lock(&inner.state));
        match inner.bug {
            Bug::FutureKeptByWaker => {
                (self.end)(None, reason);
                lock(&self.state).future = Some(future);
            }
            Bug::CancelledForgotten if reason == End::Cancelled => {
                std::mem::forget(future);
                (self.end)(None, reason);
            }
            _ => (self.end)(Some(future), reason),
        }
    }

    /// For [`Bug::BudgetRunsOut`].
    fn is_spent(&self) -> bool {
        let many = self.polls.load(Ordering::SeqCst) >= 1000;
        many && self.inner.is(Bug::BudgetRunsOut) && !self.aborted.load(Ordering::SeqCst)
    }

    /// A wake by the runtime itself.
    fn notify(self: Arc<Self>) {
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
        if push && !self.is_spent() {
            match self.inner.bug {
                Bug::WakePollsInline => {
                    self.run();
                }
                Bug::PanicReachesWaker => {
                    let before = INLINE.replace(true);
                    self.run();
                    INLINE.set(before);
                }
                _ => self.inner.clone().push(self),
            }
        }
    }
}

impl Wake for Cell {
    fn wake(self: Arc<Self>) {
        enter(self.inner.bug);
        match self.inner.bug {
            Bug::WakeAfterGonePanics if lock(&self.inner.state).closed => {
                panic!("woken after the runtime is gone")
            }
            Bug::WakeAfterEndPanics if lock(&self.state).run == Run::Done => {
                panic!("woken after the end")
            }
            Bug::WakersCollide => {
                let others = self.waking.fetch_add(1, Ordering::SeqCst);
                (0..3).for_each(|_| thread::yield_now());
                self.waking.fetch_sub(1, Ordering::SeqCst);
                let mut state = lock(&self.state);
                if others > 0 && state.run == Run::Idle {
                    // Each leaves it to the other.
                    state.run = Run::Queued;
                    return;
                }
            }
            _ => {}
        }
        self.notify();
    }
}

/// For [`Bug::StaleWakerIgnored`]: good until the next poll. And for
/// [`Odd::FreshWakers`]: good for ever.
struct OfOnePoll(Arc<Cell>, usize);

impl Wake for OfOnePoll {
    fn wake(self: Arc<Self>) {
        if self.1 == usize::MAX || self.0.polls.load(Ordering::SeqCst) == self.1 {
            self.0.clone().wake();
        }
    }
}

/// For [`Bug::OneWakerForAll`].
struct OfAll(Weak<Inner>);

impl Wake for OfAll {
    fn wake(self: Arc<Self>) {
        let Some(inner) = self.0.upgrade() else {
            return;
        };
        let tasks = lock(&inner.state).tasks.clone();
        for task in tasks {
            if let Some(task) = task.upgrade() {
                task.wake();
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
            self.discard(Some(result));
            return;
        }
        state.result = Some(result);
        let joiner = if self.bug == Bug::JoinerWakerLeaks {
            state.joiner.clone()
        } else {
            state.joiner.take()
        };
        if self.bug == Bug::WakesUnderLock {
            let _spawning = lock(&SPAWNING);
            if let Some(joiner) = joiner {
                joiner.wake();
            }
            return;
        }
        drop(state);
        if let Some(joiner) = joiner {
            joiner.wake();
        }
    }

    /// What becomes of a result that nobody takes.
    fn discard(&self, result: Option<Result<T, JoinError>>) {
        match self.bug {
            Bug::OutputDropPanicEscapes => drop(result),
            Bug::OutputForgotten => std::mem::forget(result),
            _ => adapt::discard(result),
        }
    }

    /// Nobody will take the result.
    fn abandon(&self) {
        let mut state = lock(&self.state);
        state.abandoned = true;
        let (result, joiner) = (state.result.take(), state.joiner.take());
        drop(state);
        drop(joiner);
        self.discard(result);
    }
}

fn payload_of<T>(bug: Bug, payload: Box<dyn Any + Send>) -> Result<T, JoinError> {
    Err(match bug {
        Bug::PayloadLost => JoinError::panicked(Box::new("the task panicked")),
        Bug::PanicLooksCancelled => JoinError::cancelled(),
        Bug::HookToldTwice => {
            let payload = match payload.downcast::<String>() {
                Ok(text) => catch_unwind(|| panic_any(*text)).expect_err("it panics"),
                Err(payload) => payload,
            };
            JoinError::panicked(payload)
        }
        _ => JoinError::panicked(payload),
    })
}

pub(crate) struct BrokenTask<T: Send + 'static> {
    cell: Option<Arc<Cell>>,
    join: Arc<Join<T>>,
    /// For [`Bug::LazySpawn`].
    start: Option<Arc<Inner>>,
    /// For [`Bug::HandleDoesNotKeep`], in place of `cell`.
    weak: Weak<Cell>,
    id: RuntimeId,
    polled: bool,
    done: bool,
}

impl<T: Send + 'static> BrokenTask<T> {
    fn cell(&self) -> Option<Arc<Cell>> {
        self.cell.clone().or_else(|| self.weak.upgrade())
    }

    /// For [`Bug::DestroyUnderRuntimeLock`]: looks need the same lock.
    fn look(&self) {
        if let (Some(cell), Bug::DestroyUnderRuntimeLock) = (&self.cell, self.join.bug) {
            drop(lock(&cell.inner.state));
        }
    }
}

impl<T: Send + 'static> Future for BrokenTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let (Some(inner), Some(cell)) = (self.start.take(), &self.cell) {
            inner.push(cell.clone());
        }
        let bug = self.join.bug;
        let join = self.join.clone();
        self.look();
        if bug == Bug::HandleBoundToExecutor {
            let foreign = context::runtime_id() != Some(self.id);
            let wrong = context::current() == Code::Async && foreign;
            assert!(!wrong, "polled on another executor");
        }
        if !std::mem::replace(&mut self.polled, true) && bug == Bug::JoinPendsOnce {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let waker = cx.waker().clone();
        let mut state = lock(&join.state);
        if self.done && bug == Bug::PolledAgainPends {
            return Poll::Pending;
        }
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
        if bug == Bug::JoinLosesRace && state.joiner.is_some() {
            // The old one out, the new one in, and no look in between.
            let before = state.joiner.take();
            drop(state);
            drop(before);
            thread::sleep(Duration::from_micros(200));
            lock(&join.state).joiner = Some(waker);
            return Poll::Pending;
        }
        let before = if bug != Bug::FirstJoinerWins || state.joiner.is_none() {
            state.joiner.replace(waker)
        } else {
            Some(waker)
        };
        if bug == Bug::WakesUnderLock {
            drop(before);
            return Poll::Pending;
        }
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
    enter(cell.inner.bug);
    let before = cell.aborted.swap(true, Ordering::SeqCst);
    match cell.inner.bug {
        Bug::AbortTwicePanics => assert!(!before, "aborted twice"),
        Bug::CancelWaitsForWake => return,
        Bug::AbortDestroysInline => {
            // Suspended it is, or soon will be, if this is not its own poll.
            for _ in 0..200 {
                if lock(&cell.state).run != Run::Running {
                    break;
                }
                thread::sleep(Duration::from_micros(100));
            }
            let mut state = lock(&cell.state);
            if state.run == Run::Idle {
                state.run = Run::Done;
                let future = state.future.take();
                drop(state);
                return (cell.end)(future, End::Cancelled);
            }
        }
        _ => {}
    }
    if odd::is(Odd::DestroysElsewhere) && cell.inner.destroy_elsewhere(cell) {
        return;
    }
    cell.clone().notify();
}

impl<T: Send + 'static> Task<T> for BrokenTask<T> {
    fn is_finished(&self) -> bool {
        self.look();
        lock(&self.join.state).finished
    }

    fn abort(&self) {
        let Some(cell) = &self.cell() else { return };
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
        impl<T> Drop for Handle<T> {
            fn drop(&mut self) {
                if let (Some(cell), Bug::AbortHandleCancels) = (&self.1, self.2.bug) {
                    abort(cell);
                }
            }
        }
        let cell = self.cell.clone();
        let weak = cell.as_ref().map(Arc::downgrade);
        let weak = weak.unwrap_or_else(|| self.weak.clone());
        AbortHandle::new(Arc::new(Handle(weak, cell, self.join.clone())))
    }

    fn detach(mut self) {
        if let (Some(cell), Bug::DetachCancels) = (&self.cell, self.join.bug) {
            abort(cell);
        }
        self.cell = None;
        self.weak = Weak::new();
        self.join.abandon();
    }

    fn detach_boxed(self: Box<Self>) {
        if self.join.bug == Bug::BoxedDetachCancels {
            return;
        }
        (*self).detach();
    }
}

impl<T: Send + 'static> Drop for BrokenTask<T> {
    fn drop(&mut self) {
        let Some(cell) = self.cell() else { return };
        enter(self.join.bug);
        self.join.abandon();
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
        let own = self.shared.registration.id();
        let id = Some(own);
        enter(bug);
        self.check_context();
        let spawning = (bug == Bug::WakesUnderLock).then(|| lock(&SPAWNING));
        drop(spawning);
        let polling = (bug == Bug::SpawnNeedsPollLock).then(|| lock(&POLLING));
        drop(polling);
        let mut join = Join::new(bug);
        let mut task = BrokenTask {
            cell: None,
            join: join.clone(),
            start: None,
            weak: Weak::new(),
            id: own,
            polled: false,
            done: false,
        };
        let size = size_of::<F>();
        let large = size.max(size_of::<F::Output>()) >= 16 * 1024;
        if bug == Bug::LargeRefused && large
            || bug == Bug::ZeroSizedLost && size == 0
            || bug == Bug::TableFull && count() > 600
        {
            drop(future);
            join.fill(Err(JoinError::shutdown()));
            return task;
        }
        let end = {
            let join = join.clone();
            move |future: Option<BoxFuture>, reason: End| {
                if reason == End::Shutdown && bug == Bug::ShutdownSeenEarly {
                    join.fill(Err(JoinError::shutdown()));
                    thread::sleep(Duration::from_millis(20));
                }
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
        if bug == Bug::SlabOverflows {
            join = slab_entry(join);
        }
        let aborted = Arc::new(AtomicBool::new(false));
        let runner: BoxFuture = Box::pin(Runner {
            future: Some(Box::pin(future)),
            join,
            aborted: aborted.clone(),
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
            aborted,
            polls: AtomicUsize::new(0),
            waking: AtomicUsize::new(0),
            end: Box::new(end),
        });
        {
            let mut state = lock(&inner.state);
            state.tasks.retain(|task| task.strong_count() > 0);
            state.tasks.push(Arc::downgrade(&cell));
            if matches!(bug, Bug::LostTaskKept | Bug::OneWakerForAll) {
                state.kept.push(cell.clone());
            }
        }
        if bug == Bug::HandleDoesNotKeep {
            task.weak = Arc::downgrade(&cell);
        } else {
            task.cell = Some(cell.clone());
        }
        match bug {
            Bug::ProducersRace if !ON_WORKER.get() => {
                static INSIDE: AtomicUsize = AtomicUsize::new(0);
                let others = INSIDE.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_micros(200));
                INSIDE.fetch_sub(1, Ordering::SeqCst);
                if others == 0 {
                    inner.push(cell);
                }
            }
            Bug::TaskDiesWithThread if !ON_WORKER.get() => {
                let alive = ALIVE.try_with(|alive| alive.0.clone()).ok();
                let inner = inner.clone();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(5));
                    if alive.is_some_and(|alive| alive.load(Ordering::SeqCst)) {
                        inner.push(cell);
                    } else {
                        cell.destroy();
                    }
                });
            }
            Bug::PollsInlineAtSpawn => {
                cell.run();
            }
            Bug::LazySpawn => task.start = Some(inner.clone()),
            _ => inner.push(cell),
        }
        task
    }
}

/// How many times it has been called.
fn count() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    COUNT.fetch_add(1, Ordering::SeqCst) + 1
}

/// For [`Bug::SlabOverflows`]: the place for a task's result, which may be that of
/// another one.
fn slab_entry<T: Send + 'static>(join: Arc<Join<T>>) -> Arc<Join<T>> {
    static SLAB: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());
    let mut slab = lock(&SLAB);
    slab.push(Box::new(Arc::downgrade(&join)));
    let same = slab.len().checked_sub(129).map(|at| &slab[at]);
    let taken = same.and_then(|entry| entry.downcast_ref::<Weak<Join<T>>>()?.upgrade());
    taken
        .filter(|taken| !lock(&taken.state).finished)
        .unwrap_or(join)
}

impl Broken {
    /// Bugs that care from where they are called.
    fn check_context(&self) {
        let bug = self.shared.inner.bug;
        let current = context::current();
        let own = context::runtime_id() == Some(self.shared.registration.id());
        let wrong = match bug {
            Bug::ForeignAsyncRefused => current == Code::Async && !own,
            Bug::SpawnOnlyOnWorkers => current == Code::Async && own && !ON_WORKER.get(),
            Bug::NoSpawnInClosure => current == Code::Blocking && own,
            _ => false,
        };
        assert!(!wrong, "called from the wrong context");
    }
}

/// Polls the user's future, and leaves the result in the `Join`.
struct Runner<F: Future> {
    future: Option<Pin<Box<F>>>,
    join: Arc<Join<F::Output>>,
    aborted: Arc<AtomicBool>,
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
        let uncaught = bug == Bug::PanicReachesWaker && INLINE.get();
        let polled = if bug == Bug::PanicKillsWorker || uncaught {
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
                if bug == Bug::CancelCoversPanic && self.aborted.load(Ordering::SeqCst) {
                    return self.ready(Err(JoinError::cancelled()));
                }
                if bug == Bug::PanicSeenEarly {
                    self.join.fill(Err(JoinError::panicked(payload)));
                    thread::sleep(Duration::from_millis(20));
                    return self.ready(Err(JoinError::cancelled()));
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
        if self.bug == Bug::FutureKeptByWaker {
            self.join.fill(result);
            return Poll::Ready(());
        }
        let destroyed = catch_unwind(AssertUnwindSafe(|| self.future = None));
        self.join.fill(match (result, destroyed) {
            (result, Ok(())) => result,
            (Ok(output), Err(payload)) if self.bug == Bug::LatePanicLost => {
                adapt::discard(payload);
                Ok(output)
            }
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
        enter(bug);
        match bug {
            Bug::LargeRefused => assert!(size_of::<F>() < 16 * 1024, "the future is too large"),
            Bug::OnlyBuilderBlocks
                if context::current() == Code::Sync
                    && thread::current().id() != self.shared.builder =>
            {
                return Err(BlockOnError::not_driven());
            }
            Bug::OneRuntimePerThread => {
                thread_local! {
                    static FIRST: std::cell::Cell<Option<RuntimeId>> =
                        const { std::cell::Cell::new(None) };
                }
                let first = FIRST.get().or(id);
                FIRST.set(first);
                assert_eq!(first, id, "this thread has another runtime");
            }
            Bug::CallerDriven => {
                context::check_may_block()?;
                lock(&self.shared.inner.state).blockers += 1;
                self.shared.inner.work.notify_all();
                let result = catch_unwind(AssertUnwindSafe(|| adapt::block_on(future, id)));
                lock(&self.shared.inner.state).blockers -= 1;
                return result.unwrap_or_else(|payload| resume_unwind(payload));
            }
            Bug::BlockOnPoisoned => {
                static POISONED: AtomicBool = AtomicBool::new(false);
                context::check_may_block()?;
                assert!(!POISONED.load(Ordering::SeqCst), "the driver is poisoned");
                let result = catch_unwind(AssertUnwindSafe(|| adapt::block_on(future, id)));
                let result = result.unwrap_or_else(|payload| {
                    POISONED.store(true, Ordering::SeqCst);
                    resume_unwind(payload)
                });
                assert!(!POISONED.load(Ordering::SeqCst), "the driver is poisoned");
                return result;
            }
            Bug::MarkLeft => {
                let before = context::current();
                let result = adapt::block_on(future, id);
                if before == Code::Sync {
                    std::mem::forget(context::enter(Code::Blocking, id));
                }
                return result;
            }
            Bug::RootLosesWake
            | Bug::RootStarvesTasks
            | Bug::OneFlagPerThread
            | Bug::RootWakerPanicsLater
            | Bug::SpuriousUnparkPanics => {
                context::check_may_block()?;
                let future = Box::pin(future);
                return Ok(drive_by_flag(Marked { future, id }, bug));
            }
            Bug::ReturnsLast | Bug::SlotNotTakenBack => {
                context::check_may_block()?;
                let lent = adapt::pool::lend();
                let future = Box::pin(future);
                let output = drive(Marked { future, id });
                let pool = &self.shared.pool;
                if bug == Bug::SlotNotTakenBack {
                    std::mem::forget(lent);
                } else if lent.is_some() {
                    while pool.status().running + pool.status().queued > 0 {
                        thread::sleep(Duration::from_micros(200));
                    }
                }
                return Ok(output);
            }
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
                static FIRST: OnceLock<Code> = OnceLock::new();
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
        let inner = &self.shared.inner;
        let bug = inner.bug;
        if context::current() != Code::Async {
            if bug == Bug::InPlaceOnlyInTasks {
                return Err(BlockOnError::unsupported());
            }
            return Ok(f());
        }
        if context::runtime_id() != Some(id) {
            if bug == Bug::InPlaceForeignRuns {
                return Ok(f());
            }
            return Err(BlockOnError::unsupported());
        }
        if bug == Bug::InPlaceRunsThenErrs && !ON_WORKER.get() {
            f();
            return Err(BlockOnError::unsupported());
        }
        if bug == Bug::InPlaceUnsupported {
            return Err(BlockOnError::unsupported());
        }
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

/// Trusts a flag, and not the token; for the bugs that one can make with it.
fn drive_by_flag<F: Future>(future: F, bug: Bug) -> F::Output {
    struct Flag {
        thread: thread::Thread,
        woken: AtomicBool,
        ended: AtomicBool,
        bug: Bug,
    }
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            let late = self.ended.load(Ordering::SeqCst);
            assert!(
                !(late && self.bug == Bug::RootWakerPanicsLater),
                "woken after block_on has returned"
            );
            self.woken.store(true, Ordering::SeqCst);
            self.thread.unpark();
        }
    }
    let new = || {
        Arc::new(Flag {
            thread: thread::current(),
            woken: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            bug,
        })
    };
    thread_local! {
        static OF_THREAD: RefCell<Option<Arc<Flag>>> = const { RefCell::new(None) };
    }
    let flag = match bug {
        Bug::OneFlagPerThread => {
            OF_THREAD.with(|flag| flag.borrow_mut().get_or_insert_with(new).clone())
        }
        _ => new(),
    };
    let _lent = adapt::pool::lend();
    let active = |change: usize| {
        if bug == Bug::RootStarvesTasks {
            ROOTS.fetch_add(change, Ordering::SeqCst);
        }
    };
    // The latter takes one away.
    let (more, less) = (1, usize::MAX);
    active(more);
    let waker = Waker::from(flag.clone());
    let mut cx = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            flag.ended.store(true, Ordering::SeqCst);
            active(less);
            return output;
        }
        if bug == Bug::RootLosesWake {
            // Too late: the wake may have come during the poll.
            flag.woken.store(false, Ordering::SeqCst);
        }
        while !flag.woken.swap(false, Ordering::SeqCst) {
            active(less);
            thread::park();
            active(more);
            let woken = flag.woken.load(Ordering::SeqCst);
            assert!(
                woken || bug != Bug::SpuriousUnparkPanics,
                "woken for nothing"
            );
        }
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
    /// What a cancellation does about such a result.
    cancel: Option<Arc<dyn Fn() + Send + Sync>>,
    marks: Arc<Marks>,
    /// For [`Bug::CancelledKeepsSlot`].
    pool: Option<Pool>,
    /// For [`Bug::HandleBoundToExecutor`].
    id: Option<RuntimeId>,
    joiner: Option<Waker>,
    done: bool,
}

/// What is known of a closure.
#[derive(Default)]
struct Marks {
    started: AtomicBool,
    ended: AtomicBool,
    aborted: AtomicBool,
    detached: AtomicBool,
    /// It had ended before it was aborted.
    late: AtomicBool,
}

impl Marks {
    fn abort(&self) {
        self.aborted.store(true, Ordering::SeqCst);
        if self.ended.load(Ordering::SeqCst) {
            self.late.store(true, Ordering::SeqCst);
        }
    }
}

impl<T: Send + 'static> Future for BrokenOffload<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.bug == Bug::HandleBoundToExecutor {
            let foreign = context::runtime_id() != self.id;
            let wrong = context::current() == Code::Async && foreign;
            assert!(!wrong, "polled on another executor");
        }
        let aborted = self.marks.aborted.load(Ordering::SeqCst);
        let late = self.marks.late.load(Ordering::SeqCst);
        if aborted && self.bug == Bug::RunningClosureResolves
            || late && self.bug == Bug::CancelLosesOutput
        {
            return Poll::Ready(Err(JoinError::cancelled()));
        }
        if let Some(join) = &self.own {
            let mut state = lock(&join.state);
            if let Some(result) = state.result.take() {
                return Poll::Ready(result);
            }
            state.joiner = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bug = self.bug;
        let first = match bug {
            Bug::FirstJoinerWins => self
                .joiner
                .get_or_insert_with(|| cx.waker().clone())
                .clone(),
            _ => cx.waker().clone(),
        };
        let task = self.task.as_mut().expect("present until detached");
        let poll = Pin::new(task).poll(&mut Context::from_waker(&first));
        self.done = poll.is_ready();
        if let Poll::Ready(Err(error)) = &poll {
            if error.is_shutdown() && bug == Bug::ClosureShutdownHangs {
                return Poll::Pending;
            }
        }
        poll.map(|result| match result {
            Err(error) if error.is_panic() && bug == Bug::OffloadPayloadLost => {
                payload_of(Bug::PayloadLost, error.into_panic())
            }
            Err(error) if error.is_panic() && aborted && bug == Bug::CancelCoversPanic => {
                adapt::discard(error);
                Err(JoinError::cancelled())
            }
            result => result,
        })
    }
}

impl<T: Send + 'static> Task<T> for BrokenOffload<T> {
    fn is_finished(&self) -> bool {
        if self.bug == Bug::RunningClosureResolves && self.marks.aborted.load(Ordering::SeqCst) {
            return true;
        }
        match (&self.own, &self.task) {
            (Some(join), _) => lock(&join.state).finished,
            (None, Some(task)) => task.is_finished(),
            (None, None) => true,
        }
    }

    fn abort(&self) {
        self.mark_abort();
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
        /// An abort handle that the bug knows of.
        struct Marking(AbortHandle, Arc<Marks>, Bug);
        impl Abort for Marking {
            fn abort(&self) {
                let detached = self.1.detached.load(Ordering::SeqCst);
                if !detached || self.2 != Bug::AbortHandleDiesOnDetach {
                    self.1.abort();
                    self.0.abort();
                }
            }
            fn is_finished(&self) -> bool {
                self.0.is_finished()
            }
        }
        match &self.task {
            Some(task) => {
                let own = Marking(task.abort_handle(), self.marks.clone(), self.bug);
                AbortHandle::new(Arc::new(own))
            }
            None => AbortHandle::new(Arc::new(Nothing)),
        }
    }

    fn detach(mut self) {
        self.marks.detached.store(true, Ordering::SeqCst);
        if let Some(task) = self.task.take() {
            task.detach();
        }
        if let Some(join) = self.own.take() {
            join.abandon();
        }
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }
}

impl<T: Send + 'static> Drop for BrokenOffload<T> {
    fn drop(&mut self) {
        if let Some(join) = self.own.take() {
            self.mark_abort();
            join.abandon();
        }
        let Some(mut task) = self.task.take() else {
            return;
        };
        self.mark_abort();
        match self.bug {
            Bug::RunsDroppedClosures => task.detach(),
            Bug::OutputDropPanicEscapes if !self.done => {
                let poll = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
                drop(poll);
            }
            _ => {}
        }
    }
}

impl<T: Send + 'static> BrokenOffload<T> {
    fn of(task: OffloadTask<T>, bug: Bug) -> Self {
        let mut own = Self::empty(bug);
        own.task = Some(task);
        own
    }

    fn empty(bug: Bug) -> Self {
        Self {
            task: None,
            bug,
            own: None,
            cancel: None,
            marks: Arc::default(),
            pool: None,
            id: None,
            joiner: None,
            done: false,
        }
    }

    fn mark_abort(&self) {
        enter(self.bug);
        let again = self.marks.aborted.load(Ordering::SeqCst);
        self.marks.abort();
        if let Some(cancel) = &self.cancel {
            cancel();
        }
        if let (Some(pool), false) = (&self.pool, again) {
            if !self.marks.started.load(Ordering::SeqCst) {
                // Its place is given to nobody.
                pool.offload(|| {
                    loop {
                        thread::park();
                    }
                })
                .detach();
            }
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
    /// For [`Bug::OutputDropHoldsPool`].
    static DROPPING: Mutex<()> = Mutex::new(());
    let join = Join::new(bug);
    let filled = join.clone();
    let held = Arc::new(Mutex::new(Some(f)));
    let mut task = BrokenOffload::empty(bug);
    task.own = Some(join.clone());
    if bug == Bug::CapturePanicEscapes {
        let held = held.clone();
        task.cancel = Some(Arc::new(move || {
            let f = lock(&held).take();
            if f.is_some() {
                drop(f);
                join.fill(Err(JoinError::cancelled()));
            }
        }));
    }
    let marks = task.marks.clone();
    let run = move || {
        let _mark = context::enter(Code::Blocking, id);
        let holds = bug == Bug::OutputDropHoldsPool;
        if holds {
            drop(lock(&DROPPING));
        }
        let Some(f) = lock(&held).take() else { return };
        let result = catch_unwind(AssertUnwindSafe(f)).map_err(JoinError::panicked);
        let abandoned = lock(&filled.state).abandoned;
        if abandoned && bug == Bug::ResultDroppedElsewhere {
            thread::spawn(move || drop(result));
        } else if abandoned && holds {
            let _dropping = lock(&DROPPING);
            adapt::discard(result);
        } else {
            filled.fill(result);
        }
        marks.ended.store(true, Ordering::SeqCst);
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
        let pool = &self.shared.pool;
        enter(bug);
        if bug == Bug::ForeignAsyncRefused {
            self.check_context();
        }
        match bug {
            Bug::ClosurePanicKillsSlot => {
                let task = pool.offload(move || {
                    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
                        std::mem::forget(payload);
                        loop {
                            thread::park();
                        }
                    })
                });
                BrokenOffload::of(task, bug)
            }
            Bug::LargeRefused if size_of::<F>().max(size_of::<T>()) >= 16 * 1024 => {
                drop(f);
                let task = pool.offload(|| resume_unwind(Box::new("the closure is too large")));
                BrokenOffload::of(task, bug)
            }
            Bug::ResultDroppedElsewhere | Bug::CapturePanicEscapes | Bug::OutputDropHoldsPool => {
                let (run, task) = by_hand(f, bug, id);
                pool.offload(run).detach();
                task
            }
            Bug::AbandonedFreesSlot => {
                let (run, task) = by_hand(f, bug, id);
                let marks = task.marks.clone();
                pool.offload(move || {
                    thread::spawn(run);
                    let over = |mark: &AtomicBool| mark.load(Ordering::SeqCst);
                    while !over(&marks.ended) && !over(&marks.aborted) {
                        thread::sleep(Duration::from_micros(200));
                    }
                })
                .detach();
                task
            }
            Bug::StrandedOnExpiry => {
                static ENDED: Mutex<Option<Instant>> = Mutex::new(None);
                let ended = *lock(&ENDED);
                let keep = self.shared.keep_alive;
                // While the idle threads are about to end.
                let ending = ended.is_some_and(|at| at.elapsed() >= keep);
                if keep <= Duration::from_millis(2) && ending {
                    let (run, task) = by_hand(f, bug, id);
                    std::mem::forget(run);
                    return task;
                }
                let task = pool.offload(move || {
                    let value = f();
                    *lock(&ENDED) = Some(Instant::now());
                    value
                });
                BrokenOffload::of(task, bug)
            }
            Bug::ValuesLeak => {
                static FIRST: Mutex<Option<Values>> = Mutex::new(None);
                let current = Values::current();
                if !current.is_empty() {
                    lock(&FIRST).get_or_insert(current);
                }
                let task = pool.offload(move || {
                    let first = lock(&FIRST).clone();
                    first.unwrap_or_default().scope(f)
                });
                BrokenOffload::of(task, bug)
            }
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
            _ => {
                let marks = Arc::new(Marks::default());
                let inside = marks.clone();
                let task = pool.offload(move || {
                    inside.started.store(true, Ordering::SeqCst);
                    odd::dawdle();
                    let value = f();
                    inside.ended.store(true, Ordering::SeqCst);
                    enter(bug);
                    value
                });
                let mut task = BrokenOffload::of(task, bug);
                task.marks = marks;
                task.id = id;
                task.pool = (bug == Bug::CancelledKeepsSlot).then(|| pool.clone());
                task
            }
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
    duration: Duration,
    /// The context it was made in.
    made: Option<RuntimeId>,
    shared: TimerShared,
}

/// What timers may need of the runtime, and does not keep it.
struct TimerShared {
    inner: Arc<Inner>,
    timers: Option<Timers>,
    pool: Option<Pool>,
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
                Bug::SleepWakerLeaks | Bug::FirstTimerWakerWins => {
                    self.leaked = Some(cx.waker().clone());
                }
                Bug::TimerCountsFromPoll => {
                    if let Some(timers) = &self.shared.timers {
                        self.sleep = timers.sleep(self.duration);
                    }
                }
                Bug::TimersInPool => {
                    let (waker, duration) = (cx.waker().clone(), self.duration);
                    if let Some(pool) = &self.shared.pool {
                        pool.offload(move || {
                            thread::sleep(duration.min(Duration::from_secs(60)));
                            waker.wake();
                        })
                        .detach();
                    }
                }
                _ => {}
            }
        }
        match self.bug {
            Bug::TimersInPool => {
                // Polled when it is woken out of the pool.
                let mut cx = Context::from_waker(Waker::noop());
                return Pin::new(&mut self.sleep).poll(&mut cx);
            }
            Bug::TimerBoundToExecutor => {
                let here = context::runtime_id();
                let bound = self.made.is_some() && self.made != here;
                assert!(!bound, "polled outside of the runtime it was made in");
            }
            Bug::FirstTimerWakerWins => {
                if let Some(first) = self.leaked.clone() {
                    return Pin::new(&mut self.sleep).poll(&mut Context::from_waker(&first));
                }
            }
            Bug::TimerDiesWithRuntime if lock(&self.shared.inner.state).closing => {
                return Poll::Pending;
            }
            Bug::TimerWakerUnmarked => {
                let waker = Waker::from(Arc::new(Unmarked(cx.waker().clone())));
                return Pin::new(&mut self.sleep).poll(&mut Context::from_waker(&waker));
            }
            _ => {}
        }
        Pin::new(&mut self.sleep).poll(cx)
    }
}

/// For [`Bug::TimerWakerUnmarked`].
struct Unmarked(Waker);

impl Wake for Unmarked {
    fn wake(self: Arc<Self>) {
        let _mark = context::enter(Code::Sync, None);
        self.0.wake_by_ref();
    }
}

impl Drop for BrokenSleep {
    fn drop(&mut self) {
        if self.bug == Bug::SleepWakerLeaks {
            std::mem::forget(self.leaked.take());
        }
    }
}

impl Timer for Broken {
    type Sleep = BrokenSleep;

    fn now(&self) -> Instant {
        let now = Instant::now();
        if self.shared.inner.is(Bug::ClockGoesBack) && count() % 2 == 0 {
            return now.checked_sub(Duration::from_millis(50)).unwrap_or(now);
        }
        now
    }

    fn sleep(&self, duration: Duration) -> BrokenSleep {
        let bug = self.shared.inner.bug;
        if bug == Bug::TimerNeedsRuntime {
            assert!(
                context::runtime_id().is_some(),
                "there is no reactor running"
            );
        }
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
            _ => timers.sleep(odd::coarse(duration)),
        };
        BrokenSleep {
            sleep,
            bug,
            polls: 0,
            leaked: None,
            duration,
            made: context::runtime_id(),
            shared: TimerShared {
                inner: self.shared.inner.clone(),
                timers: (bug == Bug::TimerCountsFromPoll).then(|| timers.clone()),
                pool: (bug == Bug::TimersInPool).then(|| self.shared.pool.clone()),
            },
        }
    }
}

// ---------------------------------------------------------------------------
// Life and end

impl Broken {
    pub(crate) fn build(config: &Config) -> Self {
        let bug = bugs::bug();
        match bug {
            Bug::BuildRefusedInside => assert!(
                context::current() == Code::Sync,
                "cannot start a runtime from within a runtime"
            ),
            Bug::RuntimeTableFull => assert!(count() <= 50, "no room for another runtime"),
            _ => {}
        }
        let inner = Arc::new(Inner {
            bug,
            state: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
            all: OnceLock::new(),
        });
        let home: Arc<OnceLock<Weak<Shared>>> = Arc::default();
        let registration = context::register({
            let home = home.clone();
            move || {
                let shared = home.get()?.upgrade()?;
                let first = false;
                Some(AnyRuntime::new(Self { shared, first }))
            }
        });
        let limit = match bug {
            Bug::LimitIgnored => config.offload_limit + 1,
            Bug::LimitOneShort => config.offload_limit.saturating_sub(1).max(1),
            _ => config.offload_limit,
        };
        let bound = match bug {
            Bug::HiddenQueueLimit => Some(config.offload_queue.unwrap_or(1000)),
            _ => config.offload_queue,
        };
        let keep_alive = match bug {
            Bug::IdleThreadsNeverEnd => Duration::from_secs(3600),
            _ => config.keep_alive,
        };
        let mut pool = PoolBuilder::default();
        if odd::is(Odd::EagerPool) {
            pool = pool.eager(32);
        } else if odd::is(Odd::StingyPool) {
            pool = pool.eager(1);
        }
        let pool = pool
            .limit(limit)
            .queue_bound(bound)
            .keep_alive(keep_alive)
            .runtime(Some(registration.id()))
            .build(StdThreads::new("broken-offload"))
            .expect("a valid config");
        let workers = match config.workers {
            _ if odd::is(Odd::OneWorker) => 1,
            n if odd::is(Odd::ManyWorkers) => 2 * n + 1,
            n => n,
        };
        for _ in 0..workers {
            inner.start_worker();
        }
        if odd::is(Odd::TickingWorkers) {
            let ticking = Arc::downgrade(&inner);
            let thread = thread::spawn(move || {
                loop {
                    thread::sleep(Duration::from_millis(2));
                    match ticking.upgrade() {
                        Some(inner) if !lock(&inner.state).closed => inner.work.notify_all(),
                        _ => return,
                    }
                }
            });
            lock(&inner.state).threads.push(thread);
        }
        let shared = Arc::new(Shared {
            inner,
            pool,
            timers: Timers::new("broken-timer"),
            registration,
            builder: thread::current().id(),
            keep_alive: config.keep_alive,
        });
        if bug != Bug::CurrentUnknown {
            let _ = home.set(Arc::downgrade(&shared));
        }
        Self {
            shared,
            first: true,
        }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        let inner = &self.shared.inner;
        match inner.bug {
            Bug::FirstHandleOwns if self.first => inner.close(),
            Bug::DestroyUnderRuntimeLock => drop(lock(&inner.state)),
            Bug::DropCollides => {
                static INSIDE: AtomicUsize = AtomicUsize::new(0);
                let others = INSIDE.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_micros(200));
                INSIDE.fetch_sub(1, Ordering::SeqCst);
                assert!(others == 0 || thread::panicking(), "two are the last");
            }
            _ => {}
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        enter(self.inner.bug);
        match self.inner.bug {
            Bug::DropWaitsForPool => {
                self.inner.close();
                self.pool.close();
                let _ = self.pool.wait_ended(None);
            }
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
        let deadline = match inner.bug {
            Bug::ShutdownOverflows => Some(Instant::now() + timeout),
            _ => Instant::now().checked_add(timeout),
        };
        let again = std::mem::replace(&mut lock(&inner.state).shut, true);
        assert!(
            !(again && inner.is(Bug::SecondShutdownPanics)),
            "shut down already"
        );
        if !inner.is(Bug::QueuedClosuresRunAtShutdown) && !inner.is(Bug::PoolNeverCloses) {
            self.shared.pool.close();
        }
        inner.close();
        self.shared.timers.close();
        if !matches!(
            inner.bug,
            Bug::ShutdownLeavesFutures | Bug::JoinHangsAfterShutdown | Bug::FinishesQueueAtShutdown
        ) {
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
        let unwaited = timeout.is_zero() && inner.is(Bug::ReapedOnlyByShutdown);
        if report.threads_running == 0 && !unwaited {
            inner.reap();
        }
        if inner.is(Bug::PoolNeverCloses) {
            return Ok(report);
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

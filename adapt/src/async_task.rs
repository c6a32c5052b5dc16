//! A contract-keeping handle over [`async_task::Task`]: [`spawn`].
//!
//! `async-task` gives a handle that cancels on drop and waits for the future's
//! destruction, in one allocation. What it lacks for the contract is added here
//! without another allocation on the usual path:
//!
//! * *Panics* are caught in [`Contain`], so that they become results. A
//!   destructor that panics would abort the process; its payload is kept aside,
//!   by task number, until the joiner asks for it (CA-4). So is that of a poll,
//!   for `async-task` drops the outcome of a poll during which the task was
//!   cancelled (JO-4).
//! * *Cancelled or shut down?* `async-task` says "no output" to both. The
//!   handle knows whether anyone asked for cancellation (JO-4).
//! * *Abort handles.* Only the owner of an `async_task::Task` can cancel it.
//!   The first abort handle moves it to a place that both can reach; that is
//!   when the extra allocation happens, and not before.

use std::{
    cell::Cell,
    collections::{BTreeSet, VecDeque},
    fmt,
    future::Future,
    mem::forget,
    pin::Pin,
    sync::{
        Arc, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use async_task::FallibleTask;

use crate::{
    fork::{self, PerProcess, Process},
    sync::{Mutex, MutexGuard},
};
use fourway_core::implement::{Contain, Outcome, discard};
use fourway_core::{
    Abort, AbortHandle, JoinError, Payload, Task, context::RuntimeId, task::Metadata,
};

/// Wraps `future`, has `spawn` make a native task of it, and returns the handle.
///
/// `spawn` is given the future to run; for example
/// `|future| executor.spawn(future)`.
#[inline]
pub fn spawn<F, S>(
    metadata: Metadata,
    future: F,
    runtime: Option<RuntimeId>,
    spawn: S,
) -> AsyncTask<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    S: FnOnce(Contain<F, ReportPanic>) -> async_task::Task<Outcome<F::Output>>,
{
    let number = next_number();
    let native = spawn(Contain::new(future, runtime, ReportPanic(number)));
    AsyncTask::new(metadata, number, Native::Live(native.fallible()))
}

/// As [`spawn`], for a task that nobody will join: without the handle.
#[inline]
pub fn spawn_detached<F, S>(future: F, runtime: Option<RuntimeId>, spawn: S)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    S: FnOnce(Contain<F, DiscardPanic>) -> async_task::Task<Outcome<F::Output>>,
{
    spawn(Contain::new(future, runtime, DiscardPanic)).detach();
}

/// The handle of a future that was refused because the runtime is gone. Drops
/// `future` (SP-3).
pub fn refused<F>(metadata: Metadata, future: F, runtime: Option<RuntimeId>) -> AsyncTask<F::Output>
where
    F: Future,
    F::Output: Send + 'static,
{
    refused_for(JoinError::shutdown, metadata, future, runtime)
}

/// As [`refused`], because the runtime was made before a `fork`, of which this process is the
/// child (FK-1).
pub fn refused_in_child<F>(
    metadata: Metadata,
    future: F,
    runtime: Option<RuntimeId>,
) -> AsyncTask<F::Output>
where
    F: Future,
    F::Output: Send + 'static,
{
    fork::refuse(|| refused_for(JoinError::forked, metadata, future, runtime))
}

fn refused_for<F>(
    reason: fn() -> JoinError,
    metadata: Metadata,
    future: F,
    runtime: Option<RuntimeId>,
) -> AsyncTask<F::Output>
where
    F: Future,
    F::Output: Send + 'static,
{
    let mut future = std::pin::pin!(Some(future));
    let error = match fourway_core::implement::destroy_contained(future.as_mut(), runtime) {
        Ok(()) => reason(),
        Err(payload) => JoinError::panicked(payload),
    };
    AsyncTask::new(metadata, 0, Native::Refused(Box::new(error)))
}

/// The handle of a task that runs as an [`async_task::Task`].
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct AsyncTask<T: Send + 'static> {
    metadata: Metadata,
    /// Under which a destructor's panic would be kept.
    number: u64,
    // Polling has the handle to itself and needs no locking.
    native: Mutex<Native<T>>,
    /// Has a joiner left its waker with the native task? Nobody could get it out
    /// of there, and a clone of it would cost as much as all the rest of this
    /// handle.
    polled: bool,
    /// In any other one the native task is neither asked nor dropped: either may take the
    /// executor's locks (FK-1).
    process: Process,
}

// Small, for a handle is moved from where it is made to where it is awaited.
enum Native<T: Send + 'static> {
    Live(FallibleTask<Outcome<T>>),
    /// From the first abort handle on.
    Shared(Arc<Shared<T>>),
    Refused(Box<JoinError>),
    /// Joined or detached.
    Gone,
}

/// `async_task`'s own way to cancel: a future that waits for the destruction.
type Cancelling<T> = Pin<Box<dyn Future<Output = Option<Outcome<T>>> + Send + Sync>>;

/// A native task that is shared, and what has become of it.
enum Raw<T> {
    Live(FallibleTask<Outcome<T>>),
    /// Cancelled at someone's wish, and not known to be destroyed yet.
    Cancelled(
        Cancelling<T>,
        #[expect(dead_code, reason = "it counts while it is there")] Interest,
    ),
    Ended(Result<T, JoinError>),
    /// Joined, detached, or taken out for a moment.
    Empty,
}

impl<T: Send + 'static> Raw<T> {
    fn poll(&mut self, number: u64, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let poll = match self {
            Raw::Live(task) => poll_live(task, number, cx),
            Raw::Cancelled(task, _) => {
                let outcome = task.as_mut().poll(cx);
                outcome.map(|outcome| result(outcome, number, JoinError::cancelled))
            }
            Raw::Ended(_) => {
                let Raw::Ended(result) = std::mem::replace(self, Raw::Empty) else {
                    unreachable!("just matched")
                };
                return Poll::Ready(result);
            }
            Raw::Empty => panic!("{AGAIN}"),
        };
        if poll.is_ready() {
            *self = Raw::Empty;
        }
        poll
    }

    /// Asks the native task to cancel, which may schedule it and wake whoever
    /// awaits it: not to be called under a lock.
    fn cancel(&mut self, number: u64) {
        if let Raw::Live(task) = self {
            if task.is_finished() {
                // It has an output, or was destroyed with the executor; in both
                // cases the next poll tells, and there is nothing to cancel.
                return;
            }
            let Raw::Live(task) = std::mem::replace(self, Raw::Empty) else {
                unreachable!("just matched")
            };
            let interest = Interest::new(number);
            let mut cancelling: Cancelling<T> = Box::pin(task.cancel());
            // The request is made by the first poll. Its waker is replaced by
            // the joiner's next one.
            let mut cx = Context::from_waker(Waker::noop());
            *self = match cancelling.as_mut().poll(&mut cx) {
                // It ended just before.
                Poll::Ready(Some(outcome)) => {
                    Raw::Ended(result(Some(outcome), number, JoinError::shutdown))
                }
                // For the panic of the destructor to be looked up.
                Poll::Ready(None) => Raw::Cancelled(Box::pin(async { None }), interest),
                Poll::Pending => Raw::Cancelled(cancelling, interest),
            };
        }
    }

    /// Lets a live task run on, and drops the result of an ended one.
    fn detach(mut self, number: u64) {
        self.discard_result(number);
        if let Raw::Live(task) = self {
            task.detach();
        }
    }

    /// Drops a result that is there already: by this thread and as what it is,
    /// while one that comes later goes in the name of the executor.
    fn discard_result(&mut self, number: u64) {
        if self.may_be_over() {
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(result) = self.poll(number, &mut cx) {
                discard(result);
            }
        }
    }

    /// Is it worth asking for a result?
    fn may_be_over(&self) -> bool {
        match self {
            Raw::Live(task) => task.is_finished(),
            Raw::Cancelled(..) | Raw::Ended(_) => true,
            Raw::Empty => false,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self, Raw::Ended(_) | Raw::Empty)
    }
}

const AGAIN: &str = "a task handle was polled after it was ready";

#[inline]
fn poll_live<T>(
    task: &mut FallibleTask<Outcome<T>>,
    number: u64,
    cx: &mut Context<'_>,
) -> Poll<Result<T, JoinError>> {
    match Pin::new(task).poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(result(outcome, number, JoinError::shutdown)),
        Poll::Pending => Poll::Pending,
    }
}

/// What a joiner is told of a native task that has ended.
#[inline]
fn result<T>(
    outcome: Option<Outcome<T>>,
    number: u64,
    otherwise: fn() -> JoinError,
) -> Result<T, JoinError> {
    match outcome.and_then(Outcome::into_option) {
        Some(Ok(output)) => Ok(output),
        Some(Err(payload)) => Err(panicked(payload)),
        None => Err(without_outcome(number, otherwise)),
    }
}

#[cold]
fn panicked(payload: Payload) -> JoinError {
    JoinError::panicked(match payload.downcast::<Watched>() {
        Ok(watched) => watched.payload(),
        Err(payload) => payload,
    })
}

#[cold]
fn without_outcome(number: u64, otherwise: fn() -> JoinError) -> JoinError {
    match take_kept(number) {
        Some(payload) => JoinError::panicked(payload),
        None => otherwise(),
    }
}

impl<T: Send + 'static> AsyncTask<T> {
    #[inline]
    fn new(metadata: Metadata, number: u64, native: Native<T>) -> Self {
        Self {
            metadata,
            number,
            native: Mutex::new(native),
            polled: false,
            process: Process::this(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Native<T>> {
        self.native.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn native(&mut self) -> &mut Native<T> {
        self.native
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn is_inherited(&self) -> bool {
        !self.process.is_this()
    }

    /// Moves the native task to where abort handles can reach it.
    fn share(&self) -> Arc<Shared<T>> {
        let mut native = self.lock();
        let raw = match std::mem::replace(&mut *native, Native::Gone) {
            Native::Shared(shared) => {
                *native = Native::Shared(shared.clone());
                return shared;
            }
            Native::Live(task) => Raw::Live(task),
            Native::Refused(error) => Raw::Ended(Err(*error)),
            Native::Gone => Raw::Empty,
        };
        let state = State {
            raw,
            busy: false,
            abort: false,
            joiner: None,
            joiner_is_native: self.polled,
            joiner_turned_away: false,
            reaper: None,
            ended: false,
        };
        let shared = Arc::new(Shared {
            number: self.number,
            process: Process::this(),
            state: Mutex::new(state),
        });
        *native = Native::Shared(shared.clone());
        shared
    }
}

// The output is moved out, never pinned.
impl<T: Send + 'static> Unpin for AsyncTask<T> {}

impl<T: Send + 'static> Future for AsyncTask<T> {
    type Output = Result<T, JoinError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_inherited() {
            return Poll::Ready(Err(fork::error(&self.metadata)));
        }
        let number = self.number;
        self.polled = true;
        let native = self.native();
        let mut poll = if let Native::Live(task) = native {
            let poll = poll_live(task, number, cx);
            if poll.is_ready() {
                if let Native::Live(task) = std::mem::replace(native, Native::Gone) {
                    // Not dropped, which would ask it to cancel.
                    task.detach();
                }
            }
            poll
        } else {
            native.poll_other(cx)
        };
        if let Poll::Ready(Err(error)) = &mut poll {
            error.set_task(&self.metadata);
        }
        poll
    }
}

impl<T: Send + 'static> Native<T> {
    #[cold]
    #[inline(never)]
    fn poll_other(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        if let Native::Shared(shared) = self {
            return shared.poll(cx);
        }
        match std::mem::replace(self, Native::Gone) {
            Native::Refused(error) => Poll::Ready(Err(*error)),
            _ => panic!("{AGAIN}"),
        }
    }
}

impl<T: Send + 'static> Task<T> for AsyncTask<T> {
    fn is_finished(&self) -> bool {
        if self.is_inherited() {
            return true;
        }
        match &*self.lock() {
            // "Finished" may also mean that the executor is destroying it at this
            // moment; whether it is done with that, only a poll says.
            Native::Live(task) if !task.is_finished() => return false,
            Native::Refused(_) | Native::Gone => return true,
            Native::Live(_) | Native::Shared(_) => {}
        }
        self.share().is_finished()
    }

    fn abort(&self) {
        if !self.is_inherited() {
            self.share().abort();
        }
    }

    fn abort_handle(&self) -> AbortHandle {
        if self.is_inherited() {
            return AbortHandle::new(Arc::new(Inherited));
        }
        AbortHandle::new(self.share())
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }

    fn detach(mut self) {
        if self.is_inherited() {
            return;
        }
        let number = self.number;
        match std::mem::replace(self.native(), Native::Gone) {
            Native::Live(task) => Raw::Live(task).detach(number),
            Native::Refused(_) | Native::Gone => {}
            Native::Shared(shared) => {
                // Without abort handles, the native task is detached with it.
                if Arc::strong_count(&shared) > 1 {
                    let reaper = Reaper(Arc::downgrade(&shared));
                    shared.detach(Waker::from(Arc::new(reaper)));
                }
            }
        }
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }
}

impl<T: Send + 'static> Drop for AsyncTask<T> {
    #[inline]
    fn drop(&mut self) {
        if self.is_inherited() {
            forget(std::mem::replace(self.native(), Native::Gone));
            return;
        }
        let number = self.number;
        match self.native() {
            Native::Live(_) => {
                if let Native::Live(task) = std::mem::replace(self.native(), Native::Gone) {
                    Raw::Live(task).discard_result(number);
                    // Cancelled, if it is still live, by being dropped.
                }
            }
            Native::Refused(_) | Native::Gone => {}
            Native::Shared(shared) => {
                shared.request_abort();
                // Nobody will look at the result. If there is none yet, there
                // will be none: the task is cancelled.
                shared.detach(Waker::noop().clone());
            }
        }
    }
}

impl<T: Send + 'static> fmt::Debug for AsyncTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncTask").finish_non_exhaustive()
    }
}

/// A native task that its handle and abort handles share.
///
/// Whoever works on the task takes it out and sets `busy`, so that no lock is
/// held while wakers are called or cloned. What others want meanwhile, they
/// leave in the state, and whoever is busy sees to it afterwards.
struct Shared<T: Send + 'static> {
    number: u64,
    process: Process,
    state: Mutex<State<T>>,
}

struct State<T> {
    raw: Raw<T>,
    busy: bool,
    abort: bool,
    /// The last joiner's waker.
    joiner: Option<Waker>,
    /// Is its waker with the native task only? That calls it when it is cancelled
    /// and when it ends, unless another takes its place.
    joiner_is_native: bool,
    /// Did a joiner find the task busy, and go away without registering?
    joiner_turned_away: bool,
    /// Set when the handle is gone: the result is dropped as soon as there is
    /// one, however long abort handles live. Called when the native task ends.
    reaper: Option<Waker>,
    /// Has the reaper been called?
    ended: bool,
}

impl<T: Send + 'static> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No user code runs under the lock, so that nothing can poison it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let waker = cx.waker().clone();
        let mut state = self.lock();
        let before = state.joiner.replace(waker);
        state.joiner_is_native = false;
        if state.busy {
            state.joiner_turned_away = true;
            drop(state);
            drop(before);
            return Poll::Pending;
        }
        let mut raw = self.take(&mut state);
        if let Raw::Empty = raw {
            // About to panic; the task stays as it is for its abort handles.
            state.busy = false;
        }
        drop(state);
        drop(before);
        let poll = raw.poll(self.number, cx);
        self.put_back(raw, false);
        if poll.is_ready() {
            let joiner = self.lock().joiner.take();
            drop(joiner);
        }
        poll
    }

    /// Begins a time of being busy.
    fn take(&self, state: &mut State<T>) -> Raw<T> {
        debug_assert!(!state.busy);
        state.busy = true;
        std::mem::replace(&mut state.raw, Raw::Empty)
    }

    /// Ends a time of being busy, after doing what others asked for meanwhile.
    fn put_back(&self, mut raw: Raw<T>, mut wake_joiner: bool) {
        let mut state = self.lock();
        loop {
            if std::mem::take(&mut state.abort) {
                drop(state);
                if let Raw::Live(_) = raw {
                    raw.cancel(self.number);
                    // A waker that was with the live task has been called by it.
                    wake_joiner = true;
                }
                postponed::done(self.number);
            } else if let (Some(reaper), true, false) =
                (state.reaper.clone(), state.ended, raw.is_over())
            {
                state.ended = false;
                drop(state);
                let mut cx = Context::from_waker(&reaper);
                if let Poll::Ready(result) = raw.poll(self.number, &mut cx) {
                    raw = Raw::Ended(result);
                }
            } else if state.reaper.is_some() && matches!(raw, Raw::Ended(_)) {
                drop(state);
                std::mem::replace(&mut raw, Raw::Empty).detach(self.number);
            } else {
                break;
            }
            state = self.lock();
        }
        // A joiner who found the task busy waits for this moment.
        wake_joiner |= std::mem::take(&mut state.joiner_turned_away);
        state.busy = false;
        state.raw = raw;
        let joiner = if wake_joiner {
            state.joiner.take()
        } else {
            None
        };
        drop(state);
        if let Some(joiner) = joiner {
            joiner.wake();
        }
    }

    fn request_abort(&self) {
        let mut state = self.lock();
        if state.busy {
            if !state.abort {
                state.abort = true;
                postponed::add(self.number);
            }
            return;
        }
        let mut raw = self.take(&mut state);
        drop(state);
        let was_live = matches!(raw, Raw::Live(_));
        raw.cancel(self.number);
        self.put_back(raw, was_live);
    }

    /// The handle goes away.
    fn detach(&self, reaper: Waker) {
        let mut state = self.lock();
        state.reaper = Some(reaper);
        let joiner = state.joiner.take();
        drop(state);
        drop(joiner);
        self.look_at_end();
    }

    /// Drops the result of a detached task, or sees to it that it will be.
    fn look_at_end(&self) {
        let mut state = self.lock();
        state.ended = true;
        if !state.busy {
            let raw = self.take(&mut state);
            drop(state);
            self.put_back(raw, false);
        }
    }
}

/// The joiner of a detached task. Weak: the last abort handle lets the native
/// task go, so that the executor may have it to itself.
struct Reaper<T: Send + 'static>(Weak<Shared<T>>);

impl<T: Send + 'static> Wake for Reaper<T> {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.look_at_end();
        }
    }
}

impl<T: Send + 'static> Abort for Shared<T> {
    fn abort(&self) {
        if self.process.is_this() {
            self.request_abort();
        }
    }

    fn is_finished(&self) -> bool {
        if !self.process.is_this() {
            return true;
        }
        let mut state = self.lock();
        if state.busy {
            return false;
        }
        match &state.raw {
            Raw::Live(task) if !task.is_finished() => return false,
            Raw::Ended(_) | Raw::Empty => return true,
            // A poll might put another waker in the place of the joiner's. Without
            // one, an executor that is just destroying the task counts as done.
            Raw::Live(_) if state.joiner_is_native => return true,
            Raw::Live(_) | Raw::Cancelled(..) => {}
        }
        // "Closed" does not say whether the future is destroyed yet: only a poll
        // does. The joiner's waker must stay the registered one; it is taken out
        // rather than cloned, for cloning is user code.
        let reaper = state.reaper.clone();
        let joiner = state.joiner.take();
        let mut raw = self.take(&mut state);
        drop(state);
        let waker = reaper.as_ref().or(joiner.as_ref());
        let mut cx = Context::from_waker(waker.unwrap_or(Waker::noop()));
        if let Poll::Ready(result) = raw.poll(self.number, &mut cx) {
            raw = Raw::Ended(result);
        }
        let mut state = self.lock();
        let superseded = match (joiner, &mut state.joiner) {
            (joiner, Some(_)) => joiner,
            (joiner, none) => {
                *none = joiner;
                None
            }
        };
        drop(state);
        drop(superseded);
        let finished = raw.is_over();
        self.put_back(raw, finished);
        finished
    }
}

impl<T: Send + 'static> Drop for Shared<T> {
    fn drop(&mut self) {
        // The last abort handle of a detached task goes: the task runs on. If
        // the task's own handle went by being dropped, it is cancelled already.
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !self.process.is_this() {
            forget(std::mem::replace(&mut state.raw, Raw::Empty));
            return;
        }
        std::mem::replace(&mut state.raw, Raw::Empty).detach(self.number);
    }
}

/// What an abort handle cancels that is made in a forked child: nothing.
struct Inherited;

impl Abort for Inherited {
    fn abort(&self) {}

    fn is_finished(&self) -> bool {
        true
    }
}

// ---------------------------------------------------------------------------
// Panics for which there is no outcome

/// The panic hook has reported it, and nobody else will ask.
#[derive(Debug)]
pub struct DiscardPanic;

impl fourway_core::implement::OnDropPanic for DiscardPanic {
    fn report(&self, payload: Payload) {
        discard(payload);
    }
}

/// Cancellations that were asked for while somebody else was at work on the native task,
/// who is to see to them next. Until then the executor knows nothing of it, and would
/// poll a future once more that was cancelled during its poll (CA-2).
mod postponed {
    use std::sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    };

    use crate::fork::PerProcess;

    /// How many there are: most of the time, none.
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    /// Of these tasks.
    static TASKS: PerProcess<Mutex<Vec<u64>>> = PerProcess::new();

    fn tasks() -> MutexGuard<'static, Vec<u64>> {
        let tasks = TASKS.get_or_init(Mutex::default);
        tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(task: u64) {
        tasks().push(task);
        // Relaxed: a poll that comes after the cancellation was asked for, by whatever
        // order there is between the two, sees this or what came later.
        COUNT.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn done(task: u64) {
        let mut tasks = tasks();
        if let Some(at) = tasks.iter().position(|known| *known == task) {
            tasks.swap_remove(at);
            COUNT.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn contains(task: u64) -> bool {
        COUNT.load(Ordering::Relaxed) > 0 && tasks().contains(&task)
    }
}

/// Keeps the panic of a task for a joiner who gets no outcome.
#[derive(Debug)]
pub struct ReportPanic(u64);

impl fourway_core::implement::OnDropPanic for ReportPanic {
    fn report(&self, payload: Payload) {
        let shared = shared(payload);
        keep(self.0, Entry::Kept(shared));
    }

    #[inline]
    fn may_poll(&self) -> bool {
        !postponed::contains(self.0)
    }

    fn caught(&self, payload: Payload) -> Payload {
        let shared = shared(payload);
        keep(self.0, Entry::InOutcome(Arc::downgrade(&shared)));
        Box::new(Watched {
            number: self.0,
            shared,
        })
    }
}

/// A payload in more than one place; whoever comes first takes it.
type SharedPayload = Arc<std::sync::Mutex<Option<Payload>>>;

fn shared(payload: Payload) -> SharedPayload {
    Arc::new(std::sync::Mutex::new(Some(payload)))
}

fn take(shared: &SharedPayload) -> Option<Payload> {
    shared.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The payload that is put into an outcome. `async-task` drops the outcome of a
/// poll during which the task was cancelled; then this keeps the payload, if
/// there is a joiner who may ask.
struct Watched {
    number: u64,
    shared: SharedPayload,
}

impl Watched {
    fn payload(&self) -> Payload {
        take(&self.shared).expect("a task has one joiner, who is told once")
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut panics = panics();
        let at = panics.position(self.number);
        // The joiner asks under the same lock: he finds the payload in the
        // outcome, or here.
        let before = match at {
            Some(at) if panics.cancelled.contains(&self.number) => {
                let entry = Entry::Kept(self.shared.clone());
                Some(std::mem::replace(&mut panics.entries[at].1, entry))
            }
            Some(at) => panics.remove(at),
            None => None,
        };
        drop(panics);
        drop(before);
    }
}

/// Somebody who cancelled a task may ask how it ended, as long as this lives.
struct Interest(u64);

impl Interest {
    fn new(number: u64) -> Self {
        panics().cancelled.insert(number);
        Self(number)
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut panics = panics();
        panics.cancelled.remove(&self.0);
        let entry = match panics.position(self.0) {
            Some(at) => panics.remove(at),
            None => None,
        };
        drop(panics);
        discard(entry);
    }
}

/// Panics by task number. The panic hook has reported each of them.
struct Panics {
    entries: VecDeque<(u64, Entry)>,
    /// Tasks that were cancelled, and whose joiner is still there.
    cancelled: BTreeSet<u64>,
}

enum Entry {
    /// Of a task whose outcome has it too.
    InOutcome(std::sync::Weak<std::sync::Mutex<Option<Payload>>>),
    Kept(SharedPayload),
}

/// Enough for the joiners that could come; entries of tasks without one are
/// pushed out by later ones.
const KEPT: usize = 1024;

/// How many entries there are, for a look without the lock.
static KEPT_COUNT: AtomicUsize = AtomicUsize::new(0);

fn panics() -> std::sync::MutexGuard<'static, Panics> {
    static PANICS: PerProcess<std::sync::Mutex<Panics>> = PerProcess::new();
    let panics = PANICS.get_or_init(|| {
        std::sync::Mutex::new(Panics {
            entries: VecDeque::new(),
            cancelled: BTreeSet::new(),
        })
    });
    panics.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Panics {
    fn position(&self, number: u64) -> Option<usize> {
        self.entries.iter().position(|(kept, _)| *kept == number)
    }

    /// The entry is to be dropped outside of the lock.
    fn remove(&mut self, at: usize) -> Option<Entry> {
        let (_, entry) = self.entries.remove(at)?;
        self.count();
        Some(entry)
    }

    fn count(&self) {
        // Release pairs with the Acquire in `take_kept`, so that the joiner, who
        // was woken after this, does not take the short cut.
        KEPT_COUNT.store(self.entries.len(), Ordering::Release);
    }
}

fn keep(number: u64, entry: Entry) {
    let mut panics = panics();
    let pushed_out = if panics.entries.len() == KEPT {
        panics.entries.pop_front()
    } else {
        None
    };
    panics.entries.push_back((number, entry));
    panics.count();
    drop(panics);
    discard(pushed_out);
}

fn take_kept(number: u64) -> Option<Payload> {
    if KEPT_COUNT.load(Ordering::Acquire) == 0 {
        return None;
    }
    let mut panics = panics();
    let at = panics.position(number)?;
    let shared = match panics.remove(at)? {
        Entry::Kept(shared) => Some(shared),
        // Under the lock, which the outcome takes before it lets go.
        Entry::InOutcome(weak) => weak.upgrade(),
    };
    drop(panics);
    take(&shared?)
}

/// Numbers for tasks, handed out to threads in blocks so that spawning does not
/// contend for one counter. Zero is never used.
#[inline]
fn next_number() -> u64 {
    thread_local! {
        // The next number; at the start of a block, which is not ours, a new block
        // is needed.
        static NEXT: Cell<u64> = const { Cell::new(0) };
    }
    let mut number = NEXT.get();
    if number % BLOCK == 0 {
        number = new_block();
    }
    NEXT.set(number + 1);
    number
}

const BLOCK: u64 = 1024;

/// The first number of a new block that the caller may use. The one before it is
/// left out, for it marks a start.
#[cold]
fn new_block() -> u64 {
    static NEXT_BLOCK: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only uniqueness matters.
    NEXT_BLOCK.fetch_add(1, Ordering::Relaxed) * BLOCK + 1
}

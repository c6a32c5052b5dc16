//! Closures that may block: slots, the line for them, and the threads.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU8, Ordering, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use fourway_adapt::fork;
use fourway_core::{
    AbortHandle, BlockOnError, JoinError, Offload, TryOffloadError,
    context::Context as Mark,
    implement::{self, Abort, Parking, RuntimeId, Slot, discard, fork::Process, refuse_by},
    layer::Layers,
    task::Metadata,
    values::Values,
};

use crate::{
    Sim,
    block_on::{self, note},
    carrier::{Carrier, Order, Role},
    failure::Wait,
    state::{Guard, Inner, Runnable, State, lock},
    trace::{Action, Fault, UnitId, UnitKind},
};

impl Offload for Sim {
    type OffloadTask<T: Send + 'static> = OffloadTask<T>;

    #[track_caller]
    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let inner = self.inner();
        if inner.is_inherited() {
            return OffloadTask::forked(inner, metadata, f);
        }
        submit(inner, inner.lock(), metadata, f)
    }

    #[track_caller]
    fn try_offload_with<F, T>(
        &self,
        metadata: Metadata,
        f: F,
    ) -> Result<OffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let inner = self.inner();
        if inner.is_inherited() {
            return Err(TryOffloadError::forked(f));
        }
        let state = inner.lock();
        if state.closed || state.has_crashed(inner.current_unit(&state)) {
            drop(state);
            return Err(TryOffloadError::shutdown(f));
        }
        // A closure that finds a free slot does not wait; only closures that would wait count.
        let pool = &state.pool;
        let waiting =
            (pool.queue.len() + pool.running + 1).saturating_sub(inner.config.offload_limit);
        if inner
            .config
            .offload_queue
            .is_some_and(|bound| waiting > bound)
        {
            drop(state);
            return Err(TryOffloadError::full(f));
        }
        // Under the same lock: in between another thread could take the last place.
        Ok(submit(inner, state, metadata, f))
    }
}

/// Puts a closure in line.
fn submit<F, T>(
    inner: &Arc<Inner>,
    mut state: Guard<'_>,
    metadata: Metadata,
    f: F,
) -> OffloadTask<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let location = metadata.location();
    inner.check_foreign(&mut state);
    let crashed = state.has_crashed(inner.current_unit(&state));
    let closed = state.closed || crashed;
    let (job, task) = closure(inner, &mut state, UnitKind::Closure, metadata, f);
    if closed {
        drop(state);
        job.refuse(JoinError::shutdown());
        if crashed {
            inner.point(location, false);
        }
        return task;
    }
    state.pool.queue.push_back(job);
    inner.pump(&mut state);
    inner.kick(state);
    inner.point(location, false);
    task
}

/// The pool's part of the state.
#[derive(Default)]
pub(crate) struct Pool {
    /// Closures that wait for a slot, in order.
    pub(crate) queue: VecDeque<Arc<dyn Job>>,
    /// Slots that are taken, by closures that run or are about to.
    pub(crate) running: usize,
    pub(crate) lent: usize,
    /// Threads whose closures want their slot back, in order.
    returning: VecDeque<Arc<Carrier>>,
    /// Threads that have nothing to do.
    pub(crate) idle: Vec<Arc<Carrier>>,
    pub(crate) threads: usize,
    pub(crate) dropped: usize,
}

impl Inner {
    /// Gives free slots to those in line.
    fn pump(&self, state: &mut State) {
        let pool = &mut state.pool;
        while pool.running < self.config.offload_limit && pool.returning.is_empty() {
            let Some(job) = pool.queue.pop_front() else {
                return;
            };
            pool.running += 1;
            job.has_slot();
            state.threads.push(Runnable::Start(job));
        }
    }

    /// A slot has come free. Returning closures go before waiting ones (OF-4, nested offload never
    /// starves).
    pub(crate) fn release(&self, state: &mut State) {
        state.pool.running -= 1;
        if let Some(carrier) = state.pool.returning.pop_front() {
            state.pool.running += 1;
            state.pool.lent -= 1;
            carrier.slot.store(true, Relaxed);
            state.blocked.remove(&carrier.number);
            state.threads.push(Runnable::Resume(carrier));
        } else {
            self.pump(state);
        }
    }

    /// The calling thread's closure is about to wait. Did it have a slot to lend?
    pub(crate) fn lend(&self, state: &mut State, me: &Carrier) -> bool {
        if !me.slot.swap(false, Relaxed) {
            return false;
        }
        state.event(Some(me.unit()), Action::Lent);
        state.pool.lent += 1;
        self.release(state);
        true
    }

    /// It goes on, as soon as it has a slot again.
    pub(crate) fn take_back(self: &Arc<Self>, me: &Arc<Carrier>) {
        let mut state = self.regain(self.lock(), me);
        let mut parking = None;
        if !self.has_slot_for(&state) {
            drop(state);
            parking = Parking::begin();
            state = self.regain(self.lock(), me);
        }
        let unit = me.unit();
        if self.has_slot_for(&state) {
            state.pool.running += 1;
            state.pool.lent -= 1;
            me.slot.store(true, Relaxed);
        } else {
            me.note(Wait::Slot);
            state.event(Some(unit), Action::Waits);
            me.since.store(state.clock, Relaxed);
            state.pool.returning.push_back(me.clone());
            state.blocked.insert(me.number);
            self.switch(state, me, false);
            drop(me.take_waits());
            state = self.lock();
            if me.evicted.swap(false, Relaxed) && !me.slot.swap(true, Relaxed) {
                let returning = &mut state.pool.returning;
                returning.retain(|carrier| carrier.number != me.number);
                state.pool.running += 1;
                state.pool.lent -= 1;
            }
        }
        state.event(Some(unit), Action::TookBack);
        drop(state);
        drop(parking);
    }

    /// Is there a slot for a closure that comes back?
    fn has_slot_for(&self, state: &State) -> bool {
        // A thread that is sent home needs none.
        let evicting = state.phase >= crate::state::Phase::Evicting;
        let pool = &state.pool;
        evicting || (pool.running < self.config.offload_limit && pool.returning.is_empty())
    }

    /// Finds a thread for a closure that has a slot. `None`: it was refused.
    pub(crate) fn carry<'a>(
        self: &'a Arc<Self>,
        mut state: Guard<'a>,
        job: Arc<dyn Job>,
    ) -> (Guard<'a>, Option<Arc<Carrier>>) {
        let id = job.id();
        job.starts();
        if !job.is_offloaded() {
            return match self.start(&mut state, Role::Own, id, run_own) {
                Ok(carrier) => {
                    carrier.give(Order::Run(job));
                    (state, Some(carrier))
                }
                Err(error) => {
                    drop(state);
                    job.refuse(JoinError::unstarted(error));
                    (self.lock(), None)
                }
            };
        }
        if let Some(carrier) = state.pool.idle.pop() {
            carrier.set_unit(id);
            carrier.slot.store(true, Relaxed);
            carrier.give(Order::Run(job));
            return (state, Some(carrier));
        }
        let started = if state.faults.no_thread() {
            state.event(Some(id), Action::Fault(Fault::NoThread));
            Err(std::io::Error::other("the simulation gives no thread"))
        } else {
            self.start(&mut state, Role::Pool, id, serve)
        };
        match started {
            Ok(carrier) => {
                state.pool.threads += 1;
                carrier.slot.store(true, Relaxed);
                carrier.give(Order::Run(job));
                (state, Some(carrier))
            }
            Err(_) if state.pool.threads > 0 && !state.strict => {
                // The closure waits for one of the existing threads.
                state.pool.running -= 1;
                job.waits();
                state.pool.queue.push_front(job);
                (state, None)
            }
            Err(error) => {
                self.release(&mut state);
                drop(state);
                job.refuse(JoinError::unstarted(error));
                (self.lock(), None)
            }
        }
    }
}

/// The life of a thread of the pool.
fn serve(inner: &Arc<Inner>, me: &Arc<Carrier>) {
    me.wait_turn();
    loop {
        match me.take_order() {
            Some(Order::Run(job)) => run(inner, me, &job),
            Some(Order::Exit) => return,
            Some(Order::Poll(_) | Order::Destroy(_)) | None => {}
        }
        let state = inner.lock();
        if state.strict {
            drop(state);
            me.wait_turn();
        } else {
            drop(state);
            if !me.wait_turn_for(inner.config.keep_alive) {
                let mut state = inner.lock();
                let idle = &mut state.pool.idle;
                if let Some(at) = idle.iter().position(|one| one.number == me.number) {
                    idle.remove(at);
                    state.pool.threads -= 1;
                    inner.forget(state, me);
                    return;
                }
                // It was just called.
                drop(state);
                me.wait_turn();
            }
        }
    }
}

fn run(inner: &Arc<Inner>, me: &Arc<Carrier>, job: &Arc<dyn Job>) {
    let id = job.id();
    inner.lock().event(Some(id), Action::Ran);
    {
        let _mark = implement::enter(Mark::Blocking, Some(inner.id));
        Layers::default().scope(|| Values::default().scope(|| job.run()));
    }
    let mut state = inner.regain(inner.lock(), me);
    drop(me.take_waits());
    state.event(Some(id), Action::Ended);
    me.slot.store(false, Relaxed);
    inner.release(&mut state);
    // Idle before the result is seen: a caller that then submits the next closure finds the thread.
    state.pool.idle.push(me.clone());
    let wakers = state.take_end_wakers();
    drop(state);
    job.publish();
    wakers.into_iter().for_each(implement::wake);
    let state = inner.lock();
    if state.holder == Some(me.number) {
        inner.leave(state, me);
    } else {
        inner.kick(state);
    }
}

/// The life of a thread of [`Sim::thread`].
fn run_own(inner: &Arc<Inner>, me: &Arc<Carrier>) {
    me.wait_turn();
    if let Some(Order::Run(job)) = me.take_order() {
        let id = job.id();
        inner.lock().event(Some(id), Action::Ran);
        job.run();
        let mut state = inner.regain(inner.lock(), me);
        state.event(Some(id), Action::Ended);
        drop(state);
        job.publish();
        inner.leave(inner.regain(inner.lock(), me), me);
    }
    if inner.lock().strict {
        // The run's end calls.
        me.wait_turn();
    } else {
        inner.forget(inner.lock(), me);
    }
}

impl Sim {
    /// Starts a plain thread that takes part in the simulation, in place of [`std::thread::spawn`].
    /// It may block by `block_on` and `.wait()`, takes no slot of the pool, and runs no async code.
    ///
    /// Its handle is that of a closure: dropped, a thread that has not begun never does, and
    /// one that runs goes on.
    #[track_caller]
    pub fn thread<F, T>(&self, f: F) -> OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let metadata = Metadata::caller();
        let location = metadata.location();
        let inner = self.inner();
        if inner.is_inherited() {
            return OffloadTask::forked(inner, metadata, f);
        }
        let mut state = inner.lock();
        inner.check_foreign(&mut state);
        let crashed = state.has_crashed(inner.current_unit(&state));
        let closed = state.closed || crashed;
        let (job, task) = closure(inner, &mut state, UnitKind::Thread, metadata, f);
        if closed {
            drop(state);
            job.refuse(JoinError::shutdown());
            if crashed {
                inner.point(location, false);
            }
            return task;
        }
        job.has_slot();
        state.threads.push(Runnable::Start(job));
        inner.kick(state);
        inner.point(location, false);
        task
    }
}

// ---------------------------------------------------------------------------
// One closure

/// A closure that has not ended.
pub(crate) trait Job: Send + Sync {
    fn id(&self) -> UnitId;
    /// Does it take a slot of the pool?
    fn is_offloaded(&self) -> bool;
    // The stages, each of which is entered under the simulation's lock.
    fn waits(&self);
    fn has_slot(&self);
    fn starts(&self);
    /// Runs the closure and keeps the result back. An unwanted result is destroyed here: its
    /// destructor is part of the closure (OF-3, cancelled closures).
    fn run(&self);
    /// Hands the result to the joiner.
    fn publish(&self);
    /// Destroys the closure, which has not started and is in no list any more.
    fn refuse(&self, error: JoinError);
}

/// Waits for a slot.
const QUEUED: u8 = 0;
/// Has one, and is ready.
const READY: u8 = 1;
/// Only its thread decides its fate.
const STARTED: u8 = 2;

struct Closure<F, T> {
    id: UnitId,
    kind: UnitKind,
    inner: Weak<Inner>,
    runtime: RuntimeId,
    process: Process,
    /// Written under the simulation's lock.
    stage: AtomicU8,
    cancelled: AtomicBool,
    body: Mutex<Option<F>>,
    slot: Slot<T>,
}

fn closure<F, T>(
    inner: &Arc<Inner>,
    state: &mut State,
    kind: UnitKind,
    metadata: Metadata,
    f: F,
) -> (Arc<dyn Job>, OffloadTask<T>)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let parent = inner.current_unit(state);
    let id = state.unit(kind, metadata.name(), Some(metadata.location()), parent);
    let cell = Arc::new(Closure {
        id,
        kind,
        inner: Arc::downgrade(inner),
        runtime: inner.id,
        process: inner.process,
        stage: AtomicU8::new(QUEUED),
        cancelled: AtomicBool::new(false),
        body: Mutex::new(Some(f)),
        slot: Slot::new(),
    });
    let task = OffloadTask {
        cell: Some(cell.clone()),
        metadata,
        id,
        inner: inner.clone(),
        joined: false,
    };
    (cell, task)
}

impl<F, T> Job for Closure<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn id(&self) -> UnitId {
        self.id
    }

    fn is_offloaded(&self) -> bool {
        self.kind == UnitKind::Closure
    }

    fn waits(&self) {
        self.stage.store(QUEUED, Relaxed);
    }

    fn has_slot(&self) {
        self.stage.store(READY, Relaxed);
    }

    fn starts(&self) {
        self.stage.store(STARTED, Relaxed);
    }

    // This repeats code of the kit's pool. There a claim goes before it, here the stages; the
    // result slot of both is the core's. The rest is the order that two rules ask for (OF-3,
    // cancelled closures; CA-4, destructors that panic or block), which the suite checks in both.
    // In the kit it would be a public function for one user.
    fn run(&self) {
        let Some(f) = lock(&self.body).take() else {
            return;
        };
        // Acquire pairs with the Release in `abort`. A cancellation that came after the
        // closure was handed to its thread still keeps it from running.
        let result = if self.cancelled.load(Ordering::Acquire) {
            destroyed(f)
        } else {
            // Unwind safety: the closure is gone either way.
            match catch_unwind(AssertUnwindSafe(f)) {
                // Cancelled while it ran: its output goes, a panic is kept.
                Ok(output) if self.cancelled.load(Ordering::Acquire) => destroyed(output),
                result => result.map_err(JoinError::panicked),
            }
        };
        if let Some(unwanted) = self.slot.seal(result) {
            discard(unwanted);
        }
    }

    fn publish(&self) {
        self.slot.unseal();
    }

    fn refuse(&self, error: JoinError) {
        self.stage.store(STARTED, Relaxed);
        let f = lock(&self.body).take();
        if let Some(f) = f {
            let result = match refuse_by(Some(self.runtime), &error, || destroyed::<_, T>(f)) {
                Err(panic) if panic.is_panic() => Err(panic),
                _ => Err(error),
            };
            self.slot.fill(result);
        }
        // It never runs, so that no event of its end does this. Its destructor has run as part of
        // its node.
        if let Some(inner) = self.inner.upgrade() {
            if !inner.is_inherited() {
                inner.lock().lives.remove(&self.id.0);
            }
        }
    }
}

/// Drops a value: an error either way, with the payload if its destructor panicked (CA-4,
/// destructors that panic or block).
fn destroyed<V, T>(value: V) -> Result<T, JoinError> {
    Err(match catch_unwind(AssertUnwindSafe(|| drop(value))) {
        Ok(()) => JoinError::cancelled(),
        Err(payload) => JoinError::panicked(payload),
    })
}

impl<F, T> Abort for Closure<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn abort(&self) {
        // Pairs with the Acquire loads in `run`.
        self.cancelled.store(true, Ordering::Release);
        let Some(inner) = self.inner.upgrade() else {
            return;
        };
        if inner.is_inherited() {
            return;
        }
        let mut state = inner.lock();
        let taken = match self.stage.load(Relaxed) {
            QUEUED => {
                let queue = &mut state.pool.queue;
                let at = queue.iter().position(|job| job.id() == self.id);
                at.and_then(|at| queue.remove(at))
            }
            READY => {
                let is_it = |runnable: &Runnable| matches!(runnable, Runnable::Start(job) if job.id() == self.id);
                let at = state.threads.iter().position(is_it);
                let job = at.map(|at| state.threads.remove(at));
                if job.is_some() && self.is_offloaded() {
                    inner.release(&mut state);
                }
                match job {
                    Some(Runnable::Start(job)) => Some(job),
                    _ => None,
                }
            }
            _ => None,
        };
        let Some(job) = taken else { return };
        inner.check_foreign(&mut state);
        self.stage.store(STARTED, Relaxed);
        let by = inner.current_unit(&state);
        state.event(by, Action::Cancelled(self.id));
        let wakers = state.take_end_wakers();
        inner.kick(state);
        self.refuse(JoinError::cancelled());
        drop(job);
        wakers.into_iter().for_each(implement::wake);
    }

    fn is_finished(&self) -> bool {
        // In a forked child it has resolved.
        !self.process.is_this() || self.slot.is_full()
    }
}

/// The handle's side of a closure, without the closure's type.
trait Joinable<T>: Abort {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>>;
    fn abandon(&self);
    // Upcasting a trait object needs a newer compiler than the one we promise.
    fn into_abort(self: Arc<Self>) -> Arc<dyn Abort>;
}

impl<F, T> Joinable<T> for Closure<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        self.slot.poll(cx)
    }

    fn abandon(&self) {
        self.slot.abandon();
    }

    fn into_abort(self: Arc<Self>) -> Arc<dyn Abort> {
        self
    }
}

/// The handle of a closure in a [`Sim`].
///
/// See [`fourway_core::Task`] for what it promises.
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct OffloadTask<T: 'static> {
    // `None` once detached or being dropped, and in a forked child.
    cell: Option<Arc<dyn Joinable<T>>>,
    metadata: Metadata,
    id: UnitId,
    inner: Arc<Inner>,
    joined: bool,
}

impl<T: 'static> OffloadTask<T> {
    /// That of a closure that was handed in after a fork, and is dropped unrun (FK-1, forked
    /// children).
    fn forked<F>(inner: &Arc<Inner>, metadata: Metadata, f: F) -> Self {
        // Its destructor may panic, and the submitter goes on.
        let error = JoinError::forked();
        let dropped = || refuse_by(Some(inner.id), &error, || drop(f));
        drop(catch_unwind(AssertUnwindSafe(dropped)));
        Self {
            cell: None,
            metadata,
            id: UnitId(u32::MAX),
            inner: inner.clone(),
            joined: true,
        }
    }

    fn cell(&self) -> &Arc<dyn Joinable<T>> {
        let cell = self.cell.as_ref();
        cell.expect("a task handle is gone after `detach`")
    }

    /// The cell, unless it is one from before a fork: its content is the parent's.
    fn take(&mut self) -> Option<Arc<dyn Joinable<T>>> {
        let cell = self.cell.take()?;
        if self.inner.is_inherited() {
            std::mem::forget(cell);
            return None;
        }
        Some(cell)
    }

    /// The closure's number in the traces.
    #[must_use]
    pub fn unit(&self) -> UnitId {
        self.id
    }
}

/// Of a closure that never was.
struct Forked;

impl Abort for Forked {
    fn abort(&self) {}

    fn is_finished(&self) -> bool {
        true
    }
}

impl<T: Send + 'static> Future for OffloadTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.inner.is_inherited() {
            return Poll::Ready(Err(fork::error(&self.metadata)));
        }
        let mut poll = self.cell().poll(cx);
        match &mut poll {
            Poll::Pending => note(&self.inner, Wait::Join(self.id)),
            Poll::Ready(result) => {
                if let Err(error) = result {
                    error.set_task(&self.metadata);
                }
                self.joined = true;
            }
        }
        poll
    }
}

impl<T: Send + 'static> fourway_core::Task<T> for OffloadTask<T> {
    fn is_finished(&self) -> bool {
        self.inner.is_inherited() || self.cell().is_finished()
    }

    fn abort(&self) {
        if !self.inner.is_inherited() {
            self.cell().abort();
        }
    }

    fn abort_handle(&self) -> AbortHandle {
        match &self.cell {
            Some(cell) => AbortHandle::new(cell.clone().into_abort()),
            None => AbortHandle::new(Arc::new(Forked)),
        }
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }

    fn detach(mut self) {
        if let Some(cell) = self.take() {
            cell.abandon();
        }
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }

    #[track_caller]
    fn wait(self) -> Result<T, JoinError> {
        block_on::wait(&self.inner.clone(), self)
    }

    fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
        block_on::try_wait(&self.inner.clone(), self)
    }
}

impl<T: 'static> Drop for OffloadTask<T> {
    fn drop(&mut self) {
        let Some(cell) = self.take() else { return };
        if !self.joined {
            // First give up the result, so that the output of a running closure is dropped
            // where it ends.
            cell.abandon();
            cell.abort();
        }
    }
}

impl<T: 'static> fmt::Debug for OffloadTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OffloadTask")
            .field("unit", &self.id)
            .finish_non_exhaustive()
    }
}

//! Tasks, and the threads that poll them.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
};

use fourway_adapt::fork;
use fourway_core::{
    AbortHandle, Spawner, Task as _,
    implement::{self, BoxFuture, Extensions, RuntimeId, join},
    task::Metadata,
};

use crate::{
    Sim, Task,
    carrier::{Carrier, Order},
    failure::Wait,
    life::Life,
    state::{Guard, Inner, lock},
    trace::{Action, Fault, UnitId, UnitKind},
};

impl Spawner for Sim {
    type Task<T: Send + 'static> = Task<T>;

    #[track_caller]
    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        Self::spawn_on(self.inner(), None, metadata, future)
    }

    fn runtime_id(&self) -> Option<RuntimeId> {
        Some(self.inner().id)
    }

    fn extensions(&self) -> Option<Extensions> {
        Some(self.inner().extensions.clone())
    }
}

impl Sim {
    /// Spawns a task on that node, or else on the caller's node, if any.
    pub(crate) fn spawn_on<F>(
        inner: &Arc<Inner>,
        node: Option<Arc<Life>>,
        metadata: Metadata,
        future: F,
    ) -> Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = future.into_future();
        let (name, location) = (metadata.name().map(str::to_owned), metadata.location());
        let (runner, join) = join::task(metadata, future, Some(inner.id));
        if inner.is_inherited() {
            fork::refuse(|| drop(runner));
            return Task::new(join, UnitId(u32::MAX), inner.clone());
        }
        let mut state = inner.lock();
        inner.check_foreign(&mut state);
        let parent = inner.current_unit(&state);
        let crashed = state.has_crashed(parent);
        if state.closed || crashed {
            drop(state);
            // Its handle says that it was shut down (SP-3, spawn after the shutdown).
            drop(runner);
            if crashed {
                inner.point(location, false);
            }
            return Task::new(join, UnitId(u32::MAX), inner.clone());
        }
        let id = state.unit(UnitKind::Task, name.as_deref(), Some(location), parent);
        if let Some(node) = node {
            state.lives.insert(id.0, node);
        }
        let chosen = state.faults.may_cancel(name.as_deref());
        let cell = Arc::new(TaskCell {
            id,
            inner: inner.clone(),
            status: AtomicU8::new(READY),
            future: Mutex::new(None),
            waits: Mutex::new(Vec::new()),
            since: AtomicU64::new(state.clock),
            abort: OnceLock::new(),
        });
        if chosen {
            let _ = cell.abort.set(join.abort_handle());
        }
        *lock(&cell.future) = Some(Box::pin(runner));
        state.alive.insert(id.0, Arc::downgrade(&cell));
        state.tasks.push(cell);
        inner.kick(state);
        inner.point(location, false);
        Task::new(join, id, inner.clone())
    }
}

/// Waits for a wake.
const IDLE: u8 = 0;
/// In the list of those that are ready, or held up.
const READY: u8 = 1;
const RUNNING: u8 = 2;
/// Running, and to run again.
const WOKEN: u8 = 3;
/// To be destroyed.
const DOOMED: u8 = 4;
const DONE: u8 = 5;

/// A task. Only its wakers and its poller have it: it goes with the last of them (WA-3, lost tasks
/// are destroyed).
pub(crate) struct TaskCell {
    pub(crate) id: UnitId,
    inner: Arc<Inner>,
    /// Written under the simulation's lock.
    status: AtomicU8,
    /// Taken by the thread that polls or destroys it, one at a time.
    future: Mutex<Option<BoxFuture>>,
    waits: Mutex<Vec<Wait>>,
    /// When it began its last wait, on the virtual clock. Written under the simulation's lock.
    since: AtomicU64,
    /// For a task that may be cancelled as a fault.
    abort: OnceLock<AbortHandle>,
}

impl TaskCell {
    fn poll(&self, waker: &Waker) -> Poll<()> {
        let mut future = lock(&self.future);
        match &mut *future {
            // Contains all panics.
            Some(future) => Pin::new(future).poll(&mut Context::from_waker(waker)),
            None => Poll::Ready(()),
        }
    }

    /// Destroys the future, if it is still there. Do not call it under the lock.
    pub(crate) fn destroy(&self) {
        let future = lock(&self.future).take();
        let destroyed = future.is_some();
        drop(future);
        let mut state = self.inner.lock();
        self.status.store(DONE, Relaxed);
        if state.alive.remove(&self.id.0).is_some() && destroyed {
            state.event(Some(self.id), Action::Destroyed);
        }
        let wakers = state.take_end_wakers();
        drop(state);
        wakers.into_iter().for_each(implement::wake);
    }

    /// Call it under the lock: the task is not polled any more. `false` if it is being polled, and
    /// must be destroyed after that.
    pub(crate) fn doom(&self) -> bool {
        let idle = matches!(self.status.load(Relaxed), IDLE | READY);
        if idle {
            self.status.store(DOOMED, Relaxed);
        }
        idle
    }

    /// Call it under the lock: the task is about to be polled.
    pub(crate) fn begin(&self) {
        self.status.store(RUNNING, Relaxed);
    }

    pub(crate) fn waits(&self) -> Vec<Wait> {
        lock(&self.waits).clone()
    }

    pub(crate) fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }

    /// To be called under the lock: does it wait for a wake?
    pub(crate) fn is_idle(&self) -> bool {
        self.status.load(Relaxed) == IDLE
    }

    /// Polls the task without a wake. Would it have gone on?
    pub(crate) fn probe(self: &Arc<Self>) -> bool {
        if self.status.load(Relaxed) != IDLE {
            return false;
        }
        self.status.store(RUNNING, Relaxed);
        let ended = self.poll(&Waker::from(self.clone())).is_ready();
        let _state = self.inner.lock();
        let woken = self.status.load(Relaxed) == WOKEN;
        self.status.store(IDLE, Relaxed);
        ended || woken
    }
}

impl Wake for TaskCell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.inner.is_inherited() {
            return;
        }
        let mut state = self.inner.lock();
        self.inner.check_foreign(&mut state);
        match self.status.load(Relaxed) {
            IDLE => {
                let by = self.inner.current_unit(&state);
                state.event(by, Action::Woke(self.id));
                self.status.store(READY, Relaxed);
                state.tasks.push(self.clone());
                self.inner.kick(state);
            }
            RUNNING => self.status.store(WOKEN, Relaxed),
            _ => {}
        }
    }
}

impl Drop for TaskCell {
    fn drop(&mut self) {
        if self.inner.is_inherited() {
            // The future's content is the parent's.
            let future = self.future.get_mut();
            std::mem::forget(future.unwrap_or_else(PoisonError::into_inner).take());
            return;
        }
        if self.status.load(Relaxed) == DONE {
            return;
        }
        // It can never be woken again. Its future is destroyed with the rest.
        let future = lock(&self.future).take();
        let mut state = self.inner.lock();
        let known = state.alive.remove(&self.id.0).is_some();
        if known && future.is_some() {
            state.event(Some(self.id), Action::Lost);
        }
        let wakers = state.take_end_wakers();
        drop(state);
        drop(future);
        wakers.into_iter().for_each(implement::wake);
    }
}

/// The life of a worker.
pub(crate) fn work(inner: &Arc<Inner>, me: &Arc<Carrier>) {
    me.wait_turn();
    loop {
        match me.take_order() {
            Some(Order::Poll(cell)) => {
                inner.lock().event(Some(cell.id), Action::Ran);
                let poll = cell.poll(&Waker::from(cell.clone()));
                let state = inner.regain(inner.lock(), me);
                after_poll(inner, me, state, cell, poll);
            }
            Some(Order::Destroy(cell)) => {
                me.set_unit(cell.id);
                inner.lock().current = Some(cell.id);
                cell.destroy();
                drop(cell);
                let mut state = inner.regain(inner.lock(), me);
                state.free_workers.push(me.clone());
                inner.switch(state, me, false);
            }
            Some(Order::Exit) => return,
            Some(Order::Run(_)) | None => {
                // The turn without an order: nothing to do, then.
                let mut state = inner.regain(inner.lock(), me);
                state.free_workers.push(me.clone());
                inner.switch(state, me, false);
            }
        }
    }
}

fn after_poll<'a>(
    inner: &'a Arc<Inner>,
    me: &Arc<Carrier>,
    mut state: Guard<'a>,
    cell: Arc<TaskCell>,
    poll: Poll<()>,
) {
    if me.leave_in_place() {
        // It was not counted since `block_in_place`.
    } else {
        state.busy -= 1;
    }
    let waits = me.take_waits();
    let closed = state.closed;
    let crashed = state.has_crashed(Some(cell.id));
    let mut ready = false;
    if poll.is_ready() || closed || crashed {
        if poll.is_ready() {
            state.alive.remove(&cell.id.0);
            cell.status.store(DONE, Relaxed);
            state.event(Some(cell.id), Action::Ended);
            let wakers = state.take_end_wakers();
            drop(state);
            drop(lock(&cell.future).take());
            wakers.into_iter().for_each(implement::wake);
        } else {
            drop(state);
            // A node that has crashed is gone at that instant.
            let before = me.handing_over.swap(crashed, Relaxed);
            cell.destroy();
            me.handing_over.store(before, Relaxed);
        }
        drop(cell);
        state = inner.regain(inner.lock(), me);
    } else {
        if cell.status.load(Relaxed) == WOKEN {
            cell.status.store(READY, Relaxed);
            state.event(Some(cell.id), Action::Yielded);
            state.gave_way = Some(cell.id);
            ready = true;
        } else {
            cell.status.store(IDLE, Relaxed);
            cell.since.store(state.clock, Relaxed);
            state.event(Some(cell.id), Action::Waits);
        }
        let before = std::mem::replace(&mut *lock(&cell.waits), waits);
        drop(before);
        let abort = cell.abort.get().filter(|_| state.faults.cancels());
        if let Some(abort) = abort {
            state.event(Some(cell.id), Action::Fault(Fault::Cancel));
            drop(state);
            if ready {
                inner.lock().tasks.push(cell.clone());
            }
            abort.abort();
            drop(cell);
            state = inner.regain(inner.lock(), me);
        } else if ready {
            state.tasks.push(cell);
        } else if state.strict && Arc::strong_count(&cell) > 1 {
            // Not the last reference, because no other thread runs.
            drop(cell);
        } else {
            // Its destructor may be the program's.
            drop(state);
            drop(cell);
            state = inner.regain(inner.lock(), me);
        }
    }
    state.free_workers.push(me.clone());
    inner.switch(state, me, ready);
}

/// The handle's side, for those who are told nothing else.
impl std::fmt::Debug for TaskCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskCell").field("id", &self.id).finish()
    }
}

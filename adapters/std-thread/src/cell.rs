//! One task: its future, its state, its result, in one allocation.
//!
//! # Who may touch what
//!
//! The `state` says which thread has the future. While [`RUNNING`] is set, that is the thread that
//! runs the task. When there is no reference left, it is the thread that dropped the last one.
//!
//! ```text
//!            wake                    run
//!   IDLE ───────────▶ QUEUED ────────────────▶ RUNNING ──ready, cancelled──▶ DONE
//!    ▲                  ▲                       │    │
//!    │                  │                       │    └──wake──▶ RUNNING + QUEUED
//!    │                  └───────────────────────┼─────pending──────┘
//!    └──────────────────pending─────────────────┘
//! ```
//!
//! A wake moves `IDLE` to `QUEUED` and puts the task into the executor's queue,
//! or adds `QUEUED` to `RUNNING`, which has the running thread put it there. So a
//! task is in the queue at most once, each wake is followed by a poll, and wakes
//! before that poll coalesce (WA-1, a poll for each wake).
//!
//! The future is there until the running thread destroys it, and then a result takes its
//! place, all before that thread sets [`DONE`]. So a task without `DONE` that no thread runs has a
//! future.
//!
//! The result belongs to the running thread until it sets `DONE`. From then on it belongs to the
//! handle if [`JOINABLE`] is set at that moment; otherwise the running thread keeps it and drops
//! it. The handle takes the result out or drops it, and clears `JOINABLE`. So when the last
//! reference to a `DONE` task is dropped, the result is gone.
//!
//! The joiner's waker belongs to the handle while [`JOINER`] is not set. Setting `JOINER`, or
//! taking it back, fails once the task is `DONE`. If it is set at that moment, the waker belongs to
//! the running thread, which takes it out and wakes the joiner. (The bits are those of
//! Tokio's tasks, `JOIN_WAKER` and `JOIN_INTEREST`; but Tokio's handle may read the
//! waker at any time, so that its task has to leave it where it is until the handle is
//! gone. Here it is released when the task is done: JO-1, a task is
//! awaited anywhere.)
//!
//! # Who keeps it alive
//!
//! The state also counts references. Wakers, handles and the queue hold one, the
//! executor's registry of suspended tasks holds none. A pending task without wakers
//! and handles is destroyed with its last reference (WA-3, lost tasks are destroyed). That is
//! impossible with `async-task`, where every reference keeps the task: a registry that can destroy
//! all tasks at shutdown (JO-5, every join resolves) would have to hold wakers, and keep such tasks
//! for ever.

#![allow(
    unsafe_code,
    reason = "one allocation a task, one word of state, thin pointers in the queues"
)]

use std::{
    future::Future,
    marker::PhantomData,
    mem::{ManuallyDrop, forget},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    ptr::NonNull,
    sync::Arc,
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
};

use fourway_adapt::{discard, fork, wakes_a_thread};
use fourway_core::{
    JoinError, context,
    implement::{self, RuntimeId},
    task::Metadata,
};

use crate::{
    executor::Executor,
    registry::Links,
    sync::{
        atomic::{AtomicUsize, Ordering, fence},
        cell::UnsafeCell,
    },
    worker,
};

/// In the queue, or about to be put there by the thread that set this. At shutdown it may be
/// destroyed before it gets there.
const QUEUED: usize = 1;
/// Being polled or destroyed.
const RUNNING: usize = 1 << 1;
/// The future is gone.
const DONE: usize = 1 << 2;
/// To be destroyed instead of polled.
const ABORTED: usize = 1 << 3;
/// There is a handle, which may want the output.
const JOINABLE: usize = 1 << 4;
/// There is a joiner's waker.
const JOINER: usize = 1 << 5;
/// The task may be in the registry. Set once, by the thread that runs it.
const REGISTERED: usize = 1 << 6;
/// One reference.
const REF: usize = 1 << 7;
const REFS: usize = !(REF - 1);

/// The part that all tasks have in common.
#[repr(C)]
pub(crate) struct Header {
    state: AtomicUsize,
    /// That of a `JoinVTable` of the task's output, which it may be cast to.
    vtable: NonNull<VTable>,
    executor: Arc<Executor>,
    /// Guarded by the registry's lock.
    pub(crate) links: Links,
    joiner: UnsafeCell<Option<Waker>>,
}

/// The functions that depend on the type of the future. Each takes a pointer to the header of a
/// cell of that type. The first part of a [`JoinVTable`].
struct VTable {
    /// Polls the future; `true` if there is a result now. For the thread that runs the task.
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> bool,
    /// Destroys the future and leaves a result. For the thread that runs the task.
    end: unsafe fn(NonNull<Header>, JoinError),
    /// Drops the result. For the owner of the result, instead of `take_output`.
    drop_output: unsafe fn(NonNull<Header>),
    /// Destroys the rest and frees the memory. For the thread that drops the last reference.
    free: unsafe fn(NonNull<Header>),
}

/// The functions of a task whose output is a `T`. The common part comes first, so that a pointer to
/// it is a pointer to the whole.
#[repr(C)]
struct JoinVTable<T> {
    common: VTable,
    take_output: TakeOutput<T>,
}

/// Moves the result out, and says in an error which task it is about. For the owner of the result,
/// instead of `drop_output`.
// Returns what a join returns, so that the result goes from the cell to the caller's memory at once.
// A processor has to wait when it loads what was stored in other parts a moment ago, and an output
// that is moved once more, one word further on, is such a load.
type TakeOutput<T> = unsafe fn(NonNull<Header>, &Metadata) -> Poll<Result<T, JoinError>>;

/// The header comes first, so that a pointer to the header is a pointer to the cell.
#[repr(C)]
struct Cell<F: Future> {
    header: Header,
    stage: UnsafeCell<Stage<F>>,
}

/// The future of a task, and later its result. No tag says which it is, or whether it has been
/// moved out or dropped. The state does, as the module's documentation says.
union Stage<F: Future> {
    future: ManuallyDrop<F>,
    result: ManuallyDrop<Result<F::Output, JoinError>>,
}

/// Makes a task of `future`, due for its first poll, and a handle on it.
pub(crate) fn task<F>(executor: &Arc<Executor>, future: F) -> (TaskRef, Join<F::Output>)
where
    F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
{
    let task = allocate(executor, future, QUEUED | JOINABLE | (2 * REF));
    let join = Join {
        // The second of the references just made.
        task: TaskRef(task.0),
        output: PhantomData,
    };
    (task, join)
}

/// As [`task`], for a task that will not be joined.
pub(crate) fn detached<F>(executor: &Arc<Executor>, future: F) -> TaskRef
where
    F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
{
    allocate(executor, future, QUEUED | REF)
}

fn allocate<F>(executor: &Arc<Executor>, future: F, state: usize) -> TaskRef
where
    F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
{
    // The memory first, and then each part right there. A cell that is put together elsewhere takes
    // stack. It is also read as a whole while its parts are on their way to the memory, for which a
    // processor has to wait; while memory is allocated, they arrive.
    let mut cell = Box::<Cell<F::IntoFuture>>::new_uninit();
    let to = cell.as_mut_ptr();
    let stage = Stage {
        // User code, which may panic.
        future: ManuallyDrop::new(future.into_future()),
    };
    // SAFETY: `to` points to the box's memory, which has room for a cell and is ours.
    unsafe { (&raw mut (*to).stage).write(UnsafeCell::new(stage)) };
    let header = Header {
        state: AtomicUsize::new(state),
        vtable: vtable::<F::IntoFuture>(),
        executor: executor.clone(),
        links: Links::new(),
        joiner: UnsafeCell::new(None),
    };
    // SAFETY: as above.
    unsafe { (&raw mut (*to).header).write(header) };
    // SAFETY: both parts of the cell have just been written.
    let cell = unsafe { cell.assume_init() };
    // The pointer is made from the whole box and stays good for the whole cell, also
    // while it is called one to a header.
    TaskRef(NonNull::from(Box::leak(cell)).cast())
}

/// The functions of tasks with an `F`.
fn vtable<F: Future<Output: 'static> + 'static>() -> NonNull<VTable> {
    let table: &'static JoinVTable<F::Output> = const {
        &JoinVTable {
            common: VTable {
                poll: poll::<F>,
                end: end::<F>,
                drop_output: drop_output::<F>,
                free: free::<F>,
            },
            take_output: take_output::<F>,
        }
    };
    // Made from the whole table, so that it stays good for the whole.
    NonNull::from(table).cast()
}

// ---------------------------------------------------------------------------
// References

/// A reference to a task, which it keeps alive.
pub(crate) struct TaskRef(NonNull<Header>);

// SAFETY: `task` and `detached`, which make all cells, take futures and outputs that
// are `Send`. All parts of a cell but those in `UnsafeCell`s are `Sync`, the pointer to the static
// table being as good as a reference to it. Those in `UnsafeCell`s are accessed only by
// the threads that the module's documentation names, one at a time. The joiner's waker, which is
// `Sync`, may also be read by two.
unsafe impl Send for TaskRef {}
// SAFETY: see above. Through a shared reference nothing can be done that could not be
// done through a clone of it.
unsafe impl Sync for TaskRef {}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        // Relaxed: a holder of a reference may make another one on its own; see `Arc`.
        let before = self.header().state.fetch_add(REF, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            // As `Arc`: so many must have been leaked, and the count is about to wrap.
            std::process::abort();
        }
        Self(self.0)
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        // Release pairs with the fence below: what was done through this reference
        // comes before the end.
        let before = self.header().state.fetch_sub(REF, Ordering::Release);
        if before & REFS == REF {
            self.was_last();
        }
    }
}

impl TaskRef {
    fn header(&self) -> &Header {
        // SAFETY: the cell lives as long as there are references, of which this is one; no code
        // makes a `&mut Header`.
        unsafe { self.0.as_ref() }
    }

    fn vtable(&self) -> &'static VTable {
        // SAFETY: made by `vtable` from a reference to a static, whose first part is a `VTable`.
        unsafe { self.header().vtable.as_ref() }
    }

    /// The state has just been left without references, this one included.
    #[cold]
    fn was_last(&self) {
        // Pairs with the Release in each drop of a reference.
        fence(Ordering::Acquire);
        let header = self.header();
        let state = header.state.load(Ordering::Relaxed);
        if header.executor.is_inherited() && state & (DONE | REGISTERED) != DONE {
            // Only the parent may destroy the future, and take the registry's lock (FK-1, forked
            // children).
            return;
        }
        // SAFETY: there are no references left, and no way to get a new one: the
        // registry makes one only of tasks that have some, see `revive`.
        unsafe { (self.vtable().free)(self.0) }
    }

    pub(crate) fn pointer(&self) -> NonNull<Header> {
        self.0
    }

    /// Gives the reference away as a pointer, to be taken back by
    /// [`from_pointer`](Self::from_pointer).
    pub(crate) fn into_pointer(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    /// # Safety
    ///
    /// The pointer is from [`into_pointer`](Self::into_pointer), and is taken back once.
    pub(crate) unsafe fn from_pointer(pointer: NonNull<Header>) -> Self {
        Self(pointer)
    }

    /// A reference to a task in the registry, unless its last one has gone.
    ///
    /// # Safety
    ///
    /// The cell has not been freed. (Tasks in the registry, seen under its lock, have not: they
    /// leave it before.)
    pub(crate) unsafe fn revive(pointer: NonNull<Header>) -> Option<Self> {
        // SAFETY: promised by the caller.
        let header = unsafe { pointer.as_ref() };
        // Relaxed: as for `clone`; what matters is the registry's lock.
        let update = |state: usize| (state & REFS != 0).then(|| state + REF);
        let revived = header
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        revived.is_ok().then(|| Self(pointer))
    }

    /// Has it ended, as far as this process is concerned?
    pub(crate) fn is_finished(&self) -> bool {
        self.is_done() || self.is_inherited()
    }

    /// Is the task one of a runtime from before a fork?
    pub(crate) fn is_inherited(&self) -> bool {
        self.header().executor.is_inherited()
    }

    pub(crate) fn is_done(&self) -> bool {
        // Acquire: the caller may conclude that the future has been destroyed.
        self.header().state.load(Ordering::Acquire) & DONE != 0
    }

    /// The executor's registry will be told when the task ends.
    pub(crate) fn mark_registered(&self) {
        // Relaxed: read by the thread that ends the task, which got it through the state.
        self.header().state.fetch_or(REGISTERED, Ordering::Relaxed);
    }

    fn runtime(&self) -> Option<RuntimeId> {
        Some(self.header().executor.runtime())
    }
}

// ---------------------------------------------------------------------------
// Waking

impl TaskRef {
    /// The effect of a wake on the state. `true` if the task has to be queued.
    fn notify(&self) -> bool {
        let header = self.header();
        if header.executor.is_inherited() {
            return false;
        }
        let mut state = header.state.load(Ordering::Relaxed);
        loop {
            if state & DONE != 0 {
                return false;
            }
            // For a task that is QUEUED already only the Release matters. It pairs with the Acquire
            // of `begin`: the coming poll sees what came before this wake. Acquire: this thread
            // queues the task, and hands on what the thread before did to it.
            match header.state.compare_exchange_weak(
                state,
                state | QUEUED,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return state & (QUEUED | RUNNING) == 0,
                Err(now) => state = now,
            }
        }
    }

    pub(crate) fn wake_by_ref(&self) {
        if self.notify() {
            self.clone().queue(worker::Push::Woken);
        }
    }

    /// As [`wake_by_ref`](Self::wake_by_ref); the reference goes into the queue.
    fn wake(self) {
        if self.notify() {
            self.queue(worker::Push::Woken);
        }
    }

    /// Puts the task, which is QUEUED, into a queue.
    fn queue(self, why: worker::Push) {
        // A worker keeps its executor. On another thread the task alone might keep it, and be gone
        // before the push is over.
        if let Err(task) = worker::push(Arc::as_ptr(&self.header().executor), self, why) {
            let executor = task.header().executor.clone();
            executor.push_outside(task);
        }
    }

    pub(crate) fn abort(&self) {
        if self.is_inherited() {
            return;
        }
        // Release pairs with the Acquire of the thread that runs the task next. A thread that is
        // running it looks again after the poll.
        self.header().state.fetch_or(ABORTED, Ordering::Release);
        self.wake_by_ref();
    }
}

// A static, because wakers are compared by its address.
static WAKER: RawWakerVTable = RawWakerVTable::new(
    |task| {
        let task = ManuallyDrop::new(waker_task(task));
        RawWaker::new(TaskRef::clone(&task).into_pointer().as_ptr().cast(), &WAKER)
    },
    |task| waker_task(task).wake(),
    |task| ManuallyDrop::new(waker_task(task)).wake_by_ref(),
    |task| drop(waker_task(task)),
);

#[cfg(all(test, fourway_loom))]
impl TaskRef {
    pub(crate) fn into_waker(self) -> Waker {
        let pointer = self.into_pointer().as_ptr().cast_const().cast();
        // SAFETY: a pointer from a reference, which is the waker's from here on.
        unsafe { Waker::from_raw(RawWaker::new(pointer, &WAKER)) }
    }
}

/// The reference of a waker.
fn waker_task(pointer: *const ()) -> TaskRef {
    // SAFETY: the functions in `WAKER` are called with the pointers of wakers only, which
    // are those of references that the waker owns (or that outlive it, see `poll_once`).
    // Those that do not consume the waker do not drop what this returns.
    unsafe { TaskRef(NonNull::new_unchecked(pointer.cast_mut().cast())) }
}

// ---------------------------------------------------------------------------
// Running

/// The next step for a task that was polled and is pending.
enum Pending {
    /// Nothing; the reference is gone.
    Suspended,
    /// It has been woken meanwhile.
    Requeue(TaskRef),
    End(TaskRef, JoinError),
}

impl TaskRef {
    /// Polls it once, or destroys it if the executor is closing. The caller has
    /// taken it out of the queue.
    pub(crate) fn run(self) {
        let Some(state) = self.begin() else { return };
        if state & ABORTED != 0 {
            return self.end(JoinError::cancelled());
        }
        if self.header().executor.is_closing() {
            return self.end(JoinError::shutdown());
        }
        let ready = self.poll_once();
        if self.is_inherited() {
            // The task has forked, and this is the child: see `worker::work`.
            return forget(self);
        }
        if ready {
            return self.complete(true);
        }
        match self.suspend() {
            Pending::Suspended => {}
            Pending::Requeue(task) => task.queue(worker::Push::Again),
            Pending::End(task, reason) => task.end(reason),
        }
    }

    /// Destroys it unfinished, if it is due for a poll.
    pub(crate) fn destroy(self) {
        let Some(state) = self.begin() else { return };
        self.end(if state & ABORTED != 0 {
            JoinError::cancelled()
        } else {
            JoinError::shutdown()
        });
    }

    /// Takes the future for the caller, which has taken the task out of the queue or off the list
    /// of the tasks left over. Gives the state, or `None` if a shutdown was faster.
    fn begin(&self) -> Option<usize> {
        // An exchange, not a store: its Acquire pairs with the Release of every
        // wake so far, also of those that found the task QUEUED and left it so.
        // The poll sees all that was done before those wakes.
        let update = |state: usize| {
            (state & (QUEUED | RUNNING | DONE) == QUEUED).then_some(state ^ (QUEUED | RUNNING))
        };
        let began = self
            .header()
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, update);
        began.ok()
    }

    /// Polls the future; `true` if there is a result. The caller runs the task.
    fn poll_once(&self) -> bool {
        // A waker that borrows the reference of the thread that runs the task, which keeps it until
        // after the poll. Clones own theirs.
        let raw = RawWaker::new(self.0.as_ptr().cast_const().cast(), &WAKER);
        // SAFETY: the functions keep the contract of `RawWaker`: they may be called from
        // any thread, `clone` makes an owner, `wake` and `drop` consume one. This waker
        // does neither: it is behind a reference for as long as others see it, and
        // then forgotten.
        let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw) });
        let mut cx = Context::from_waker(&waker);
        // SAFETY: the caller runs the task.
        unsafe { (self.vtable().poll)(self.0, &mut cx) }
    }

    /// After a poll that was not ready.
    fn suspend(self) -> Pending {
        let header = self.header();
        let mut state = header.state.load(Ordering::Relaxed);
        // From now on the task may be known to the registry alone. (Not before: most tasks never
        // are suspended.)
        if state & REGISTERED == 0 {
            if !header.executor.register(&self) {
                return Pending::End(self, JoinError::shutdown());
            }
            state |= REGISTERED;
        }
        loop {
            if state & ABORTED != 0 {
                // Cancelled during the poll: dropped after that poll (CA-2, cancelled promptly).
                // Pairs with the Release in `abort`.
                fence(Ordering::Acquire);
                return Pending::End(self, JoinError::cancelled());
            }
            let queue = state & QUEUED != 0;
            // The same exchange drops the reference, if the task is not queued.
            let next = (state & !RUNNING) - if queue { 0 } else { REF };
            // Release: the next thread to run it sees what this poll did. Acquire: for a
            // thread that has to free it.
            match header.state.compare_exchange_weak(
                state,
                next,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) if queue => return Pending::Requeue(self),
                Ok(_) => {
                    if next & REFS == 0 {
                        self.was_last();
                    }
                    forget(self);
                    return Pending::Suspended;
                }
                Err(now) => state = now,
            }
        }
    }

    /// Destroys the future and resolves the handle. The caller runs the task.
    fn end(self, reason: JoinError) {
        // SAFETY: the caller runs the task.
        unsafe { (self.vtable().end)(self.0, reason) };
        self.complete(false);
    }

    /// Publishes the result and wakes the joiner. The caller runs the task. `on_worker`: the caller
    /// is a worker, which looks for the next task right after this.
    fn complete(self, on_worker: bool) {
        let header = self.header();
        // Relaxed: set by this thread or by one that handed the task on to it.
        if header.state.load(Ordering::Relaxed) & REGISTERED != 0 {
            header.executor.forget(self.0);
        }
        // Clears RUNNING and sets DONE, in one instruction. Release: the joiner sees the result,
        // and that the future is gone. Acquire pairs with the Release of a handle that has left its
        // waker.
        let before = header.state.fetch_add(DONE - RUNNING, Ordering::AcqRel);
        if before & JOINABLE == 0 {
            // No handle takes the output: it is destroyed here, on a worker, which must not block
            // (BL-2, no blocking in async code).
            let _mark = implement::enter(context::Context::Async, self.runtime());
            // SAFETY: the handle was gone at the moment when the task was done.
            unsafe { (self.vtable().drop_output)(self.0) };
        } else if before & JOINER != 0 {
            // SAFETY: JOINER was set when the task was done, and stays set.
            if let Some(joiner) = unsafe { self.take_joiner() } {
                if on_worker && wakes_a_thread(&joiner) {
                    // The joiner may be back with more before this worker has looked around.
                    worker::announce_search(&header.executor);
                }
                // A hand-made waker may panic; the worker goes on.
                discard(catch_unwind(AssertUnwindSafe(|| joiner.wake())));
            }
        }
    }

    /// # Safety
    ///
    /// The caller may write the waker, see the module's documentation.
    unsafe fn take_joiner(&self) -> Option<Waker> {
        self.header().joiner.with_mut(|joiner| {
            // SAFETY: promised by the caller.
            unsafe { (*joiner).take() }
        })
    }
}

/// # Safety
///
/// `header` is that of a `Cell<F>`, and the caller runs the task.
unsafe fn poll<F: Future>(header: NonNull<Header>, cx: &mut Context<'_>) -> bool {
    // SAFETY: promised by the caller.
    let cell = unsafe { header.cast::<Cell<F>>().as_ref() };
    let _mark = implement::enter(
        context::Context::Async,
        Some(cell.header.executor.runtime()),
    );
    cell.stage.with_mut(|stage| {
        // SAFETY: the thread that runs the task has its stage to itself.
        let stage = unsafe { &mut *stage };
        let mut output = None;
        let mut destroyed = false;
        // Unwind safety: a future that has panicked is destroyed, never polled again; and
        // one whose destructor has panicked is never touched again.
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: a task that is run is not done, and so there is a future. It is
            // pinned from here on: it is in a box that is moved nowhere, and it leaves the
            // stage in no other way than by being dropped there (here, in `destroy`).
            let future = unsafe { Pin::new_unchecked(&mut *stage.future) };
            if let Poll::Ready(value) = future.poll(cx) {
                output = Some(value);
                destroyed = true;
                // Before the output is published (JO-2, destroyed before the join).
                // SAFETY: it was there a moment ago, and is not touched again.
                unsafe { ManuallyDrop::drop(&mut stage.future) };
            }
        }));
        if let Err(payload) = unwound {
            // The panic of the future, which must still be destroyed, or of its destructor.
            if !destroyed {
                // SAFETY: it is there, and is not touched again.
                discard(unsafe { destroy(stage) });
            }
            discard(output);
            stage.result = ManuallyDrop::new(Err(JoinError::panicked(payload)));
            return true;
        }
        let Some(output) = output else { return false };
        stage.result = ManuallyDrop::new(Ok(output));
        true
    })
}

/// Destroys the future, and gives the payload of its panic.
///
/// # Safety
///
/// The future is there, and no code touches it any more, whatever this returns.
unsafe fn destroy<F: Future>(stage: &mut Stage<F>) -> Result<(), fourway_core::Payload> {
    // Unwind safety: see above.
    catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: promised by the caller.
        unsafe { ManuallyDrop::drop(&mut stage.future) }
    }))
}

/// # Safety
///
/// As for [`poll`].
unsafe fn end<F: Future>(header: NonNull<Header>, reason: JoinError) {
    // SAFETY: promised by the caller.
    let cell = unsafe { header.cast::<Cell<F>>().as_ref() };
    let runtime = Some(cell.header.executor.runtime());
    let _mark = implement::enter(context::Context::Async, runtime);
    cell.stage.with_mut(|stage| {
        // SAFETY: the thread that runs the task has its stage to itself.
        let stage = unsafe { &mut *stage };
        // SAFETY: a task that is run is not done, and so there is a future. A result takes
        // its place.
        let error = match implement::destroying(runtime, || unsafe { destroy(stage) }) {
            Ok(()) => reason,
            Err(payload) => JoinError::panicked(payload),
        };
        stage.result = ManuallyDrop::new(Err(error));
    });
}

/// # Safety
///
/// `header` is that of a `Cell<F>`. The result is there and belongs to the caller, which does not
/// ask for it again.
unsafe fn drop_output<F: Future>(header: NonNull<Header>) {
    // SAFETY: promised by the caller.
    let cell = unsafe { header.cast::<Cell<F>>().as_ref() };
    cell.stage.with_mut(|stage| {
        // Where it is: results may be large. Unwind safety: it is not touched again.
        discard(catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: promised by the caller.
            unsafe { ManuallyDrop::drop(&mut (*stage).result) }
        })));
    });
}

/// # Safety
///
/// As for [`drop_output`].
unsafe fn take_output<F: Future>(
    header: NonNull<Header>,
    metadata: &Metadata,
) -> Poll<Result<F::Output, JoinError>> {
    // SAFETY: promised by the caller.
    let cell = unsafe { header.cast::<Cell<F>>().as_ref() };
    cell.stage.with_mut(|stage| {
        // SAFETY: promised by the caller.
        let result = unsafe { &mut (*stage).result };
        if let Err(error) = &mut **result {
            error.set_task(metadata);
        }
        // SAFETY: promised by the caller.
        Poll::Ready(unsafe { ManuallyDrop::take(result) })
    })
}

/// # Safety
///
/// `header` is that of a `Cell<F>` to which there is no reference.
unsafe fn free<F: Future>(header: NonNull<Header>) {
    // SAFETY: no reference is left; the registry may look at the header, under its lock, until it
    // is told to forget the task.
    let shared = unsafe { header.as_ref() };
    // Relaxed: the fence in `was_last` has been passed.
    let state = shared.state.load(Ordering::Relaxed);
    if state & REGISTERED != 0 {
        shared.executor.forget(header);
    }
    // SAFETY: made by `Box::leak` in `allocate`; nobody has a reference any more.
    let cell = unsafe { Box::from_raw(header.cast::<Cell<F>>().as_ptr()) };
    if state & DONE == 0 {
        // The last reference went while the task was pending: nothing could ever wake it again, and
        // no joiner waits for it (WA-3, lost tasks are destroyed). The panic hook has reported a
        // panic of its destructor.
        let _mark = implement::enter(
            context::Context::Async,
            Some(cell.header.executor.runtime()),
        );
        cell.stage.with_mut(|stage| {
            // SAFETY: the box is ours. The task is not done, and so there is a future; the
            // box goes without dropping it again.
            discard(unsafe { destroy(&mut *stage) });
        });
    }
    // The rest of it, and possibly the executor.
    drop(cell);
}

// ---------------------------------------------------------------------------
// Joining

/// The handle's side of a task whose output is a `T`. Each task has at most one. Its drop only lets
/// go of the task. A holder that has not taken the output [gives it up](Self::give_up) before:
/// otherwise the output is never dropped.
pub(crate) struct Join<T> {
    task: TaskRef,
    output: PhantomData<fn() -> T>,
}

impl<T> Join<T> {
    pub(crate) fn task(&self) -> &TaskRef {
        &self.task
    }

    /// `metadata` is put into an error.
    pub(crate) fn poll_join(
        &mut self,
        cx: &mut Context<'_>,
        metadata: &Metadata,
    ) -> Poll<Result<T, JoinError>> {
        let header = self.task.header();
        if header.executor.is_inherited() {
            return Poll::Ready(Err(fork::error(metadata)));
        }
        let state = header.state.load(Ordering::Acquire);
        assert!(
            state & JOINABLE != 0,
            "a task handle was polled after it was ready"
        );
        if state & DONE == 0 && self.leave_waker(state, cx.waker()) {
            return Poll::Pending;
        }
        self.let_go(true);
        // SAFETY: `T` is the output of the task's future, see `task`, and the pointer is from
        // `vtable`, which made it from one to a static of this type.
        let table = unsafe { header.vtable.cast::<JoinVTable<T>>().as_ref() };
        // SAFETY: the task is done (the loads and failed exchanges that say so Acquire its result),
        // and JOINABLE was set, which only this handle clears: the result is there, and ours. We do
        // not ask for it again, because JOINABLE is cleared.
        unsafe { (table.take_output)(self.task.0, metadata) }
    }

    /// Leaves the waker for when the task is done. `false` if it is done.
    fn leave_waker(&self, state: usize, waker: &Waker) -> bool {
        let header = self.task.header();
        // Release: the thread that takes the waker sees it. Acquire: the result, if it is there.
        let change = |set: usize, clear: usize| {
            let update = |state: usize| (state & DONE == 0).then_some((state | set) & !clear);
            header
                .state
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, update)
                .is_ok()
        };
        // Cloned before the waker's place is touched, because it is foreign code.
        let mut fresh = None;
        if state & JOINER == 0 {
            fresh = Some(waker.clone());
        } else {
            if !change(0, JOINER) {
                return false;
            }
            // SAFETY: JOINER is not set, so that the waker is the handle's.
            let known = header.joiner.with(|joiner| unsafe {
                (*joiner)
                    .as_ref()
                    .is_some_and(|known| known.will_wake(waker))
            });
            if !known {
                fresh = Some(waker.clone());
            }
        }
        let mut before = None;
        if fresh.is_some() {
            // SAFETY: as above.
            before = header
                .joiner
                .with_mut(|joiner| unsafe { std::mem::replace(&mut *joiner, fresh) });
        }
        let left = change(JOINER, 0);
        // Foreign code again; the joiner goes on if it panics.
        discard(before);
        left
    }

    /// Gives up the output and its waker: they are dropped now, or when the task is
    /// done. `false` if that was done before, or the output was taken.
    pub(crate) fn give_up(&self) -> bool {
        self.let_go(false)
    }

    /// Clears JOINABLE. A waker that was left is dropped now (JO-1, a task is awaited anywhere),
    /// and not with the handle. `taken`: is the task done, and will the caller take the result?
    fn let_go(&self, taken: bool) -> bool {
        let header = self.task.header();
        // AcqRel: see `complete`.
        let update = |state: usize| match state {
            _ if state & JOINABLE == 0 => None,
            _ if state & DONE == 0 => Some(state & !(JOINABLE | JOINER)),
            _ => Some(state & !JOINABLE),
        };
        let Ok(before) = header
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, update)
        else {
            return false;
        };
        if header.executor.is_inherited() {
            // The parent drops the output and the waker.
            return true;
        }
        if before & DONE != 0 && !taken {
            // SAFETY: the result is there and was ours until now. No other thread gets it from now
            // on, and without JOINABLE we do not ask again.
            unsafe { (self.task.vtable().drop_output)(self.task.0) };
        }
        if before & DONE == 0 || before & JOINER == 0 {
            // SAFETY: JOINER is not set, or was taken back before the task was done. (If it
            // is still set, the thread that ran the task takes the waker.) A destructor
            // that panics must not keep the caller from cancelling the task.
            discard(unsafe { self.task.take_joiner() });
        }
        true
    }
}

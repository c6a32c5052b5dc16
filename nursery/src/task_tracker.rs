//! Waiting for tasks without their results: [`TaskTracker`], with tokio-util's names.

mod handles;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use fourway_core::{
    AnyRuntime, Offload, Spawner,
    cancel::{CancellationToken, WaitForCancellation},
    implement::fork::Process,
    local::{self, Local, LocalSpawner},
};
use pin_project_lite::pin_project;

pub use handles::{JoinHandle, LocalJoinHandle};

use crate::{
    in_process::WaitInProcess,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        lock,
    },
};

/// Counts tasks, and waits until there are none: tokio-util's `TaskTracker`, on any runtime.
///
/// It keeps nothing of tasks that have ended, not even their results. It suits a server that starts
/// a task for each connection, and waits for them when it shuts down. A clone is the same tracker.
///
/// Moving from tokio-util's tracker changes the imports, and the code that uses these:
///
/// * Errors are fourway's: [`JoinError`](fourway_core::JoinError). The handles that its methods give are [`JoinHandle`]s: of
///   the same name, but those of tasks and those of closures are of different types.
/// * [`spawn_on`](Self::spawn_on) and [`spawn_blocking_on`](Self::spawn_blocking_on) take a runtime
///   in place of a Tokio `Handle`, [`spawn_local_on`](Self::spawn_local_on) a [`Local`] in place of a
///   `LocalSet`.
/// * A closure that was aborted while it ran gives "cancelled", as everywhere in fourway ([cancelled
///   closures](fourway_core::contract#OF-3)); Tokio gives its output.
/// * The future of [`wait`](Self::wait) borrows nothing and has no name.
///
/// A task with a name is started on the runtime, and counted:
/// `rt.spawn_named("accept", tracker.track_future(future))`.
///
/// **Dropping** it has no effect on the tasks, nor has dropping the [`JoinHandle`] of one: here,
/// as in tokio-util, a task runs on unless it is aborted.
///
/// In a **forked child** it counts no task from before the fork: those are the parent's.
///
/// # Examples
///
/// ```
/// # use fourway_core::Runtime;
/// use fourway_nursery::TaskTracker;
///
/// async fn serve<R: Runtime>(rt: R) {
///     let tracker = TaskTracker::new();
///     for connection in 0..10 {
///         tracker.spawn_on(async move { drop(connection) }, &rt);
///     }
///     tracker.close();
///     tracker.wait().await;
/// }
/// ```
#[derive(Clone, Default)]
pub struct TaskTracker {
    shared: Arc<Shared>,
}

struct Shared {
    /// In which it was made. In a forked child the tasks are the parent's, and the lock may be held
    /// for ever (FK-1, forked children).
    process: Process,
    /// Changed under the lock.
    closed: AtomicBool,
    state: Mutex<State>,
    /// What takes its place in a forked child.
    in_child: OnceLock<TaskTracker>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            process: Process::this(),
            closed: AtomicBool::new(false),
            state: Mutex::default(),
            in_child: OnceLock::new(),
        }
    }
}

#[derive(Default)]
struct State {
    tasks: usize,
    /// Cancelled when the tracker is closed and empty; then there is another one.
    done: Option<CancellationToken>,
}

impl TaskTracker {
    /// A tracker without tasks, open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until the tracker is [closed](Self::close) and has no tasks, both at one moment
    /// after this call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let shared = self.here();
        let process = shared.process;
        let mut state = lock(&shared.state);
        let mut waiting: Option<WaitForCancellation> = None;
        if !(shared.is_closed() && state.tasks == 0) {
            let done = state.done.get_or_insert_with(CancellationToken::new);
            waiting = Some(done.cancelled());
        }
        drop(state);
        WaitInProcess::new(process, waiting)
    }

    /// Lets [`wait`](Self::wait) end when there are no tasks. More may still be added. `false` if
    /// it was closed already.
    pub fn close(&self) -> bool {
        let shared = self.here();
        let mut state = lock(&shared.state);
        let changed = !shared.closed.swap(true, Ordering::Relaxed);
        let done = shared.take_done(&mut state);
        drop(state);
        tell(done);
        changed
    }

    /// Takes [`close`](Self::close) back. `false` if it was open.
    pub fn reopen(&self) -> bool {
        let shared = self.here();
        let _state = lock(&shared.state);
        shared.closed.swap(false, Ordering::Relaxed)
    }

    /// Is it closed?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let shared = self.here();
        let _state = lock(&shared.state);
        shared.is_closed()
    }

    /// How many tasks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.here().state).tasks
    }

    /// Are there no tasks?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Starts `future` as a task on the runtime that the caller is in.
    ///
    /// # Panics
    ///
    /// If the caller is in no runtime.
    #[track_caller]
    pub fn spawn<F>(
        &self,
        future: F,
    ) -> JoinHandle<F::Output, <AnyRuntime as Spawner>::Task<F::Output>>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn_on(future, &current())
    }

    /// Starts `future` as a task on `runtime`.
    #[track_caller]
    pub fn spawn_on<F, S>(
        &self,
        future: F,
        runtime: &S,
    ) -> JoinHandle<F::Output, S::Task<F::Output>>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
        S: Spawner,
    {
        JoinHandle::new(runtime.spawn(self.track_future(future)))
    }

    /// Starts `future`, which need not be `Send`, as a task of the calling thread: of the innermost
    /// [`local::block_on`] or [`local::run`] that the caller is in.
    ///
    /// # Panics
    ///
    /// If the caller is in neither.
    #[track_caller]
    pub fn spawn_local<F>(&self, future: F) -> LocalJoinHandle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        LocalJoinHandle::new(local::spawn(self.track_future(future)))
    }

    /// Starts `future`, which need not be `Send`, as a task of `local` and its thread.
    #[track_caller]
    pub fn spawn_local_on<F>(&self, future: F, local: &Local) -> LocalJoinHandle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        LocalJoinHandle::new(local.spawn_local(self.track_future(future)))
    }

    /// Hands a closure that may block to the pool of the runtime that the caller is in.
    ///
    /// # Panics
    ///
    /// If the caller is in no runtime.
    #[track_caller]
    pub fn spawn_blocking<F, T>(
        &self,
        f: F,
    ) -> JoinHandle<T, <AnyRuntime as Offload>::OffloadTask<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_blocking_on(f, &current())
    }

    /// Hands a closure that may block to the pool of `runtime`.
    #[track_caller]
    pub fn spawn_blocking_on<F, T, S>(&self, f: F, runtime: &S) -> JoinHandle<T, S::OffloadTask<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
        S: Offload,
    {
        let token = self.token();
        // The closure first, the token after it, also if it is dropped unrun.
        let tracked = (f, token);
        JoinHandle::new(runtime.offload(move || {
            let (f, _token) = tracked;
            f()
        }))
    }

    /// Counts `future` as a task for as long as it is there, on any executor.
    pub fn track_future<F: Future>(&self, future: F) -> TrackedFuture<F> {
        TrackedFuture {
            future: Some(future),
            token: self.token(),
        }
    }

    /// Counts as a task until it is dropped.
    #[must_use]
    pub fn token(&self) -> TaskTrackerToken {
        let tracker = self.of_this_process();
        lock(&tracker.shared.state).tasks += 1;
        TaskTrackerToken {
            tracker: tracker.clone(),
        }
    }

    /// Are both the same tracker?
    #[must_use]
    pub fn ptr_eq(left: &Self, right: &Self) -> bool {
        let (left, right) = (left.of_this_process(), right.of_this_process());
        Arc::ptr_eq(&left.shared, &right.shared)
    }

    /// This, or what takes its place in a forked child.
    fn of_this_process(&self) -> &Self {
        let mut tracker = self;
        while !tracker.shared.process.is_this() {
            tracker = tracker.shared.in_child();
        }
        tracker
    }

    fn here(&self) -> &Shared {
        &self.of_this_process().shared
    }
}

impl Shared {
    fn is_closed(&self) -> bool {
        // Relaxed: a thread that must see a change sees it under the lock. In a child of a fork,
        // the thread that forked is the only one.
        self.closed.load(Ordering::Relaxed)
    }

    fn take_done(&self, state: &mut State) -> Option<CancellationToken> {
        if self.is_closed() && state.tasks == 0 {
            state.done.take()
        } else {
            None
        }
    }

    /// A tracker without tasks, closed if this one was.
    #[cold]
    fn in_child(&self) -> &TaskTracker {
        self.in_child.get_or_init(|| {
            let fresh = TaskTracker::new();
            fresh
                .shared
                .closed
                .store(self.is_closed(), Ordering::Relaxed);
            fresh
        })
    }
}

fn tell(done: Option<CancellationToken>) {
    if let Some(done) = done {
        done.cancel();
    }
}

#[track_caller]
fn current() -> AnyRuntime {
    AnyRuntime::current().expect(
        "a `TaskTracker` spawns on the runtime it is used in, and there is none here: use \
         `spawn_on` or `spawn_blocking_on`",
    )
}

impl fmt::Debug for TaskTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskTracker")
            .field("len", &self.len())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// Counts as a task of a [`TaskTracker`]. Made by [`TaskTracker::token`]. A clone counts too.
pub struct TaskTrackerToken {
    tracker: TaskTracker,
}

impl TaskTrackerToken {
    /// The tracker.
    #[must_use]
    pub fn task_tracker(&self) -> &TaskTracker {
        &self.tracker
    }
}

impl Clone for TaskTrackerToken {
    fn clone(&self) -> Self {
        self.tracker.token()
    }
}

impl Drop for TaskTrackerToken {
    fn drop(&mut self) {
        let shared = &self.tracker.shared;
        if !shared.process.is_this() {
            // Counted in the parent.
            return;
        }
        let mut state = lock(&shared.state);
        state.tasks -= 1;
        let done = shared.take_done(&mut state);
        drop(state);
        tell(done);
    }
}

impl fmt::Debug for TaskTrackerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskTrackerToken").finish_non_exhaustive()
    }
}

pin_project! {
    /// A future that counts as a task. Made by [`TaskTracker::track_future`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future inside, and then it no longer counts.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct TrackedFuture<F> {
        // `None` once it is ready. Dropped before the token, so that a waiter of the tracker finds
        // its destructors run.
        #[pin]
        future: Option<F>,
        token: TaskTrackerToken,
    }
}

impl<F: Future> Future for TrackedFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let future = this.future.as_mut().as_pin_mut();
        let poll = future.expect("polled after it was ready").poll(cx);
        if poll.is_ready() {
            this.future.set(None);
        }
        poll
    }
}

impl<F> fmt::Debug for TrackedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedFuture").finish_non_exhaustive()
    }
}

//! Tasks in a set, without structure: [`JoinSet`], with Tokio's names.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use fourway_core::{
    AbortHandle, AnyRuntime, JoinError, Offload, Payload, Runtime, Spawner, Task,
    implement::{destroy_contained, discard, poll_contained, wake},
    task::Metadata,
};
use pin_project_lite::pin_project;

use crate::sync::{Mutex, lock};

/// A set of tasks on any runtime, joined in the order in which they end: Tokio's `JoinSet`.
///
/// [`new`](Self::new) spawns on the runtime that the caller is in, as Tokio's does;
/// [`on`](Self::on) on the one it is given. So moving from Tokio's set changes the imports, and the
/// code that uses these:
///
/// * Errors and abort handles are fourway's: [`JoinError`] and [`AbortHandle`]. A handle has no
///   `id`; [`join_next_with_id`](Self::join_next_with_id) gives the set's own.
/// * [`spawn_on`](Self::spawn_on) takes a runtime in place of a Tokio `Handle`.
/// * There is no `spawn_local`; tasks that stay on a thread are started with
///   [`local::spawn`](fourway_core::local::spawn).
///
/// * **Dropping** it aborts all tasks, and does not wait for them: a set is not a
///   [nursery](crate::nursery()). A closure that runs, runs on ([cancelled
///   closures](fourway_core::contract#OF-3)), and its output is dropped on its thread.
/// * **Results** that are not taken stay in the set, and take memory.
/// * An error of [`join_next`](Self::join_next) comes from a task of the set. If the task that
///   joins is cancelled itself, it is dropped at its await like any other, and no result says so.
///
/// # Examples
///
/// ```
/// # use fourway_core::Runtime;
/// use fourway_nursery::JoinSet;
///
/// async fn sum<R: Runtime>(rt: R) -> u32 {
///     let mut set = JoinSet::on(rt);
///     for i in 0..10 {
///         set.spawn(async move { i });
///     }
///     let mut sum = 0;
///     while let Some(result) = set.join_next().await {
///         sum += result.unwrap();
///     }
///     sum
/// }
/// ```
pub struct JoinSet<T: Send + 'static, R: Runtime = AnyRuntime> {
    // `None`: the runtime that the caller of `spawn` is in.
    runtime: Option<R>,
    tasks: HashMap<Id, Handle<R>>,
    /// Tasks that were destroyed unfinished: only their handles know why.
    destroyed: Vec<Id>,
    queue: Arc<Queue<T>>,
}

enum Handle<R: Runtime> {
    Task(R::Task<()>),
    Closure(R::OffloadTask<()>),
    Any(Box<dyn Task<()>>),
}

/// Tells the tasks of a process's sets apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

type Ended<T> = (Id, Result<T, JoinError>);
/// `None` for a task that was destroyed unfinished.
type Told<T> = (Id, Option<Result<T, JoinError>>);
type Queue<T> = Mutex<Inbox<T>>;

/// The messages of the members.
struct Inbox<T> {
    told: VecDeque<Told<T>>,
    waker: Option<Waker>,
    /// No set reads it any more.
    closed: bool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self {
            told: VecDeque::new(),
            waker: None,
            closed: false,
        }
    }
}

/// Closes the inbox: its messages are dropped here, and later ones where they come from.
fn close<T>(queue: &Queue<T>) {
    let mut inbox = lock(queue);
    inbox.closed = true;
    let unread = std::mem::take(&mut inbox.told);
    let waker = inbox.waker.take();
    drop(inbox);
    drop(waker);
    unread.into_iter().for_each(discard);
}

impl<T: Send + 'static> JoinSet<T> {
    /// A set that spawns on the runtime which its caller is in: one of fourway's, or a Tokio
    /// that an adapter of fourway has been used in.
    #[must_use]
    pub fn new() -> Self {
        Self {
            runtime: None,
            tasks: HashMap::new(),
            destroyed: Vec::new(),
            queue: Arc::default(),
        }
    }
}

impl<T: Send + 'static> Default for JoinSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + 'static, R: Runtime> JoinSet<T, R> {
    /// A set that spawns on `runtime`.
    pub fn on(runtime: R) -> Self {
        Self {
            runtime: Some(runtime),
            tasks: HashMap::new(),
            destroyed: Vec::new(),
            queue: Arc::default(),
        }
    }

    /// Starts `future` as a task of the set.
    ///
    /// # Panics
    ///
    /// If the set was made by [`new`](JoinSet::new) and the caller is in no runtime.
    #[track_caller]
    pub fn spawn<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.spawn_with(Metadata::caller(), future)
    }

    /// As [`spawn`](Self::spawn), with a name, which layers and [`JoinError`]s see. (Tokio has
    /// it in its unstable `build_task`.)
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_named<F>(&mut self, name: impl Into<Cow<'static, str>>, future: F) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.spawn_with(Metadata::caller().named(name), future)
    }

    /// Starts `future` as a task of the set, on `runtime`.
    #[track_caller]
    pub fn spawn_on<F, S>(&mut self, future: F, runtime: &S) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        S: Spawner,
    {
        self.spawn_with_on(Metadata::caller(), future, runtime)
    }

    /// Hands a closure that may block to the runtime's pool, as a task of the set.
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_blocking<F>(&mut self, f: F) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
    {
        self.offload_with(Metadata::caller(), f)
    }

    /// As [`spawn_blocking`](Self::spawn_blocking), with a name.
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_blocking_named<F>(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        f: F,
    ) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
    {
        self.offload_with(Metadata::caller().named(name), f)
    }

    /// Hands a closure that may block to the pool of `runtime`, as a task of the set.
    #[track_caller]
    pub fn spawn_blocking_on<F, S>(&mut self, f: F, runtime: &S) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        S: Offload,
    {
        self.offload_with_on(Metadata::caller(), f, runtime)
    }

    /// The result of the next task that ends; `None` if the set is empty.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// [`join_next`](Self::join_next), with the task's number.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn join_next_with_id(&mut self) -> Option<Result<(Id, T), (Id, JoinError)>> {
        poll_fn(|cx| self.poll_join_next_with_id(cx)).await
    }

    /// The result of a task that has ended already, if there is one.
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.try_ended().map(|(_, result)| result)
    }

    /// [`try_join_next`](Self::try_join_next), with the task's number.
    pub fn try_join_next_with_id(&mut self) -> Option<Result<(Id, T), (Id, JoinError)>> {
        self.try_ended().map(with_id)
    }

    /// [`join_next`](Self::join_next) for implementers of futures.
    pub fn poll_join_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        self.poll_ended(cx)
            .map(|ended| ended.map(|(_, result)| result))
    }

    /// [`join_next_with_id`](Self::join_next_with_id) for implementers of futures.
    #[expect(clippy::type_complexity, reason = "it is Tokio's")]
    pub fn poll_join_next_with_id(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Id, T), (Id, JoinError)>>> {
        self.poll_ended(cx).map(|ended| ended.map(with_id))
    }

    /// Waits for all tasks, and gives their outputs in the order in which they ended.
    ///
    /// # Panics
    ///
    /// With a task's panic, or if one was cancelled; the rest is aborted then.
    ///
    /// # Cancel safety
    ///
    /// The set is in the future: dropping it aborts the tasks that are left.
    pub async fn join_all(mut self) -> Vec<T> {
        let mut outputs = Vec::with_capacity(self.len());
        while let Some(result) = self.join_next().await {
            match result {
                Ok(output) => outputs.push(output),
                Err(error) => error.resume_unwind(),
            }
        }
        outputs
    }

    /// Aborts all tasks. Their results can still be joined.
    pub fn abort_all(&mut self) {
        for handle in self.tasks.values() {
            match handle {
                Handle::Task(task) => task.abort(),
                Handle::Closure(task) => task.abort(),
                Handle::Any(task) => task.abort(),
            }
        }
    }

    /// Aborts all tasks, and waits until they are destroyed.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, all tasks have been aborted, and the tasks that were not waited for are in
    /// the set.
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while let Some(result) = self.join_next().await {
            discard(result);
        }
    }

    /// Lets all tasks run on, and forgets them.
    pub fn detach_all(&mut self) {
        for (_, handle) in self.tasks.drain() {
            match handle {
                Handle::Task(task) => task.detach(),
                Handle::Closure(task) => task.detach(),
                Handle::Any(task) => task.detach_boxed(),
            }
        }
        self.destroyed.clear();
        // Their messages are not read from now on.
        let left = std::mem::take(&mut self.queue);
        close(&left);
    }

    /// How many tasks have not been joined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Have all tasks been joined?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    #[track_caller]
    fn spawn_with<F>(&mut self, metadata: Metadata, future: F) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
    {
        let Some(runtime) = &self.runtime else {
            return self.spawn_with_on(metadata, future, &current());
        };
        let (id, future) = self.future(&metadata, future);
        let task = runtime.spawn_with(metadata, future);
        self.keep(id, Handle::Task(task))
    }

    fn spawn_with_on<F, S>(&mut self, metadata: Metadata, future: F, runtime: &S) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        S: Spawner,
    {
        let (id, future) = self.future(&metadata, future);
        let task = runtime.spawn_with(metadata, future);
        self.keep(id, Handle::Any(Box::new(task)))
    }

    #[track_caller]
    fn offload_with<F>(&mut self, metadata: Metadata, f: F) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
    {
        let Some(runtime) = &self.runtime else {
            return self.offload_with_on(metadata, f, &current());
        };
        let (id, closure) = self.closure(&metadata, f);
        let task = runtime.offload_with(metadata, closure);
        self.keep(id, Handle::Closure(task))
    }

    fn offload_with_on<F, S>(&mut self, metadata: Metadata, f: F, runtime: &S) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        S: Offload,
    {
        let (id, closure) = self.closure(&metadata, f);
        let task = runtime.offload_with(metadata, closure);
        self.keep(id, Handle::Any(Box::new(task)))
    }

    fn future<F>(&self, metadata: &Metadata, future: F) -> (Id, Member<F, T>)
    where
        F: Future<Output = T>,
    {
        let id = next_id();
        let member = Member {
            future: Some(future),
            tells: Some(Tells {
                id,
                metadata: metadata.clone(),
                queue: self.queue.clone(),
            }),
        };
        (id, member)
    }

    fn closure<F>(
        &self,
        metadata: &Metadata,
        f: F,
    ) -> (Id, impl FnOnce() + Send + 'static + use<F, T, R>)
    where
        F: FnOnce() -> T + Send + 'static,
    {
        let id = next_id();
        let mut member = MemberClosure {
            closure: Some(f),
            tells: Some(Tells {
                id,
                metadata: metadata.clone(),
                queue: self.queue.clone(),
            }),
        };
        (id, move || member.run())
    }

    fn keep(&mut self, id: Id, handle: Handle<R>) -> AbortHandle {
        let abort = match &handle {
            Handle::Task(task) => task.abort_handle(),
            Handle::Closure(task) => task.abort_handle(),
            Handle::Any(task) => task.abort_handle(),
        };
        self.tasks.insert(id, handle);
        abort
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ended<T>>> {
        if self.tasks.is_empty() {
            return Poll::Ready(None);
        }
        loop {
            if let Some(ended) = self.poll_destroyed(cx) {
                return Poll::Ready(Some(ended));
            }
            // Cloned and dropped outside of the lock, because it is foreign code.
            let mut waker = Some(cx.waker().clone());
            let mut queue = lock(&self.queue);
            let told = queue.told.pop_front();
            if told.is_none() {
                std::mem::swap(&mut queue.waker, &mut waker);
            }
            drop(queue);
            drop(waker);
            match told {
                None => return Poll::Pending,
                Some((id, Some(result))) => return Poll::Ready(Some(self.forget(id, result))),
                Some((id, None)) => self.destroyed.push(id),
            }
        }
    }

    /// A task that has ended, without a change to the waker that is registered.
    fn try_ended(&mut self) -> Option<Ended<T>> {
        loop {
            let mut queue = lock(&self.queue);
            if let Some((id, told)) = queue.told.pop_front() {
                drop(queue);
                match told {
                    Some(result) => return Some(self.forget(id, result)),
                    None => self.destroyed.push(id),
                }
                continue;
            }
            if self.destroyed.is_empty() {
                return None;
            }
            // Their handles keep the last waker that polled them: it must be the waiter's.
            let waiting = queue.waker.take();
            drop(queue);
            let waker = waiting.as_ref().unwrap_or(Waker::noop());
            let ended = self.poll_destroyed(&mut Context::from_waker(waker));
            let mut queue = lock(&self.queue);
            // A task that has ended meanwhile found no waker.
            let missed = match (waiting, queue.told.is_empty()) {
                (waiting, true) => std::mem::replace(&mut queue.waker, waiting),
                (waiting, false) => waiting,
            };
            drop(queue);
            missed.into_iter().for_each(wake);
            return ended;
        }
    }

    fn poll_destroyed(&mut self, cx: &mut Context<'_>) -> Option<Ended<T>> {
        let mut at = 0;
        while let Some(&id) = self.destroyed.get(at) {
            let poll = match self.tasks.get_mut(&id) {
                Some(Handle::Task(task)) => Pin::new(task).poll(cx),
                Some(Handle::Closure(task)) => Pin::new(task).poll(cx),
                Some(Handle::Any(task)) => Pin::new(task).poll(cx),
                // A runtime panicked in place of spawning it: it is no task of the set.
                None => {
                    self.destroyed.swap_remove(at);
                    continue;
                }
            };
            if let Poll::Ready(result) = poll {
                self.destroyed.swap_remove(at);
                self.tasks.remove(&id);
                let error = result.err().unwrap_or_else(JoinError::cancelled);
                return Some((id, Err(error)));
            }
            at += 1;
        }
        None
    }

    fn forget(&mut self, id: Id, result: Result<T, JoinError>) -> Ended<T> {
        // The member sends no other message.
        match self.tasks.remove(&id) {
            Some(Handle::Task(task)) => task.detach(),
            Some(Handle::Closure(task)) => task.detach(),
            Some(Handle::Any(task)) => task.detach_boxed(),
            None => {}
        }
        (id, result)
    }
}

fn with_id<T>((id, result): Ended<T>) -> Result<(Id, T), (Id, JoinError)> {
    match result {
        Ok(output) => Ok((id, output)),
        Err(error) => Err((id, error)),
    }
}

/// Drops the results that were not taken, and aborts the tasks.
impl<T: Send + 'static, R: Runtime> Drop for JoinSet<T, R> {
    fn drop(&mut self) {
        // A member that runs, such as a closure, holds the inbox until it ends.
        close(&self.queue);
    }
}

/// Spawns each future, as [`spawn`](JoinSet::spawn) does.
impl<T, R, F> Extend<F> for JoinSet<T, R>
where
    T: Send + 'static,
    R: Runtime,
    F: Future<Output = T> + Send + 'static,
{
    #[track_caller]
    fn extend<I: IntoIterator<Item = F>>(&mut self, futures: I) {
        for future in futures {
            self.spawn(future);
        }
    }
}

/// Spawns each future, on the runtime that the caller is in.
impl<T: Send + 'static, F> FromIterator<F> for JoinSet<T>
where
    F: Future<Output = T> + Send + 'static,
{
    #[track_caller]
    fn from_iter<I: IntoIterator<Item = F>>(futures: I) -> Self {
        let mut set = Self::new();
        set.extend(futures);
        set
    }
}

#[track_caller]
fn current() -> AnyRuntime {
    AnyRuntime::current().expect(
        "a `JoinSet` made by `new` spawns on the runtime it is used in, and there is none here: \
         use `JoinSet::on(runtime)`",
    )
}

fn next_id() -> Id {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Relaxed: only uniqueness matters.
    Id(NEXT.fetch_add(1, Ordering::Relaxed))
}

impl<T: Send + 'static, R: Runtime> fmt::Debug for JoinSet<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Tells the set how a member has ended: once, after it has been destroyed (JO-2, destroyed before
/// the join).
struct Tells<T> {
    id: Id,
    /// For the member's error.
    metadata: Metadata,
    queue: Arc<Queue<T>>,
}

impl<T> Tells<T> {
    fn tell(self, result: Result<Option<Result<T, JoinError>>, Payload>) {
        let result = match result {
            Ok(result) => result,
            Err(payload) => {
                let mut error = JoinError::panicked(payload);
                error.set_task(&self.metadata);
                Some(Err(error))
            }
        };
        let mut queue = lock(&self.queue);
        if queue.closed {
            drop(queue);
            return discard(result);
        }
        queue.told.push_back((self.id, result));
        let waker = queue.waker.take();
        drop(queue);
        waker.into_iter().for_each(wake);
    }
}

pin_project! {
    struct Member<F, T>
    where
        F: Future<Output = T>,
    {
        #[pin]
        future: Option<F>,
        tells: Option<Tells<T>>,
    }

    impl<F, T> PinnedDrop for Member<F, T>
    where
        F: Future<Output = T>,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(tells) = this.tells.take() {
                let destroyed = destroy_contained(this.future, None);
                tells.tell(destroyed.map(|()| None));
            }
        }
    }
}

impl<F, T> Future for Member<F, T>
where
    F: Future<Output = T>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if this.tells.is_none() {
            return Poll::Ready(());
        }
        match poll_contained(this.future.as_mut(), None, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(result) => {
                if let Some(tells) = this.tells.take() {
                    tells.tell(result.map(|output| Some(Ok(output))));
                }
                Poll::Ready(())
            }
        }
    }
}

struct MemberClosure<F, T> {
    closure: Option<F>,
    tells: Option<Tells<T>>,
}

impl<F: FnOnce() -> T, T> MemberClosure<F, T> {
    fn run(&mut self) {
        if let (Some(closure), Some(tells)) = (self.closure.take(), self.tells.take()) {
            // Unwind safety: the closure's captures are destroyed with it.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(closure));
            tells.tell(result.map(|output| Some(Ok(output))));
        }
    }
}

impl<F, T> Drop for MemberClosure<F, T> {
    fn drop(&mut self) {
        if let Some(tells) = self.tells.take() {
            let closure = self.closure.take();
            let destroyed =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(closure)));
            tells.tell(destroyed.map(|()| None));
        }
    }
}

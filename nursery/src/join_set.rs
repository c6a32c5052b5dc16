//! Tasks in a set, without structure: [`JoinSet`], with Tokio's names.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    fmt,
    future::{Future, poll_fn},
    ops::Deref,
    pin::Pin,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use fourway_core::{
    AbortHandle, AnyRuntime, JoinError, Offload, Payload, Runtime, Spawner, Task,
    implement::{destroy_contained, discard, fork::Process, poll_contained, wake},
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
/// * Errors are fourway's: [`JoinError`]. What spawns gives an [`AbortMember`], whose
///   [`id`](AbortMember::id) is that of [`join_next_with_id`](Self::join_next_with_id).
/// * A closure that was aborted while it ran gives "cancelled", as everywhere in fourway ([cancelled
///   closures](fourway_core::contract#OF-3)); Tokio gives its output.
/// * [`spawn_on`](Self::spawn_on) takes a runtime in place of a Tokio `Handle`.
/// * There is no `spawn_local`; tasks that stay on a thread are started with
///   [`local::spawn`](fourway_core::local::spawn).
///
/// * **Dropping** it aborts all tasks, and does not wait for them: a set is not a
///   [nursery](crate::nursery()). A closure that runs, runs on ([cancelled
///   closures](fourway_core::contract#OF-3)), and its output is dropped on its thread.
/// * **Results** that are not taken stay in the set, and take memory.
/// * In a **forked child** the tasks from before the fork end with an error that
///   [`is_forked`](JoinError::is_forked).
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
    /// Tasks whose handles have the verdict: why a task was destroyed unfinished, and whether a
    /// closure, whose output is here, was cancelled while it ran.
    // Never locked: the set is `Sync` whether or not `T` is.
    unsettled: Vec<(Id, Option<std::sync::Mutex<T>>)>,
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

/// Cancels a task of a [`JoinSet`] from anywhere, and has its [`Id`]. Otherwise as the
/// [`AbortHandle`] that it derefs to, and can be made into.
#[derive(Clone, Debug)]
pub struct AbortMember {
    id: Id,
    abort: AbortHandle,
}

impl AbortMember {
    /// The task's number, which [`JoinSet::join_next_with_id`] gives when it has ended.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }
}

impl Deref for AbortMember {
    type Target = AbortHandle;

    fn deref(&self) -> &AbortHandle {
        &self.abort
    }
}

impl From<AbortMember> for AbortHandle {
    fn from(member: AbortMember) -> Self {
        member.abort
    }
}

type Ended<T> = (Id, Result<T, JoinError>);
type Told<T> = (Id, End<T>);

/// How a member has ended.
enum End<T> {
    Settled(Result<T, JoinError>),
    /// The output of a closure, which gives none if it was cancelled while it ran.
    Ran(T),
    Destroyed,
}

/// Where the members tell their ends.
struct Queue<T> {
    /// In which it was made. In a forked child the lock may be held for ever (FK-1, forked
    /// children).
    process: Process,
    inbox: Mutex<Inbox<T>>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            process: Process::this(),
            inbox: Mutex::default(),
        }
    }
}

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
    let mut inbox = lock(&queue.inbox);
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
            unsettled: Vec::new(),
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
            unsettled: Vec::new(),
            queue: Arc::default(),
        }
    }

    /// Starts `future` as a task of the set.
    ///
    /// # Panics
    ///
    /// If the set was made by [`new`](JoinSet::new) and the caller is in no runtime.
    #[track_caller]
    pub fn spawn<F>(&mut self, future: F) -> AbortMember
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
    pub fn spawn_named<F>(&mut self, name: impl Into<Cow<'static, str>>, future: F) -> AbortMember
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.spawn_with(Metadata::caller().named(name), future)
    }

    /// Starts `future` as a task of the set, on `runtime`.
    #[track_caller]
    pub fn spawn_on<F, S>(&mut self, future: F, runtime: &S) -> AbortMember
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
    pub fn spawn_blocking<F>(&mut self, f: F) -> AbortMember
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
    ) -> AbortMember
    where
        F: FnOnce() -> T + Send + 'static,
    {
        self.offload_with(Metadata::caller().named(name), f)
    }

    /// Hands a closure that may block to the pool of `runtime`, as a task of the set.
    #[track_caller]
    pub fn spawn_blocking_on<F, S>(&mut self, f: F, runtime: &S) -> AbortMember
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
        self.begin_anew_in_child();
        for (_, handle) in self.tasks.drain() {
            match handle {
                Handle::Task(task) => task.detach(),
                Handle::Closure(task) => task.detach(),
                Handle::Any(task) => task.detach_boxed(),
            }
        }
        let outputs = std::mem::take(&mut self.unsettled);
        outputs.into_iter().for_each(discard);
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
    fn spawn_with<F>(&mut self, metadata: Metadata, future: F) -> AbortMember
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.begin_anew_in_child();
        let Some(runtime) = &self.runtime else {
            return self.spawn_with_on(metadata, future, &current());
        };
        let (id, future) = self.future(&metadata, future);
        let task = runtime.spawn_with(metadata, future);
        self.keep(id, Handle::Task(task))
    }

    fn spawn_with_on<F, S>(&mut self, metadata: Metadata, future: F, runtime: &S) -> AbortMember
    where
        F: Future<Output = T> + Send + 'static,
        S: Spawner,
    {
        self.begin_anew_in_child();
        let (id, future) = self.future(&metadata, future);
        let task = runtime.spawn_with(metadata, future);
        self.keep(id, Handle::Any(Box::new(task)))
    }

    #[track_caller]
    fn offload_with<F>(&mut self, metadata: Metadata, f: F) -> AbortMember
    where
        F: FnOnce() -> T + Send + 'static,
    {
        self.begin_anew_in_child();
        let Some(runtime) = &self.runtime else {
            return self.offload_with_on(metadata, f, &current());
        };
        let (id, closure) = self.closure(&metadata, f);
        let task = runtime.offload_with(metadata, closure);
        self.keep(id, Handle::Closure(task))
    }

    fn offload_with_on<F, S>(&mut self, metadata: Metadata, f: F, runtime: &S) -> AbortMember
    where
        F: FnOnce() -> T + Send + 'static,
        S: Offload,
    {
        self.begin_anew_in_child();
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

    fn keep(&mut self, id: Id, handle: Handle<R>) -> AbortMember {
        let abort = match &handle {
            Handle::Task(task) => task.abort_handle(),
            Handle::Closure(task) => task.abort_handle(),
            Handle::Any(task) => task.abort_handle(),
        };
        self.tasks.insert(id, handle);
        AbortMember { id, abort }
    }

    /// In a forked child, gives the set an inbox of its own. The tasks from before are those of the
    /// parent, and their handles say so; the inbox from before is left alone, because its messages
    /// are the parent's, and its lock may be held.
    fn begin_anew_in_child(&mut self) {
        if !self.queue.process.is_this() {
            std::mem::forget(std::mem::take(&mut self.queue));
            std::mem::forget(std::mem::take(&mut self.unsettled));
            self.unsettled = self.tasks.keys().map(|id| (*id, None)).collect();
        }
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ended<T>>> {
        self.begin_anew_in_child();
        if self.tasks.is_empty() {
            return Poll::Ready(None);
        }
        loop {
            if let Some(ended) = self.poll_unsettled(cx) {
                return Poll::Ready(Some(ended));
            }
            // Cloned and dropped outside of the lock, because it is foreign code.
            let mut waker = Some(cx.waker().clone());
            let mut queue = lock(&self.queue.inbox);
            let told = queue.told.pop_front();
            if told.is_none() {
                std::mem::swap(&mut queue.waker, &mut waker);
            }
            drop(queue);
            drop(waker);
            match told {
                None => return Poll::Pending,
                Some((id, end)) => {
                    if let Some(ended) = self.settle(id, end) {
                        return Poll::Ready(Some(ended));
                    }
                }
            }
        }
    }

    /// A task that has ended, without a change to the waker that is registered.
    fn try_ended(&mut self) -> Option<Ended<T>> {
        self.begin_anew_in_child();
        loop {
            let mut queue = lock(&self.queue.inbox);
            if let Some((id, end)) = queue.told.pop_front() {
                drop(queue);
                let ended = self.settle(id, end);
                if ended.is_some() {
                    return ended;
                }
                continue;
            }
            if self.unsettled.is_empty() {
                return None;
            }
            // Their handles keep the last waker that polled them: it must be the waiter's.
            let waiting = queue.waker.take();
            drop(queue);
            let waker = waiting.as_ref().unwrap_or(Waker::noop());
            let ended = self.poll_unsettled(&mut Context::from_waker(waker));
            let mut queue = lock(&self.queue.inbox);
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

    /// The end, unless a handle has the verdict.
    fn settle(&mut self, id: Id, end: End<T>) -> Option<Ended<T>> {
        match end {
            End::Settled(result) => return Some(self.forget(id, result)),
            End::Ran(output) => self
                .unsettled
                .push((id, Some(std::sync::Mutex::new(output)))),
            End::Destroyed => self.unsettled.push((id, None)),
        }
        None
    }

    fn poll_unsettled(&mut self, cx: &mut Context<'_>) -> Option<Ended<T>> {
        let mut at = 0;
        while let Some((id, _)) = self.unsettled.get(at) {
            let poll = match self.tasks.get_mut(id) {
                Some(Handle::Task(task)) => Pin::new(task).poll(cx),
                Some(Handle::Closure(task)) => Pin::new(task).poll(cx),
                Some(Handle::Any(task)) => Pin::new(task).poll(cx),
                // A runtime panicked in place of spawning it: it is no task of the set.
                None => {
                    discard(self.unsettled.swap_remove(at));
                    continue;
                }
            };
            if let Poll::Ready(verdict) = poll {
                let (id, output) = self.unsettled.swap_remove(at);
                let output = output.map(into_inner);
                self.tasks.remove(&id);
                let result = match (verdict, output) {
                    (Ok(()), Some(output)) => Ok(output),
                    (Ok(()), None) => Err(JoinError::cancelled()),
                    (Err(error), output) => {
                        discard(output);
                        Err(error)
                    }
                };
                return Some((id, result));
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

/// The mutex is never locked, and in models the standard library's as well.
fn into_inner<T>(output: std::sync::Mutex<T>) -> T {
    output.into_inner().unwrap_or_else(PoisonError::into_inner)
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
        self.begin_anew_in_child();
        // A member that runs, such as a closure, holds the inbox until it ends.
        close(&self.queue);
        std::mem::take(&mut self.unsettled)
            .into_iter()
            .for_each(discard);
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
    fn tell(self, result: Result<End<T>, Payload>) {
        let result = match result {
            Ok(end) => end,
            Err(payload) => {
                let mut error = JoinError::panicked(payload);
                error.set_task(&self.metadata);
                End::Settled(Err(error))
            }
        };
        if !self.queue.process.is_this() {
            // The member has forked, and this is the child: the set is the parent's.
            std::mem::forget(self.queue);
            return discard(result);
        }
        let mut queue = lock(&self.queue.inbox);
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
                tells.tell(destroyed.map(|()| End::Destroyed));
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
                    tells.tell(result.map(|output| End::Settled(Ok(output))));
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
            tells.tell(result.map(End::Ran));
        }
    }
}

impl<F, T> Drop for MemberClosure<F, T> {
    fn drop(&mut self) {
        if let Some(tells) = self.tells.take() {
            let closure = self.closure.take();
            let destroyed =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(closure)));
            tells.tell(destroyed.map(|()| End::Destroyed));
        }
    }
}

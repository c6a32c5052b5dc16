//! State that sync and async work share, in order: [`Session`].

mod error;
mod execution;
mod left;
mod outcome;
mod queue;
mod scope;

use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    time::{Duration, Instant},
};

use fourway_core::{CancellationToken, Runtime, cancel::Reason, task::Metadata};

pub use error::ExecutionError;
pub use execution::{Execution, ExecutionId};
pub use left::{Background, LeftTask};
pub use outcome::{Outcome, SessionWork};
pub use queue::Access;
pub use scope::{Read, ReadScope, Scope, Write};

#[cfg(all(test, fourway_shuttle))]
pub(crate) use queue::{Queue, Ticket};

use crate::Executor;
use left::LeftBehind;
use outcome::{Kind, Start};
#[cfg(not(all(test, fourway_shuttle)))]
use queue::Queue;

/// A namespace, and the executions of all kinds that use it one after another.
///
/// * **In order.** Executions have their turns in the order in which `execute` was called; each
///   sees the changes of earlier ones to the namespace, also if one blocks and the next is async
///   ([one door for work of any kind](fourway_core::contract#EX-1)). One execution at a time has
///   the namespace; only consecutive [readers](Self::read) have it together.
/// * **Where they belong.** A closure runs on a thread that may block, a future on the executor, as
///   the session's [model](crate::Model) says. A waiting execution keeps no thread.
/// * **They can be stopped.** Each has a [token](Scope::token): [`interrupt`](Self::interrupt),
///   the [deadline](SessionBuilder::deadline), the execution's handle and the end of the session
///   cancel it. Async work is then dropped; blocking work sees the token.
/// * **Tasks left behind are visible.** A task [spawned](Scope::spawn) by an execution may outlive
///   it; [`left_behind`](Self::left_behind) lists the living ones.
///
/// A panic ends its execution and goes to its handle. The namespace stays as it is, and the next
/// execution has its turn. A namespace that a panic can leave inconsistent must keep its own mark.
///
/// A clone is the same session. Once all clones and executions are gone, tasks that were left
/// behind are cancelled and the namespace is dropped, on any thread. To choose the thread, see
/// [`close`](Self::close).
///
/// `N` is shared by readers on several threads, so it is `Sync`. A type that is not `Sync` goes
/// into a `Mutex`; writers use `get_mut` and need no lock.
///
/// # Examples
///
/// ```
/// use fourway_core::AnyRuntime;
/// use fourway_execute::{ExecutionError, Model, Session};
///
/// async fn notebook(rt: &AnyRuntime) -> Result<(), ExecutionError> {
///     let session = Session::new(rt.clone(), Model::Route, Vec::<String>::new());
///     // A closure, on the pool: it may block.
///     let first = session.execute(|mut lines| {
///         lines.extend(std::fs::read_to_string("notes").map(|text| text.lines().count().to_string()));
///     });
///     // A future, on the executor, which sees what the closure did; both are under way.
///     let second = session.execute(async |lines| lines.len());
///     first.await?;
///     assert!(second.await? <= 1);
///     Ok(())
/// }
/// ```
pub struct Session<R: Runtime, N> {
    shared: Arc<Shared<R, N>>,
}

struct Shared<R: Runtime, N> {
    executor: Executor<R>,
    queue: Arc<Queue<N>>,
    token: CancellationToken,
    // A child that stays: a token frees its list of children when the last child goes, which would
    // happen after each execution.
    _child: CancellationToken,
    deadline: Option<Duration>,
    left: Arc<LeftBehind>,
}

impl<R: Runtime, N> Drop for Shared<R, N> {
    fn drop(&mut self) {
        self.token.cancel_with(Reason::Dropped);
    }
}

// Separate, so that the builder does not need the namespace's type.
impl<R: Runtime> Session<R, ()> {
    /// Sets up a session. Sessions may share an executor, and with it the watch over short
    /// closures.
    pub fn builder(executor: Executor<R>) -> SessionBuilder<R> {
        SessionBuilder {
            executor,
            deadline: None,
            token: CancellationToken::new(),
        }
    }
}

impl<R, N> Session<R, N>
where
    R: Runtime,
    N: Send + Sync + 'static,
{
    /// A session on this runtime, in this model.
    #[must_use]
    pub fn new(rt: R, model: crate::Model, namespace: N) -> Self {
        Session::builder(Executor::new(rt, model)).build(namespace)
    }

    /// Executes work that may change the namespace.
    ///
    /// `f` either gives a value and may block, or is async or gives a future, which is polled: see
    /// [`Outcome`]. It has its turn when all earlier executions have ended. The turn ends when
    /// the [`Scope`] is dropped.
    ///
    /// Never blocks. It can be called from anywhere, also within an execution of the session,
    /// which must not wait for it.
    #[track_caller]
    pub fn execute<F, T, K>(&self, f: F) -> Execution<R, T::Output>
    where
        F: FnOnce(Scope<R, N>) -> T + Send + 'static,
        T: Outcome<K>,
    {
        T::start(self.start(Access::Write, Metadata::caller()), f)
    }

    /// Executes work that reads the namespace, beside other readers. Otherwise as
    /// [`execute`](Self::execute): an earlier writer goes first, and a later writer
    /// waits.
    #[track_caller]
    pub fn read<F, T, K>(&self, f: F) -> Execution<R, T::Output>
    where
        F: FnOnce(ReadScope<R, N>) -> T + Send + 'static,
        T: Outcome<K>,
    {
        T::start(self.start(Access::Read, Metadata::caller()), f)
    }

    /// Executes a closure that is declared [`short`](crate::short()), and may change the namespace.
    #[track_caller]
    pub fn execute_short<F, T>(&self, f: F) -> Execution<R, T>
    where
        F: FnOnce(Scope<R, N>) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.start(Access::Write, Metadata::caller()).short(f)
    }

    /// Executes work whose kind was decided at run time, and which may change the namespace.
    #[track_caller]
    pub fn execute_work<T: Send + 'static>(&self, work: SessionWork<R, N, T>) -> Execution<R, T> {
        self.start_work(Access::Write, Metadata::caller(), work)
    }

    /// Executes work whose kind was decided at run time, and which reads the namespace.
    #[track_caller]
    pub fn read_work<T: Send + 'static>(
        &self,
        work: SessionWork<R, N, T, Read>,
    ) -> Execution<R, T> {
        self.start_work(Access::Read, Metadata::caller(), work)
    }

    fn start_work<T: Send + 'static, A: 'static>(
        &self,
        access: Access,
        metadata: Metadata,
        work: SessionWork<R, N, T, A>,
    ) -> Execution<R, T> {
        let start = self.start(access, metadata);
        match work.0 {
            Kind::Blocking(f) => start.blocking(f),
            Kind::Short(f) => start.short(f),
            Kind::Making(f) => start.making(f),
        }
    }

    fn start<A>(&self, access: Access, metadata: Metadata) -> Start<'_, R, N, A> {
        Start {
            session: self,
            metadata,
            access,
            kind: PhantomData,
        }
    }

    /// Asks the executions that have their turn to end. Executions in line are not affected.
    ///
    /// Gives how many were asked.
    pub fn interrupt(&self) -> usize {
        let (running, _) = self.shared.queue.entries();
        running.iter().for_each(|entry| entry.token.cancel());
        running.len()
    }

    /// Asks all executions to end, also those in line.
    ///
    /// Gives how many were asked.
    pub fn interrupt_all(&self) -> usize {
        let (running, waiting) = self.shared.queue.entries();
        // The waiting ones first, so that none of them gets a turn in between.
        let all = waiting.iter().chain(&running);
        all.map(|entry| entry.token.cancel()).count()
    }

    /// The executions that have their turn: one, or several readers; those in line, in order.
    #[must_use]
    pub fn status(&self) -> SessionStatus {
        let (running, waiting) = self.shared.queue.entries();
        SessionStatus {
            running: running.into_iter().map(ExecutionStatus::from).collect(),
            waiting: waiting.into_iter().map(ExecutionStatus::from).collect(),
        }
    }

    /// Tasks that executions have [spawned](Scope::spawn) and that are alive, oldest first.
    #[must_use]
    pub fn left_behind(&self) -> Vec<LeftTask> {
        self.shared.left.tasks()
    }

    /// Starts a task that belongs to the session, as [`Scope::spawn`] does, but to no execution.
    /// For code called by an execution that has no scope at hand.
    #[track_caller]
    pub fn spawn<F>(
        &self,
        name: impl Into<std::borrow::Cow<'static, str>>,
        future: F,
    ) -> Background<R, F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        left::spawn(&self.shared, None, Some(name.into()), future)
    }

    /// The executor of the session.
    #[must_use]
    pub fn executor(&self) -> &Executor<R> {
        &self.shared.executor
    }

    /// Was it [closed](Self::close)?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.queue.is_closed()
    }

    /// Admits no more executions, cancels all executions and all tasks left behind, and gives the
    /// namespace once it is free; `None` if another caller has closed the session and got it.
    ///
    /// The call itself does all of this; only the waiting is in the future. A blocking execution
    /// keeps its turn until it checks its token.
    ///
    /// # Cancel safety
    ///
    /// The session stays closed; the namespace is dropped with the session, or given to the next
    /// caller of `close`.
    pub fn close(&self) -> impl Future<Output = Option<N>> + Send + use<R, N> {
        let shared = &self.shared;
        let now = shared.executor.runtime().now();
        let ticket = shared
            .queue
            .close(Reason::Shutdown, Metadata::caller(), now);
        shared.token.cancel_with(Reason::Shutdown);
        async move { ticket.await.take() }
    }
}

impl<R: Runtime, N> Clone for Session<R, N> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<R: Runtime, N> fmt::Debug for Session<R, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (running, waiting) = self.shared.queue.entries();
        f.debug_struct("Session")
            .field("executor", &self.shared.executor)
            .field("running", &running.len())
            .field("waiting", &waiting.len())
            .finish_non_exhaustive()
    }
}

/// The running and the waiting executions of a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionStatus {
    /// Executions that have their turn.
    pub running: Vec<ExecutionStatus>,
    /// Executions in line, in order.
    pub waiting: Vec<ExecutionStatus>,
}

/// An execution, as seen from the outside.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExecutionStatus {
    /// Its number.
    pub id: ExecutionId,
    /// The access that its turn allows.
    pub access: Access,
    /// Where it was started.
    pub metadata: Metadata,
    /// When it came in line, by the runtime's clock.
    pub since: Instant,
}

impl From<queue::Entry> for ExecutionStatus {
    fn from(entry: queue::Entry) -> Self {
        Self {
            id: ExecutionId(entry.number),
            access: entry.access,
            metadata: entry.metadata,
            since: entry.entered,
        }
    }
}

/// Sets up a [`Session`]. Made by [`Session::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing before `build`"]
pub struct SessionBuilder<R> {
    executor: Executor<R>,
    deadline: Option<Duration>,
    token: CancellationToken,
}

impl<R: Runtime> SessionBuilder<R> {
    /// How long each execution may take, from the beginning of its turn. No limit by default.
    ///
    /// Blocking work must check its token for that; there is no other way to end it.
    pub fn deadline(self, limit: Duration) -> Self {
        Self {
            deadline: Some(limit),
            ..self
        }
    }

    /// A token that cancels everything in the session: for a host that shuts down.
    pub fn token(self, token: &CancellationToken) -> Self {
        Self {
            token: token.child(),
            ..self
        }
    }

    /// The session.
    #[must_use]
    pub fn build<N: Send + Sync + 'static>(self, namespace: N) -> Session<R, N> {
        Session {
            shared: Arc::new(Shared {
                executor: self.executor,
                queue: Arc::new(Queue::new(namespace)),
                _child: self.token.child(),
                token: self.token,
                deadline: self.deadline,
                left: Arc::default(),
            }),
        }
    }
}

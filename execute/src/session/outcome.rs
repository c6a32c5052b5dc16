//! Telling kinds of work in a session apart by their closure's result: [`Outcome`].

use std::{fmt, future::Future, marker::PhantomData, pin::Pin};

use fourway_core::{
    CancellationToken, Runtime, implement::expire_after, task::Metadata, values::Values,
};

use super::{
    Execution, ExecutionError, ExecutionId, Scope, Session, Write,
    execution::Output,
    queue::{Ticket, Turn},
};
use crate::{Model, kind};

/// The result of a closure that is executed in a [`Session`]: a value, in which case the closure
/// may block; or a future, which is polled.
///
/// The compiler infers `K` in the same way, and with the same borderline cases, as for
/// [`IntoWork`](crate::IntoWork#closures-of-which-one-cannot-tell); for those, a [`SessionWork`]
/// states the kind.
#[diagnostic::on_unimplemented(
    message = "a closure that gives `{Self}` is not work that can be executed in a session",
    label = "neither a value that is `Send + Unpin + 'static` nor such a future",
    note = "`SessionWork::blocking(|scope| ..)` and `SessionWork::making(|scope| ..)` say which is meant"
)]
pub trait Outcome<K>: Sized {
    /// The output of the execution.
    type Output: Send + 'static;

    #[doc(hidden)]
    fn start<R, N, A, F>(start: Start<'_, R, N, A>, f: F) -> Execution<R, Self::Output>
    where
        R: Runtime,
        N: Send + Sync + 'static,
        A: 'static,
        F: FnOnce(Scope<R, N, A>) -> Self + Send + 'static;
}

impl<T: Send + Unpin + 'static> Outcome<kind::Closure> for T {
    type Output = T;

    fn start<R, N, A, F>(start: Start<'_, R, N, A>, f: F) -> Execution<R, T>
    where
        R: Runtime,
        N: Send + Sync + 'static,
        A: 'static,
        F: FnOnce(Scope<R, N, A>) -> T + Send + 'static,
    {
        start.blocking(f)
    }
}

impl<Fut> Outcome<kind::AsyncClosure> for Fut
where
    Fut: Future<Output: Send + 'static> + Send + 'static,
{
    type Output = Fut::Output;

    fn start<R, N, A, F>(start: Start<'_, R, N, A>, f: F) -> Execution<R, Fut::Output>
    where
        R: Runtime,
        N: Send + Sync + 'static,
        A: 'static,
        F: FnOnce(Scope<R, N, A>) -> Fut + Send + 'static,
    {
        start.making(f)
    }
}

/// Work in a session, of a kind that is decided at run time. It boxes its closure.
#[must_use = "work does nothing before it is executed"]
pub struct SessionWork<R: Runtime, N, T, A = Write>(pub(super) Kind<R, N, T, A>);

type Closure<R, N, A, T> = Box<dyn FnOnce(Scope<R, N, A>) -> T + Send>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(super) enum Kind<R: Runtime, N, T, A> {
    Blocking(Closure<R, N, A, T>),
    Short(Closure<R, N, A, T>),
    Making(Closure<R, N, A, BoxFuture<T>>),
}

impl<R: Runtime, N, T, A> SessionWork<R, N, T, A> {
    /// A closure that may block.
    pub fn blocking(f: impl FnOnce(Scope<R, N, A>) -> T + Send + 'static) -> Self {
        Self(Kind::Blocking(Box::new(f)))
    }

    /// A closure that takes a moment only: see [`short`](crate::short()).
    pub fn short(f: impl FnOnce(Scope<R, N, A>) -> T + Send + 'static) -> Self {
        Self(Kind::Short(Box::new(f)))
    }

    /// A closure that gives a future to be polled.
    pub fn making<Fut>(f: impl FnOnce(Scope<R, N, A>) -> Fut + Send + 'static) -> Self
    where
        Fut: Future<Output = T> + Send + 'static,
    {
        Self(Kind::Making(Box::new(|scope| Box::pin(f(scope)))))
    }
}

impl<R: Runtime, N, T, A> fmt::Debug for SessionWork<R, N, T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Blocking(_) => "SessionWork::Blocking",
            Kind::Short(_) => "SessionWork::Short",
            Kind::Making(_) => "SessionWork::Making",
        })
    }
}

/// An execution that is about to take its place in line.
#[doc(hidden)]
pub struct Start<'a, R: Runtime, N, A> {
    pub(super) session: &'a Session<R, N>,
    pub(super) metadata: Metadata,
    pub(super) access: super::Access,
    pub(super) kind: PhantomData<fn() -> A>,
}

impl<R: Runtime, N, A> fmt::Debug for Start<'_, R, N, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start")
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// An execution in line: its work and its place.
type Entered<R, N> = (Begin<R, N>, Ticket<N>);

/// The work to run in a turn.
struct Begin<R: Runtime, N> {
    session: Session<R, N>,
    token: CancellationToken,
}

impl<R, N> Begin<R, N>
where
    R: Runtime,
    N: Send + Sync + 'static,
{
    /// Waits in line, unless it is cancelled there.
    async fn turn(&self, ticket: Ticket<N>) -> Result<Turn<N>, ExecutionError> {
        let turn = self.token.run_until_cancelled(ticket).await;
        turn.map_err(|cancelled| ExecutionError::stopped(cancelled.reason().clone()))
    }

    /// Makes the scope, unless it was cancelled while it waited. The time for the deadline begins
    /// here.
    fn scope<A>(self, turn: Turn<N>) -> Result<Scope<R, N, A>, ExecutionError> {
        if let Some(reason) = self.token.reason() {
            return Err(ExecutionError::stopped(reason));
        }
        let shared = &self.session.shared;
        // The token itself expires, not a child of it: the execution's handle asks it why it ends.
        if let Some(limit) = shared.deadline {
            expire_after(&self.token, shared.executor.runtime(), limit);
        }
        Ok(Scope {
            turn,
            session: self.session,
            token: self.token,
            access: PhantomData,
        })
    }

    fn block<A, T>(self, turn: Turn<N>, f: impl FnOnce(Scope<R, N, A>) -> T) -> Output<T> {
        let scope = self.scope(turn)?;
        // As `CancellationToken::scope`, without a clone to call it on.
        let values = scope.token.attach(Values::current());
        Ok(values.scope(|| f(scope)))
    }

    async fn drive<A, Fut: Future>(
        self,
        turn: Turn<N>,
        f: impl FnOnce(Scope<R, N, A>) -> Fut,
    ) -> Output<Fut::Output> {
        let scope = self.scope(turn)?;
        let token = scope.token.clone();
        let future = async move { f(scope).await };
        let output = token.scope_future(token.run_until_cancelled(future)).await;
        output.map_err(|cancelled| ExecutionError::stopped(cancelled.reason().clone()))
    }
}

impl<R, N, A> Start<'_, R, N, A>
where
    R: Runtime,
    N: Send + Sync + 'static,
    A: 'static,
{
    pub(super) fn blocking<T, F>(self, f: F) -> Execution<R, T>
    where
        T: Send + 'static,
        F: FnOnce(Scope<R, N, A>) -> T + Send + 'static,
    {
        self.on_the_pool(|begin, turn| begin.block(turn, f))
    }

    pub(super) fn short<T, F>(self, f: F) -> Execution<R, T>
    where
        T: Send + 'static,
        F: FnOnce(Scope<R, N, A>) -> T + Send + 'static,
    {
        let executor = &self.session.shared.executor;
        if executor.model() != Model::Async {
            return self.blocking(f);
        }
        let (watch, place) = (executor.watch().clone(), self.metadata.clone());
        self.on_the_executor(
            move |begin, turn| async move { watch.run(place, || begin.block(turn, f)) },
        )
    }

    pub(super) fn making<Fut, F>(self, f: F) -> Execution<R, Fut::Output>
    where
        Fut: Future<Output: Send + 'static> + Send + 'static,
        F: FnOnce(Scope<R, N, A>) -> Fut + Send + 'static,
    {
        let executor = &self.session.shared.executor;
        if executor.model() == Model::Thread {
            let driver = executor.runtime().clone();
            return self.on_the_pool(move |begin, turn| driver.block_on(begin.drive(turn, f)));
        }
        self.on_the_executor(|begin, turn| begin.drive(turn, f))
    }

    /// A place in line, or a handle that says why there is none.
    fn enter<T: Send + 'static>(&self) -> Result<Entered<R, N>, Execution<R, T>> {
        let shared = &self.session.shared;
        let token = shared.token.child();
        let now = shared.executor.runtime().now();
        let entered = shared
            .queue
            .enter(self.access, token.clone(), self.metadata.clone(), now);
        match entered {
            Err(reason) => Err(Execution::refused(reason)),
            Ok(ticket) => {
                let session = self.session.clone();
                Ok((Begin { session, token }, ticket))
            }
        }
    }

    fn on_the_pool<T, F>(self, f: F) -> Execution<R, T>
    where
        T: Send + 'static,
        F: FnOnce(Begin<R, N>, Turn<N>) -> Output<T> + Send + 'static,
    {
        let (begin, ticket) = match self.enter() {
            Ok(entered) => entered,
            Err(refused) => return refused,
        };
        let (rt, metadata) = (self.session.shared.executor.runtime(), self.metadata);
        let (id, token) = (ExecutionId(ticket.number), begin.token.clone());
        match ticket.try_turn() {
            // The usual case has one hand-over.
            Ok(turn) => {
                let task = rt.offload_with(metadata, move || f(begin, turn));
                Execution::offloaded(id, token, task)
            }
            // No pool thread waits in line: there may be fewer pool threads than executions.
            Err(ticket) => {
                let pool = rt.clone();
                let task = rt.spawn_with(metadata.clone(), async move {
                    let turn = begin.turn(ticket).await?;
                    let task = pool.offload_with(metadata, move || f(begin, turn));
                    task.await
                        .unwrap_or_else(|error| Err(ExecutionError::join(error)))
                });
                Execution::spawned(id, token, task)
            }
        }
    }

    fn on_the_executor<T, F, Fut>(self, f: F) -> Execution<R, T>
    where
        T: Send + 'static,
        F: FnOnce(Begin<R, N>, Turn<N>) -> Fut + Send + 'static,
        Fut: Future<Output = Output<T>> + Send + 'static,
    {
        let (begin, ticket) = match self.enter() {
            Ok(entered) => entered,
            Err(refused) => return refused,
        };
        let (rt, metadata) = (self.session.shared.executor.runtime(), self.metadata);
        let (id, token) = (ExecutionId(ticket.number), begin.token.clone());
        let task = rt.spawn_with(metadata, async move {
            let turn = begin.turn(ticket).await?;
            f(begin, turn).await
        });
        Execution::spawned(id, token, task)
    }
}

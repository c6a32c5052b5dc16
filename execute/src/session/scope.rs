use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use fourway_core::{CancellationToken, Runtime};

use super::{Background, ExecutionId, Session, left, queue::Turn};

/// The turn of one execution: the session's namespace, and the execution's own values.
///
/// It dereferences to the namespace. The execution's turn is over when this is dropped, usually
/// at the end of the closure or the async block that owns it; until then no other execution has the
/// namespace ([one door for work of any kind](fourway_core::contract#EX-1)). A spawned task that
/// takes the scope along keeps the session waiting. Work that must be left behind runs without it:
/// see [`spawn`](Self::spawn).
pub struct Scope<R: Runtime, N, A = Write> {
    pub(super) turn: Turn<N>,
    pub(super) session: Session<R, N>,
    pub(super) token: CancellationToken,
    pub(super) access: PhantomData<fn() -> A>,
}

/// A [`Scope`] whose execution was declared a reader.
pub type ReadScope<R, N> = Scope<R, N, Read>;

/// For a [`Scope`]: alone with the namespace, to change it.
#[derive(Debug)]
pub enum Write {}

/// For a [`Scope`]: with the namespace to read, beside other readers.
#[derive(Debug)]
pub enum Read {}

impl<R: Runtime, N: Send + Sync + 'static, A> Scope<R, N, A> {
    /// The token that asks this execution to end: on an interruption, its deadline, the end of the
    /// session.
    ///
    /// It is the current token as well ([`fourway_core::cancel`]). Async work is dropped when it is
    /// cancelled; blocking work must check it.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// The number of this execution.
    #[must_use]
    pub fn id(&self) -> ExecutionId {
        ExecutionId(self.turn.number)
    }

    /// The session, for example to execute more later. Waiting for that here would never end,
    /// as its turn comes after this one.
    #[must_use]
    pub fn session(&self) -> &Session<R, N> {
        &self.session
    }

    /// Starts a task that may outlive this execution, and stays visible in the
    /// [session](Session::left_behind) until it ends.
    ///
    /// Dropping the handle leaves the task alone; [`Session::close`], and the end of the session,
    /// cancel it. The task has no access to the namespace. With a clone of the session it can
    /// execute work that has access; the session then lives as long as the task, unless it is
    /// closed.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Background<R, F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        left::spawn(&self.session.shared, Some(self.id()), None, future)
    }

    /// [`spawn`](Self::spawn), with a name.
    #[track_caller]
    pub fn spawn_named<F>(
        &self,
        name: impl Into<std::borrow::Cow<'static, str>>,
        future: F,
    ) -> Background<R, F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        left::spawn(
            &self.session.shared,
            Some(self.id()),
            Some(name.into()),
            future,
        )
    }
}

impl<R: Runtime, N, A> Deref for Scope<R, N, A> {
    type Target = N;

    fn deref(&self) -> &N {
        self.turn.get()
    }
}

impl<R: Runtime, N> DerefMut for Scope<R, N, Write> {
    fn deref_mut(&mut self) -> &mut N {
        self.turn.get_mut()
    }
}

impl<R: Runtime, N, A> fmt::Debug for Scope<R, N, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("id", &ExecutionId(self.turn.number))
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

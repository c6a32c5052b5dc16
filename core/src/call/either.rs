use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    Call,
    parts::{Parts, Waited},
};
use crate::{
    AbortHandle, AnyRuntime, BlockOnError, CancellationToken, JoinError, Task, task::Metadata,
};

/// One of two calls with the same output: for the branches of an `if` or a `match`.
///
/// Each keeps its kind of body, and nothing is allocated to wait for, await or spawn it.
/// For more than two, nest it, or use [`BoxCall`](super::BoxCall).
///
/// # Examples
///
/// ```
/// use fourway_core::{Runtime, call::{Call, Either}};
/// use std::io;
///
/// /// A text that is there already, or else in a file.
/// fn text<R: Runtime>(
///     rt: &R,
///     cached: Option<String>,
/// ) -> impl Call<Output = io::Result<String>> + use<R> {
///     match cached {
///         Some(text) => Either::Left(rt.call_ready(Ok(text))),
///         None => Either::Right(rt.call_blocking(|| std::fs::read_to_string("text"))),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a call does nothing unless you `.wait()`, `.await` or `.spawn()` it"]
pub enum Either<L, R> {
    /// The first call.
    Left(L),
    /// The second call.
    Right(R),
}

impl<L, R> IntoFuture for Either<L, R>
where
    L: Call,
    R: Call<Output = L::Output>,
{
    type Output = L::Output;
    type IntoFuture = EitherFuture<L::IntoFuture, R::IntoFuture>;

    #[track_caller]
    fn into_future(self) -> Self::IntoFuture {
        match self {
            Self::Left(left) => EitherFuture::left(left.into_future()),
            Self::Right(right) => EitherFuture::right(right.into_future()),
        }
    }
}

impl<L, R> Parts for Either<L, R>
where
    L: Call,
    R: Call<Output = L::Output>,
{
    // One type for both, which costs an allocation where the call is part of another one
    // that is spawned or limited.
    type Runtime = AnyRuntime;

    fn runtime(&self) -> AnyRuntime {
        match self {
            Self::Left(left) => AnyRuntime::new(left.runtime()),
            Self::Right(right) => AnyRuntime::new(right.runtime()),
        }
    }

    fn try_wait_until(self, token: &CancellationToken) -> Waited<L::Output> {
        match self {
            Self::Left(left) => left.try_wait_until(token),
            Self::Right(right) => right.try_wait_until(token),
        }
    }
}

impl<L, R> Call for Either<L, R>
where
    L: Call,
    R: Call<Output = L::Output>,
{
    type Task = EitherTask<L::Task, R::Task>;
    type Fallible = EitherFuture<L::Fallible, R::Fallible>;

    fn fallible_with(self, metadata: Metadata) -> Self::Fallible {
        match self {
            Self::Left(left) => EitherFuture::left(left.fallible_with(metadata)),
            Self::Right(right) => EitherFuture::right(right.fallible_with(metadata)),
        }
    }

    fn try_wait(self) -> Result<Self::Output, BlockOnError> {
        match self {
            Self::Left(left) => left.try_wait(),
            Self::Right(right) => right.try_wait(),
        }
    }

    fn spawn_with(self, metadata: Metadata) -> Self::Task {
        match self {
            Self::Left(left) => EitherTask::Left(left.spawn_with(metadata)),
            Self::Right(right) => EitherTask::Right(right.spawn_with(metadata)),
        }
    }

    fn map<U, G>(self, g: G) -> impl Call<Output = U>
    where
        G: FnOnce(Self::Output) -> U + Send + 'static,
        U: Send + 'static,
    {
        match self {
            Self::Left(left) => Either::Left(left.map(g)),
            Self::Right(right) => Either::Right(right.map(g)),
        }
    }
}

pin_project! {
    /// The future of one of two calls.
    ///
    /// # Cancel safety
    ///
    /// As the future of the call that it holds.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct EitherFuture<L, R> {
        #[pin]
        which: Which<L, R>,
    }
}

pin_project! {
    #[project = WhichProjection]
    enum Which<L, R> {
        Left { #[pin] left: L },
        Right { #[pin] right: R },
    }
}

impl<L, R> EitherFuture<L, R> {
    fn left(left: L) -> Self {
        Self {
            which: Which::Left { left },
        }
    }

    fn right(right: R) -> Self {
        Self {
            which: Which::Right { right },
        }
    }
}

impl<L, R> Future for EitherFuture<L, R>
where
    L: Future,
    R: Future<Output = L::Output>,
{
    type Output = L::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<L::Output> {
        match self.project().which.project() {
            WhichProjection::Left { left } => left.poll(cx),
            WhichProjection::Right { right } => right.poll(cx),
        }
    }
}

impl<L, R> fmt::Debug for EitherFuture<L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.which {
            Which::Left { .. } => "EitherFuture::Left",
            Which::Right { .. } => "EitherFuture::Right",
        })
    }
}

/// The handle of one of two calls.
#[derive(Debug)]
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub enum EitherTask<L, R> {
    /// The handle of the first call.
    Left(L),
    /// The handle of the second call.
    Right(R),
}

impl<L, R> Future for EitherTask<L, R>
where
    L: Future + Unpin,
    R: Future<Output = L::Output> + Unpin,
{
    type Output = L::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<L::Output> {
        match &mut *self {
            Self::Left(left) => Pin::new(left).poll(cx),
            Self::Right(right) => Pin::new(right).poll(cx),
        }
    }
}

impl<T, L, R> Task<T> for EitherTask<L, R>
where
    L: Task<T>,
    R: Task<T>,
{
    fn is_finished(&self) -> bool {
        match self {
            Self::Left(left) => left.is_finished(),
            Self::Right(right) => right.is_finished(),
        }
    }

    fn abort(&self) {
        match self {
            Self::Left(left) => left.abort(),
            Self::Right(right) => right.abort(),
        }
    }

    fn abort_handle(&self) -> AbortHandle {
        match self {
            Self::Left(left) => left.abort_handle(),
            Self::Right(right) => right.abort_handle(),
        }
    }

    fn metadata(&self) -> Option<&Metadata> {
        match self {
            Self::Left(left) => left.metadata(),
            Self::Right(right) => right.metadata(),
        }
    }

    fn detach(self) {
        match self {
            Self::Left(left) => left.detach(),
            Self::Right(right) => right.detach(),
        }
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }

    fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
        match self {
            Self::Left(left) => left.try_wait(),
            Self::Right(right) => right.try_wait(),
        }
    }
}

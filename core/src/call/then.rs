use std::{
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    Call, CallError, CallFuture, CallTask,
    parts::{Parts, Waited},
};
use crate::{BlockOnError, CancellationToken, Cancelled, Spawner, task::Metadata};

/// Two calls in a row. Made by [`Call::then`] and its kin.
///
/// The closure says with which call to go on, or that there is nothing more to do.
#[must_use = "a call does nothing unless you `.wait()`, `.await` or `.spawn()` it"]
pub struct Then<A, B, G> {
    first: A,
    then: G,
    second: PhantomData<fn() -> B>,
}

/// How to go on after the first call.
pub enum Next<B: IntoFuture> {
    /// With a second one.
    Call(B),
    /// The outcome is there.
    Done(B::Output),
}

impl<B: IntoFuture> fmt::Debug for Next<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call(_) => "Next::Call",
            Self::Done(_) => "Next::Done",
        })
    }
}

impl<A, B, G> Then<A, B, G> {
    pub(super) fn new(first: A, then: G) -> Self {
        Self {
            first,
            then,
            second: PhantomData,
        }
    }
}

impl<A, B, G> IntoFuture for Then<A, B, G>
where
    A: Call,
    B: Call,
    G: FnOnce(A::Output) -> Next<B> + Send + 'static,
{
    type Output = B::Output;
    type IntoFuture = CallFuture<ThenFuture<A::Fallible, B, G>>;

    #[track_caller]
    fn into_future(self) -> Self::IntoFuture {
        CallFuture::new(self.fallible())
    }
}

impl<A, B, G> Parts for Then<A, B, G>
where
    A: Call,
    B: Call,
    G: FnOnce(A::Output) -> Next<B> + Send + 'static,
{
    type Runtime = A::Runtime;

    fn runtime(&self) -> A::Runtime {
        self.first.runtime()
    }

    fn try_wait_until(self, token: &CancellationToken) -> Waited<B::Output> {
        let first = match self.first.try_wait_until(token)? {
            Ok(output) => output,
            Err(cancelled) => return Ok(Err(cancelled)),
        };
        // A blocking body ends by itself, maybe after the cancellation. Nothing begins then.
        if let Some(reason) = token.reason() {
            return Ok(Err(Cancelled::new(reason)));
        }
        match (self.then)(first) {
            Next::Call(second) => second.try_wait_until(token),
            Next::Done(output) => Ok(Ok(output)),
        }
    }
}

impl<A, B, G> Call for Then<A, B, G>
where
    A: Call,
    B: Call,
    G: FnOnce(A::Output) -> Next<B> + Send + 'static,
{
    type Task = CallTask<<A::Runtime as Spawner>::Task<Result<B::Output, CallError>>>;
    type Fallible = ThenFuture<A::Fallible, B, G>;

    fn fallible_with(self, metadata: Metadata) -> Self::Fallible {
        ThenFuture {
            first: Some(self.first.fallible_with(metadata.clone())),
            second: None,
            then: Some((self.then, metadata)),
        }
    }

    fn try_wait(self) -> Result<B::Output, BlockOnError> {
        match (self.then)(self.first.try_wait()?) {
            Next::Call(second) => second.try_wait(),
            Next::Done(output) => Ok(output),
        }
    }

    fn spawn_with(self, metadata: Metadata) -> Self::Task {
        let runtime = self.runtime();
        let future = self.fallible_with(metadata.clone());
        CallTask::new(runtime.spawn_with(metadata, future))
    }

    fn map<U, H>(self, h: H) -> impl Call<Output = U>
    where
        H: FnOnce(B::Output) -> U + Send + 'static,
        U: Send + 'static,
    {
        // The second call does the mapping, so that it happens where its body
        // has run.
        let then = self.then;
        Then::new(self.first, move |output| match then(output) {
            Next::Call(second) => Next::Call(second.map(h)),
            Next::Done(output) => Next::Done(h(output)),
        })
    }
}

impl<A, B, G> fmt::Debug for Then<A, B, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Then").finish_non_exhaustive()
    }
}

pin_project! {
    /// The fallible future of two calls in a row.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the running call. A call that has not begun never begins.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ThenFuture<A, B: Call, G> {
        // Destroyed as soon as it is ready.
        #[pin]
        first: Option<A>,
        #[pin]
        second: Option<B::Fallible>,
        // With the metadata for the second call.
        then: Option<(G, Metadata)>,
    }
}

impl<A, T, B, G> Future for ThenFuture<A, B, G>
where
    A: Future<Output = Result<T, CallError>>,
    B: Call,
    G: FnOnce(T) -> Next<B>,
{
    type Output = Result<B::Output, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(first) = this.first.as_mut().as_pin_mut() {
            let output = ready!(first.poll(cx));
            this.first.set(None);
            let (then, metadata) = this.then.take().expect("taken with the first future");
            match then(output?) {
                Next::Call(second) => this.second.set(Some(second.fallible_with(metadata))),
                Next::Done(output) => return Poll::Ready(Ok(output)),
            }
        }
        this.second
            .as_pin_mut()
            .expect("polled after it was ready")
            .poll(cx)
    }
}

impl<A, B: Call, G> fmt::Debug for ThenFuture<A, B, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThenFuture").finish_non_exhaustive()
    }
}

use std::{
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::Call;
use crate::{BlockOnError, Spawner};

/// Two calls in a row. Made by [`Call::then`].
#[must_use = "a call does nothing unless you `.wait()`, `.await` or `.spawn()` it"]
pub struct Then<A, B, G> {
    first: A,
    then: G,
    second: PhantomData<fn() -> B>,
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
    G: FnOnce(A::Output) -> B + Send + 'static,
{
    type Output = B::Output;
    type IntoFuture = ThenFuture<A::IntoFuture, B::IntoFuture, G>;

    fn into_future(self) -> Self::IntoFuture {
        ThenFuture {
            first: Some(self.first.into_future()),
            second: None,
            then: Some(self.then),
        }
    }
}

impl<A, B, G> Call for Then<A, B, G>
where
    A: Call,
    B: Call,
    G: FnOnce(A::Output) -> B + Send + 'static,
{
    type Runtime = A::Runtime;
    type Task = <A::Runtime as Spawner>::Task<B::Output>;

    fn runtime(&self) -> &A::Runtime {
        self.first.runtime()
    }

    fn try_wait(self) -> Result<B::Output, BlockOnError> {
        (self.then)(self.first.try_wait()?).try_wait()
    }

    fn spawn(self) -> Self::Task {
        self.runtime().clone().spawn(self.into_future())
    }

    fn map<U, H>(self, h: H) -> impl Call<Output = U, Runtime = A::Runtime>
    where
        H: FnOnce(B::Output) -> U + Send + 'static,
        U: Send + 'static,
    {
        // The second call does the mapping, so that it happens where its body
        // has run.
        let then = self.then;
        Then::new(self.first, move |output| then(output).map(h))
    }
}

impl<A, B, G> fmt::Debug for Then<A, B, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Then").finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of two calls in a row.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ThenFuture<A, B, G> {
        // Destroyed as soon as it is ready.
        #[pin]
        first: Option<A>,
        #[pin]
        second: Option<B>,
        then: Option<G>,
    }
}

impl<A, B, C, G> Future for ThenFuture<A, B, G>
where
    A: Future,
    B: Future,
    C: IntoFuture<IntoFuture = B, Output = B::Output>,
    G: FnOnce(A::Output) -> C,
{
    type Output = B::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<B::Output> {
        let mut this = self.project();
        if let Some(first) = this.first.as_mut().as_pin_mut() {
            let output = ready!(first.poll(cx));
            this.first.set(None);
            let then = this.then.take().expect("taken with the first future");
            this.second.set(Some(then(output).into_future()));
        }
        this.second
            .as_pin_mut()
            .expect("set when the first future was ready")
            .poll(cx)
    }
}

impl<A, B, G> fmt::Debug for ThenFuture<A, B, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThenFuture").finish_non_exhaustive()
    }
}

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    Call, CallError, Infallible,
    parts::{Parts, Waited},
};
use crate::{BlockOnError, CancellationToken, Runtime, Spawner, task::Metadata};

/// A [`Call`] with an async body. Made by [`Runtime::call`].
#[derive(Clone)]
#[must_use = "a call does nothing unless you `.wait()`, `.await` or `.spawn()` it"]
pub struct AsyncCall<R, F> {
    runtime: R,
    future: F,
}

impl<R, F> AsyncCall<R, F> {
    pub(crate) fn new(runtime: R, future: F) -> Self {
        Self { runtime, future }
    }
}

impl<R, F: Future> IntoFuture for AsyncCall<R, F> {
    type Output = F::Output;
    type IntoFuture = F;

    fn into_future(self) -> F {
        self.future
    }
}

impl<R: Runtime, F: Future> Parts for AsyncCall<R, F> {
    type Runtime = R;

    fn runtime(&self) -> R {
        self.runtime.clone()
    }

    fn try_wait_until(self, token: &CancellationToken) -> Waited<F::Output> {
        self.runtime
            .try_block_on(token.run_until_cancelled(self.future))
    }
}

impl<R, F> Call for AsyncCall<R, F>
where
    R: Runtime,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    type Task = <R as Spawner>::Task<F::Output>;
    type Fallible = Infallible<F>;

    fn fallible_with(self, _metadata: Metadata) -> Infallible<F> {
        Infallible::new(self.future)
    }

    #[inline]
    fn try_wait(self) -> Result<F::Output, BlockOnError> {
        self.runtime.try_block_on(self.future)
    }

    fn spawn_with(self, metadata: Metadata) -> Self::Task {
        self.runtime.spawn_with(metadata, self.future)
    }

    fn map<U, G>(self, g: G) -> impl Call<Output = U>
    where
        G: FnOnce(F::Output) -> U + Send + 'static,
        U: Send + 'static,
    {
        AsyncCall {
            runtime: self.runtime,
            future: MapFuture::new(self.future, g),
        }
    }
}

impl<R, F> fmt::Debug for AsyncCall<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncCall").finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of a mapped async call.
    ///
    /// # Cancel safety
    ///
    /// That of the future inside: dropping it drops that.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct MapFuture<F, G> {
        #[pin]
        future: F,
        map: Option<G>,
    }
}

impl<F, G> MapFuture<F, G> {
    pub(super) fn new(future: F, map: G) -> Self {
        Self {
            future,
            map: Some(map),
        }
    }
}

impl<F, G, U> Future for MapFuture<F, G>
where
    F: Future,
    G: FnOnce(F::Output) -> U,
{
    type Output = U;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<U> {
        let this = self.project();
        let output = ready!(this.future.poll(cx));
        let map = this.map.take().expect("polled after it was ready");
        Poll::Ready(map(output))
    }
}

impl<F, G> fmt::Debug for MapFuture<F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapFuture").finish_non_exhaustive()
    }
}

pin_project! {
    /// As [`MapFuture`], of a future that may fail because of the runtime.
    ///
    /// # Cancel safety
    ///
    /// That of the future inside: dropping it drops that.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct MapFallible<F, G> {
        #[pin]
        future: F,
        map: Option<G>,
    }
}

impl<F, G> MapFallible<F, G> {
    pub(super) fn new(future: F, map: G) -> Self {
        Self {
            future,
            map: Some(map),
        }
    }
}

impl<F, G, T, U> Future for MapFallible<F, G>
where
    F: Future<Output = Result<T, CallError>>,
    G: FnOnce(T) -> U,
{
    type Output = Result<U, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let output = ready!(this.future.poll(cx));
        let map = this.map.take().expect("polled after it was ready");
        Poll::Ready(output.map(map))
    }
}

impl<F, G> fmt::Debug for MapFallible<F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapFallible").finish_non_exhaustive()
    }
}

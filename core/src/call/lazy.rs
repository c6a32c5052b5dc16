use std::{
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    AsyncCall, Call, Infallible, MapFuture,
    parts::{Parts, Waited},
};
use crate::{BlockOnError, CancellationToken, Runtime, Spawner, task::Metadata};

/// A [`Call`] with an async body that is made when it is used. Made by
/// [`Runtime::call_with`].
///
/// It can be cloned if the closure can, so that it can be tried again.
#[must_use = "a call does nothing unless you `.wait()`, `.await` or `.spawn()` it"]
pub struct LazyCall<R, F, Fut> {
    runtime: R,
    make: F,
    future: PhantomData<fn() -> Fut>,
}

impl<R, F, Fut> LazyCall<R, F, Fut> {
    pub(crate) fn new(runtime: R, make: F) -> Self {
        Self {
            runtime,
            make,
            future: PhantomData,
        }
    }
}

// Derived, it would ask for `Fut: Clone`.
impl<R: Clone, F: Clone, Fut> Clone for LazyCall<R, F, Fut> {
    fn clone(&self) -> Self {
        Self::new(self.runtime.clone(), self.make.clone())
    }
}

impl<R, F, Fut> IntoFuture for LazyCall<R, F, Fut>
where
    F: FnOnce() -> Fut,
    Fut: Future,
{
    type Output = Fut::Output;
    type IntoFuture = LazyFuture<F, Fut>;

    fn into_future(self) -> LazyFuture<F, Fut> {
        LazyFuture {
            make: Some(self.make),
            future: None,
        }
    }
}

impl<R, F, Fut> Parts for LazyCall<R, F, Fut>
where
    R: Runtime,
    F: FnOnce() -> Fut,
    Fut: Future,
{
    type Runtime = R;

    fn runtime(&self) -> R {
        self.runtime.clone()
    }

    fn try_wait_until(self, token: &CancellationToken) -> Waited<Fut::Output> {
        let runtime = self.runtime.clone();
        runtime.try_block_on(token.run_until_cancelled(self.into_future()))
    }
}

impl<R, F, Fut> Call for LazyCall<R, F, Fut>
where
    R: Runtime,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output: Send + 'static> + Send + 'static,
{
    type Task = <R as Spawner>::Task<Fut::Output>;
    type Fallible = Infallible<LazyFuture<F, Fut>>;

    fn fallible_with(self, _metadata: Metadata) -> Self::Fallible {
        Infallible::new(self.into_future())
    }

    fn try_wait(self) -> Result<Fut::Output, BlockOnError> {
        self.runtime.clone().try_block_on(self.into_future())
    }

    fn spawn_with(self, metadata: Metadata) -> Self::Task {
        let runtime = self.runtime.clone();
        runtime.spawn_with(metadata, self.into_future())
    }

    fn map<U, G>(self, g: G) -> impl Call<Output = U>
    where
        G: FnOnce(Fut::Output) -> U + Send + 'static,
        U: Send + 'static,
    {
        let runtime = self.runtime.clone();
        AsyncCall::new(runtime, MapFuture::new(self.into_future(), g))
    }
}

impl<R, F, Fut> fmt::Debug for LazyCall<R, F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyCall").finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of a [`LazyCall`]: makes the body's future when it is first polled.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped before its first poll, it never makes the body. Later, dropping it drops
    /// the body's future.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct LazyFuture<F, Fut> {
        make: Option<F>,
        #[pin]
        future: Option<Fut>,
    }
}

impl<F, Fut> Future for LazyFuture<F, Fut>
where
    F: FnOnce() -> Fut,
    Fut: Future,
{
    type Output = Fut::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fut::Output> {
        let mut this = self.project();
        if let Some(make) = this.make.take() {
            this.future.set(Some(make()));
        }
        let future = this.future.as_pin_mut();
        // If the closure panicked, there is none.
        future.expect("polled after it has panicked").poll(cx)
    }
}

impl<F, Fut> fmt::Debug for LazyFuture<F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyFuture")
            .field("made", &self.make.is_none())
            .finish_non_exhaustive()
    }
}

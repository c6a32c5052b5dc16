use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    Call, CallError, CallFuture, CallTask,
    parts::{Parts, Waited},
};
use crate::{BlockOnError, CancellationToken, Spawner, task::Metadata};

/// A call and a value that is dropped with the interest in its output. Made by
/// [`guard_call`](crate::implement::guard_call).
#[must_use = "a call does nothing unless you `.wait()`, `.await` or `.spawn()` it"]
pub(crate) struct Guarded<C, G> {
    call: C,
    guard: G,
}

impl<C, G> Guarded<C, G> {
    pub(crate) fn new(call: C, guard: G) -> Self {
        Self { call, guard }
    }
}

impl<C, G> IntoFuture for Guarded<C, G>
where
    C: Call,
    G: Send + 'static,
{
    type Output = C::Output;
    type IntoFuture = CallFuture<GuardedFuture<C::Fallible, G>>;

    #[track_caller]
    fn into_future(self) -> Self::IntoFuture {
        CallFuture::new(self.fallible())
    }
}

impl<C, G> Parts for Guarded<C, G>
where
    C: Call,
    G: Send + 'static,
{
    type Runtime = C::Runtime;

    fn runtime(&self) -> C::Runtime {
        self.call.runtime()
    }

    fn try_wait_until(self, token: &CancellationToken) -> Waited<C::Output> {
        let _guard = self.guard;
        self.call.try_wait_until(token)
    }
}

impl<C, G> Call for Guarded<C, G>
where
    C: Call,
    G: Send + 'static,
{
    type Task = CallTask<<C::Runtime as Spawner>::Task<Result<C::Output, CallError>>>;
    type Fallible = GuardedFuture<C::Fallible, G>;

    fn fallible(self) -> Self::Fallible {
        GuardedFuture {
            future: Some(self.call.fallible()),
            guard: Some(self.guard),
        }
    }

    fn try_wait(self) -> Result<C::Output, BlockOnError> {
        let _guard = self.guard;
        self.call.try_wait()
    }

    // A task, although the body may block: an aborted task is destroyed with the guard. A handle
    // that kept the guard could not drop it in `abort`, which has no more than a reference.
    fn spawn_with(self, metadata: Metadata) -> Self::Task {
        let runtime = self.runtime();
        CallTask::new(runtime.spawn_with(metadata, self.fallible()))
    }

    fn map<U, H>(self, h: H) -> impl Call<Output = U>
    where
        H: FnOnce(C::Output) -> U + Send + 'static,
        U: Send + 'static,
    {
        Guarded::new(self.call.map(h), self.guard)
    }
}

impl<C, G> fmt::Debug for Guarded<C, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}

pin_project! {
    /// The fallible future of a guarded call.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future inside, and then the guard.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub(crate) struct GuardedFuture<F, G> {
        // Both are destroyed as soon as it is ready.
        #[pin]
        future: Option<F>,
        guard: Option<G>,
    }
}

impl<F, G, T> Future for GuardedFuture<F, G>
where
    F: Future<Output = Result<T, CallError>>,
{
    type Output = Result<T, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let future = this.future.as_mut().as_pin_mut();
        let output = ready!(future.expect("polled after it was ready").poll(cx));
        this.future.set(None);
        *this.guard = None;
        Poll::Ready(output)
    }
}

impl<F, G> fmt::Debug for GuardedFuture<F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedFuture").finish_non_exhaustive()
    }
}

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Wake, Waker, ready},
};

use pin_project_lite::pin_project;

use super::{
    Call, CallError, CallFuture, CallTask,
    parts::{Parts, Waited},
};
use crate::{
    BlockOnError, CancellationToken, Spawner,
    cancel::LeftWaker,
    sync::{Mutex, MutexGuard},
    task::Metadata,
};

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
        let _watch = Watching(Watch::begin(self.guard, token));
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

    fn fallible_with(self, metadata: Metadata) -> GuardedFuture<C::Fallible, G> {
        GuardedFuture {
            future: Some(self.call.fallible_with(metadata)),
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
        let future = self.fallible_with(metadata.clone());
        CallTask::new(runtime.spawn_with(metadata, future))
    }

    fn map<U, H>(self, h: H) -> impl Call<Output = U>
    where
        H: FnOnce(C::Output) -> U + Send + 'static,
        U: Send + 'static,
    {
        Guarded::new(self.call.map(h), self.guard)
    }
}

/// Drops a guard when a token is cancelled: the thread that waits may be in a blocking body, which
/// ends only after that.
struct Watch<G> {
    token: CancellationToken,
    armed: Mutex<Armed<G>>,
}

struct Armed<G> {
    // `None`: dropped, or about to be.
    guard: Option<G>,
    left: Option<LeftWaker>,
}

impl<G: Send + 'static> Watch<G> {
    fn begin(guard: G, token: &CancellationToken) -> Arc<Self> {
        let watch = Arc::new(Self {
            token: token.clone(),
            armed: Mutex::new(Armed {
                guard: Some(guard),
                left: None,
            }),
        });
        watch.look();
        watch
    }

    /// Leaves a waker with the token, or drops the guard if that is cancelled.
    fn look(self: &Arc<Self>) {
        let mut armed = self.lock();
        if armed.guard.is_none() {
            return;
        }
        // Under the lock, so that `end` takes back what is left here. No node's lock is held where
        // wakers are called.
        let before = armed.left.take();
        armed.left = LeftWaker::leave(before, &self.token, &Waker::from(self.clone()));
        let guard = match armed.left {
            Some(_) => None,
            None => armed.guard.take(),
        };
        drop(armed);
        // The guard is foreign: it is dropped with no lock held.
        drop(guard);
    }
}

impl<G> Watch<G> {
    fn end(&self) {
        let mut armed = self.lock();
        let (guard, left) = (armed.guard.take(), armed.left.take());
        drop(armed);
        if let Some(left) = left {
            left.take_back(&self.token);
        }
        drop(guard);
    }

    fn lock(&self) -> MutexGuard<'_, Armed<G>> {
        // No foreign code runs under the lock, so that nothing can poison it.
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<G: Send + 'static> Wake for Watch<G> {
    fn wake(self: Arc<Self>) {
        // A deadline that was set took the waker out: it is left again.
        self.look();
    }
}

/// Ends the watch with the call, also by a panic. A waker that stayed with the token would keep the
/// token, which keeps the waker.
struct Watching<G>(Arc<Watch<G>>);

impl<G> Drop for Watching<G> {
    fn drop(&mut self) {
        self.0.end();
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

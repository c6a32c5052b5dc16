use std::{fmt, future::IntoFuture};

use super::{
    Call, CallError, CallFuture, CallTask, MapFallible,
    parts::{Parts, Waited},
};
use crate::{BlockOn, BlockOnError, CancellationToken, Spawner, task::Metadata};

/// The parts of a call that is always used as a future: one that joins several calls, or limits
/// one. `.wait()` drives the future on its runtime, and `.spawn()` makes it a task.
pub trait Drive: Send + Sized + 'static {
    type Output: Send + 'static;
    type Runtime: crate::Runtime;
    type Future: Future<Output = Result<Self::Output, CallError>> + Send + 'static;

    fn runtime(&self) -> Self::Runtime;

    /// Nothing happens before it is polled. The metadata is for its blocking bodies.
    fn future(self, metadata: Metadata) -> Self::Future;
}

/// A [`Call`] that is a future however it is used: one with a time limit, or several at once.
///
/// Made by [`Call::timeout`], [`Runtime::call_all`](crate::Runtime::call_all) and its kin.
/// A blocking body in it is offloaded, even under `.wait()`: a body on the calling thread could
/// neither be given up nor run beside others.
#[must_use = "a call does nothing unless you `.wait()`, `.await` or `.spawn()` it"]
pub struct Driven<D> {
    pub(super) drive: D,
}

impl<D: Drive> IntoFuture for Driven<D> {
    type Output = D::Output;
    type IntoFuture = CallFuture<D::Future>;

    #[track_caller]
    fn into_future(self) -> Self::IntoFuture {
        CallFuture::new(self.fallible())
    }
}

impl<D: Drive> Parts for Driven<D> {
    type Runtime = D::Runtime;

    fn runtime(&self) -> D::Runtime {
        self.drive.runtime()
    }

    fn try_wait_until(self, token: &CancellationToken) -> Waited<D::Output> {
        let runtime = self.drive.runtime();
        let future = token.run_until_cancelled(self.fallible());
        Ok(match runtime.try_block_on(future)? {
            Ok(output) => Ok(output?),
            Err(cancelled) => Err(cancelled),
        })
    }
}

impl<D: Drive> Call for Driven<D> {
    type Task = CallTask<<D::Runtime as Spawner>::Task<Result<D::Output, CallError>>>;
    type Fallible = D::Future;

    fn fallible_with(self, metadata: Metadata) -> D::Future {
        self.drive.future(metadata)
    }

    fn try_wait(self) -> Result<D::Output, BlockOnError> {
        let runtime = self.drive.runtime();
        Ok(runtime.try_block_on(self.fallible())??)
    }

    fn spawn_with(self, metadata: Metadata) -> Self::Task {
        let runtime = self.drive.runtime();
        let future = self.drive.future(metadata.clone());
        CallTask::new(runtime.spawn_with(metadata, future))
    }

    fn map<U, G>(self, g: G) -> impl Call<Output = U>
    where
        G: FnOnce(D::Output) -> U + Send + 'static,
        U: Send + 'static,
    {
        Driven {
            drive: Mapped {
                drive: self.drive,
                map: g,
            },
        }
    }
}

impl<D: fmt::Debug> fmt::Debug for Driven<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Driven").field(&self.drive).finish()
    }
}

/// A driven call, and the mapping of its output.
struct Mapped<D, G> {
    drive: D,
    map: G,
}

impl<D, G, U> Drive for Mapped<D, G>
where
    D: Drive,
    G: FnOnce(D::Output) -> U + Send + 'static,
    U: Send + 'static,
{
    type Output = U;
    type Runtime = D::Runtime;
    type Future = MapFallible<D::Future, G>;

    fn runtime(&self) -> D::Runtime {
        self.drive.runtime()
    }

    fn future(self, metadata: Metadata) -> Self::Future {
        MapFallible::new(self.drive.future(metadata), self.map)
    }
}

//! The nurseries of `fourway-nursery` for the cases: [`FOURWAY`].

use std::sync::Arc;

use fourway_core::{AnyRuntime, cancel::CancellationToken};
use fourway_nursery as native;

use super::{
    Body, BoxFuture, Error, Kind, NotReady, Nurseries, Nursery, Place, Ready, Refusal, Refused,
    Settings, StartBody, SyncBody, SyncChild, SyncNursery, SyncSpawn, Trouble, Value, Work,
};

/// The nurseries of `fourway-nursery`.
pub static FOURWAY: FourwayNurseries = FourwayNurseries(());

/// The type of [`FOURWAY`].
#[derive(Debug)]
pub struct FourwayNurseries(());

impl Nurseries for FourwayNurseries {
    fn run(
        &self,
        runtime: &AnyRuntime,
        settings: Settings,
        body: Body,
    ) -> BoxFuture<Result<Value, Trouble>> {
        let runtime = runtime.clone();
        Box::pin(async move {
            let result = builder(&runtime, settings)
                .run(async |n| {
                    let handle = Fourway { handle: n.handle() };
                    body(Arc::new(handle)).await
                })
                .await;
            result.map_err(trouble)
        })
    }

    fn first_success(
        &self,
        runtime: &AnyRuntime,
        settings: Settings,
        children: Vec<Work>,
    ) -> BoxFuture<Result<Value, Trouble>> {
        let runtime = runtime.clone();
        Box::pin(async move {
            let result = builder(&runtime, settings)
                .first_success(async |first| {
                    for child in children {
                        match child {
                            Work::Task(future) => drop(first.spawn(future)),
                            Work::Closure(closure) => drop(first.offload(closure)),
                        }
                    }
                    Ok(())
                })
                .await;
            result.map_err(trouble)
        })
    }

    fn collect(
        &self,
        runtime: &AnyRuntime,
        settings: Settings,
        children: Vec<Work>,
    ) -> BoxFuture<Result<Vec<Value>, Trouble>> {
        let runtime = runtime.clone();
        Box::pin(async move {
            let result = builder(&runtime, settings)
                .try_collect(async |all| {
                    for child in children {
                        match child {
                            Work::Task(future) => drop(all.spawn(future)),
                            Work::Closure(closure) => drop(all.offload(closure)),
                        }
                    }
                    Ok(())
                })
                .await;
            result.map_err(trouble)
        })
    }

    fn shield(&self, section: BoxFuture<()>) -> BoxFuture<()> {
        Box::pin(native::shield(section))
    }

    fn run_sync<'env>(
        &self,
        runtime: &AnyRuntime,
        settings: Settings,
        body: SyncBody<'env>,
    ) -> Result<u32, Trouble> {
        let mut builder = native::SyncNursery::builder(runtime);
        if settings.supervise {
            builder = builder.supervise();
        }
        if let Some(limit) = settings.limit {
            builder = builder.limit(limit);
        }
        if let Some(timeout) = settings.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(token) = &settings.token {
            builder = builder.token(token);
        }
        let result = builder.run(|n| body(SyncNursery::new(FourwaySync(n))));
        result.map_err(trouble)
    }
}

fn builder(runtime: &AnyRuntime, settings: Settings) -> native::Builder<'_, AnyRuntime, Error> {
    let mut builder = native::Nursery::builder(runtime).grace(settings.grace);
    if settings.supervise {
        builder = builder.supervise();
    }
    if let Some(limit) = settings.limit {
        builder = builder.limit(limit);
    }
    if let Some(timeout) = settings.timeout {
        builder = builder.timeout(timeout);
    }
    if let Some(token) = &settings.token {
        builder = builder.token(token);
    }
    builder
}

fn trouble(error: native::NurseryError<Error>) -> Trouble {
    let kind = if error.is_timeout() {
        Kind::Timeout
    } else if error.is_cancelled() {
        Kind::Cancelled
    } else if error.is_empty() {
        Kind::Empty
    } else if error.is_refused() {
        Kind::Refused
    } else {
        Kind::Failed
    };
    Trouble {
        kind,
        cancelled: error.cancelled(),
        failures: error.into_failures(),
    }
}

struct Fourway {
    handle: native::NurseryHandle<AnyRuntime, Error>,
}

impl Nursery for Fourway {
    fn spawn(&self, work: Work) -> Result<BoxFuture<()>, Refused> {
        match work {
            Work::Task(future) => match self.handle.spawn(future) {
                Ok(started) => Ok(Box::pin(started)),
                Err(error) => Err(refused(error, Work::Task)),
            },
            Work::Closure(closure) => match self.handle.offload(closure) {
                Ok(started) => Ok(Box::pin(started)),
                Err(error) => Err(refused(error, Work::Closure)),
            },
        }
    }

    fn try_spawn(&self, work: Work) -> Result<(), Refused> {
        match work {
            Work::Task(future) => {
                let spawned = self.handle.try_spawn(future);
                spawned.map_err(|error| refused(error, Work::Task))
            }
            Work::Closure(closure) => {
                let spawned = self.handle.try_offload(closure);
                spawned.map_err(|error| refused(error, Work::Closure))
            }
        }
    }

    fn reserve(&self) -> BoxFuture<Option<Place>> {
        let reserve = self.handle.reserve();
        Box::pin(async move {
            let place = reserve.await.ok()?;
            let take = move |work| match work {
                Work::Task(future) => place
                    .spawn(future)
                    .map_err(|error| refused(error, Work::Task)),
                Work::Closure(closure) => place
                    .offload(closure)
                    .map_err(|error| refused(error, Work::Closure)),
            };
            Some(Box::new(take) as Place)
        })
    }

    fn start(&self, body: StartBody) -> BoxFuture<Result<u32, NotReady>> {
        let handle = self.handle.clone();
        Box::pin(async move {
            let started = handle.start(|started: native::Started<u32>| {
                body(Box::new(|number| started.ready(number)) as Ready)
            });
            started.await.map_err(|error| match error {
                native::StartError::Failed(failure) => NotReady::Failed(failure),
                native::StartError::Cancelled => NotReady::Cancelled,
                native::StartError::Ended => NotReady::Ended,
            })
        })
    }

    fn cancel(&self) {
        self.handle.cancel();
    }

    fn set_limit(&self, limit: usize) {
        self.handle.set_limit(limit);
    }

    fn token(&self) -> CancellationToken {
        self.handle.token().clone()
    }

    fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    fn closed(&self) -> BoxFuture<()> {
        Box::pin(self.handle.closed())
    }
}

fn refused<W>(error: native::SpawnError<W>, work: impl FnOnce(W) -> Work) -> Refused {
    let why = if error.is_full() {
        Refusal::Full
    } else if error.is_cancelled() {
        Refusal::Cancelled
    } else {
        Refusal::Closed
    };
    Refused {
        why,
        work: work(error.into_inner()),
    }
}

struct FourwaySync<'scope, 'env>(native::SyncNursery<'scope, 'env, Error>);

impl<'scope> SyncSpawn<'scope> for FourwaySync<'scope, '_> {
    fn spawn(&self, child: SyncChild<'scope>) {
        self.0.spawn(child);
    }
}

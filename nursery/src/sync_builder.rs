use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use fourway_core::{
    Runtime,
    cancel::CancellationToken,
    implement::{self, discard},
    values::Values,
};

use crate::{
    Builder, ChildError, NurseryError, SyncCollect, SyncNursery,
    carried::Carried,
    error::{Failure, Kind},
    sync::{Mutex, lock},
    sync_nursery::{self, Kept, Outputs, Ran, SyncSettings},
};

/// A sync nursery with a policy, a limit or a deadline. Made by [`SyncNursery::builder`]; one
/// of its last methods runs it.
///
/// | last method | policy | value |
/// |---|---|---|
/// | [`run`](Self::run) | fail fast, or [supervise](Self::supervise) | the body's |
/// | [`offloaded`](Self::offloaded) | the same, for async code: awaited, on the offload pool | the body's |
/// | [`first_success`](Self::first_success) | the first child that succeeds ends it | that child's |
/// | [`try_collect`](Self::try_collect) | fail fast | all outputs, in the order of spawning |
/// | [`collect`](Self::collect) | all run to their end | all results, in the order of spawning |
///
/// There is no grace period, for nothing drops a closure: the nursery waits for all.
#[must_use = "a builder does nothing until one of its last methods is called"]
pub struct SyncBuilder<'r, R, E> {
    builder: Builder<'r, R, E>,
}

impl<'r, R: Runtime, E: Send + 'static> SyncBuilder<'r, R, E> {
    pub(crate) fn new(runtime: &'r R) -> Self {
        Self {
            builder: Builder::new(runtime),
        }
    }

    /// At most `limit` threads at a time; the rest of the children wait in line. By default as
    /// many as there are children. The body does not count.
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn limit(mut self, limit: usize) -> Self {
        self.builder = self.builder.limit(limit);
        self
    }

    /// As [`Builder::timeout`]: cancels the token of all children.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.builder = self.builder.timeout(timeout);
        self
    }

    /// As [`Builder::deadline`]: cancels the token of all children.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.builder = self.builder.deadline(deadline);
        self
    }

    /// As [`Builder::token`].
    pub fn token(mut self, token: &CancellationToken) -> Self {
        self.builder = self.builder.token(token);
        self
    }

    /// As [`Builder::supervise`].
    pub fn supervise(mut self) -> Self {
        self.builder = self.builder.supervise();
        self
    }

    /// As [`Builder::on_failure`].
    pub fn on_failure(mut self, f: impl Fn(Failure<E>) + Send + Sync + 'static) -> Self {
        self.builder = self.builder.on_failure(f);
        self
    }

    /// As [`Builder::keep_failures`].
    pub fn keep_failures(mut self, count: usize) -> Self {
        self.builder = self.builder.keep_failures(count);
        self
    }

    /// As [`Builder::cancellation`].
    pub fn cancellation(mut self, says: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.builder = self.builder.cancellation(says);
        self
    }

    /// Runs `body` on this thread and its children on threads of their own. See
    /// [`sync_nursery`](crate::sync_nursery()).
    ///
    /// # Errors
    ///
    /// See [`NurseryError`].
    pub fn run<'env, T>(
        self,
        body: impl for<'scope> FnOnce(SyncNursery<'scope, 'env, E>) -> Result<T, E>,
    ) -> Result<T, NurseryError<E>> {
        self.ran(body)?.verdict
    }

    /// [`run`](Self::run) for async code: on the runtime's offload pool, so that the event loop
    /// goes on. The values and the token of the caller go along.
    ///
    /// # Errors
    ///
    /// See [`NurseryError`]; also if the runtime was shut down.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the nursery's token. Running work ends afterwards, on its
    /// threads; a nursery in which the future was awaited waits for it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use fourway_core::Runtime;
    /// use fourway_nursery::{NurseryError, SyncNursery};
    ///
    /// async fn both<R: Runtime>(rt: &R) -> Result<u32, NurseryError<String>> {
    ///     SyncNursery::builder(rt)
    ///         .offloaded(|n| {
    ///             let one = n.spawn_handle(|| Ok(1));
    ///             let two = n.spawn_handle(|| Ok(2));
    ///             Ok(one.join().unwrap_or(0) + two.join().unwrap_or(0))
    ///         })
    ///         .await
    /// }
    /// ```
    pub async fn offloaded<T: Send + 'static>(
        self,
        body: impl for<'scope> FnOnce(SyncNursery<'scope, 'static, E>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, NurseryError<E>> {
        let runtime = self.builder.runtime();
        let settings = self.settings();
        let guard = settings.token.clone().drop_guard();
        let carried = Carried::new(Values::current());
        // If this future is dropped, the nursery around it, if any, waits for the running work.
        let hold = implement::enclosing().and_then(|scope| scope.hold());
        let work = (body, settings, carried, hold);
        let closure = move || {
            let (body, settings, carried, _hold) = work;
            carried.scope(|| sync_nursery::run(settings, body).verdict)
        };
        let result = runtime.offload(closure).await;
        let _ = guard.disarm();
        result.unwrap_or_else(|error| {
            Err(NurseryError {
                kind: Kind::Failed,
                failures: vec![Failure::Join(error)],
                not_kept: 0,
                cancelled: 0,
            })
        })
    }

    /// As [`Builder::first_success`].
    ///
    /// # Errors
    ///
    /// See [`NurseryError`].
    pub fn first_success<'env, T: Send + 'env>(
        mut self,
        body: impl for<'scope> FnOnce(SyncCollect<'scope, 'env, T, E>) -> Result<(), E>,
    ) -> Result<T, NurseryError<E>> {
        // A failure is not the end, as there may be one that succeeds.
        self.builder = self.builder.goes_on();
        let outputs = outputs(true);
        let ran = self.ran(|n| body(SyncCollect::new(n, outputs.clone())))?;
        let mut outputs = lock(&outputs);
        let first = outputs.first;
        let mut results = std::mem::take(&mut outputs.results);
        drop(outputs);
        let value = first.and_then(|at| results.swap_remove(at)?.ok());
        results.into_iter().for_each(discard);
        if let Some(value) = value.filter(|_| !ran.body_failed) {
            discard(ran.verdict);
            return Ok(value);
        }
        ran.verdict?;
        Err(NurseryError::without_value(ran.had_children))
    }

    /// As [`Builder::try_collect`].
    ///
    /// # Errors
    ///
    /// See [`NurseryError`].
    pub fn try_collect<'env, T: Send + 'env>(
        self,
        body: impl for<'scope> FnOnce(SyncCollect<'scope, 'env, T, E>) -> Result<(), E>,
    ) -> Result<Vec<T>, NurseryError<E>> {
        let outputs = outputs(false);
        let ran = self.ran(|n| body(SyncCollect::new(n, outputs.clone())))?;
        ran.verdict?;
        let results = std::mem::take(&mut lock(&outputs).results);
        let values: Option<Vec<T>> = results.into_iter().flatten().map(Result::ok).collect();
        values.ok_or_else(|| NurseryError::without_value(true))
    }

    /// As [`Builder::collect`].
    ///
    /// # Errors
    ///
    /// See [`NurseryError`].
    pub fn collect<'env, T: Send + 'env>(
        mut self,
        body: impl for<'scope> FnOnce(SyncCollect<'scope, 'env, T, E>) -> Result<(), E>,
    ) -> Result<Vec<Result<T, ChildError<E>>>, NurseryError<E>> {
        self.builder = self.builder.supervise();
        let outputs = outputs(false);
        let mut ended = false;
        let ran = self.ran(|n| {
            let result = body(SyncCollect::new(n, outputs.clone()));
            ended = result.is_ok();
            result
        })?;
        // The failures of children without an output are in no result.
        if !ended || ran.has_failed {
            ran.verdict?;
        }
        let results = std::mem::take(&mut lock(&outputs).results);
        Ok(results.into_iter().flatten().collect())
    }

    fn ran<'env, T>(
        self,
        body: impl for<'scope> FnOnce(SyncNursery<'scope, 'env, E>) -> Result<T, E>,
    ) -> Result<Ran<T, E>, NurseryError<E>> {
        if let Some(refused) = sync_nursery::refusal() {
            return Err(refused);
        }
        Ok(sync_nursery::run(self.settings(), body))
    }

    fn settings(self) -> SyncSettings<E> {
        let token = self.builder.make_token().unwrap_or_default();
        let wait = Arc::new(self.builder.runtime());
        let (limit, settings) = self.builder.into_parts();
        SyncSettings {
            token,
            limit,
            supervise: settings.supervise,
            forgives: settings.forgives,
            keep: settings.keep,
            on_failure: settings.on_failure,
            is_cancellation: settings.is_cancellation,
            wait,
        }
    }
}

impl<R, E> fmt::Debug for SyncBuilder<'_, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.builder.fmt(f)
    }
}

fn outputs<T, E>(first_alone: bool) -> Outputs<T, E> {
    Arc::new(Mutex::new(Kept {
        first_alone,
        first: None,
        results: Vec::new(),
    }))
}

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use fourway_core::{
    Runtime,
    cancel::{self, CancellationToken},
    implement::discard,
    values::Values,
};

use crate::{
    ChildError, Collect, Failure, FirstSuccess, Nursery, NurseryError, NurseryHandle,
    collect::{collected, try_collected},
    run::drive,
    shared::{Settings, Shared},
};

/// A nursery with a policy, a limit, a deadline or a grace period. Made by
/// [`Nursery::builder`]; one of its last methods runs it.
///
/// | last method | policy | value |
/// |---|---|---|
/// | [`run`](Self::run) | fail fast, or [supervise](Self::supervise) | the body's |
/// | [`run_owned`](Self::run_owned) | the same, for wrappers that spawn the nursery | the body's |
/// | [`first_success`](Self::first_success) | the first child that succeeds ends it | that child's |
/// | [`try_collect`](Self::try_collect) | fail fast | all outputs, in the order of spawning |
/// | [`collect`](Self::collect) | all run to their end | all results, in the order of spawning |
///
/// # Examples
///
/// ```
/// use std::{io, time::Duration};
/// use fourway_core::Runtime;
/// use fourway_nursery::{Nursery, NurseryError};
///
/// async fn sizes<R: Runtime>(rt: &R, names: Vec<String>) -> Result<Vec<u64>, NurseryError<io::Error>> {
///     Nursery::builder(rt)
///         .limit(8)
///         .timeout(Duration::from_secs(10))
///         .try_collect(async |n| {
///             for name in names {
///                 n.offload(move || Ok(std::fs::metadata(name)?.len())).await;
///             }
///             Ok(())
///         })
///         .await
/// }
/// ```
#[must_use = "a builder does nothing until one of its last methods is called, and awaited"]
pub struct Builder<'r, R, E> {
    runtime: &'r R,
    limit: usize,
    token: Option<CancellationToken>,
    deadline: Option<Instant>,
    timeout: Option<Duration>,
    settings: Settings<E>,
}

impl<'r, R: Runtime, E: Send + 'static> Builder<'r, R, E> {
    pub(crate) fn new(runtime: &'r R) -> Self {
        Self {
            runtime,
            limit: usize::MAX,
            token: None,
            deadline: None,
            timeout: None,
            settings: Settings::default(),
        }
    }

    /// At most `limit` children run at a time; the rest wait in line. By default there is no limit.
    /// The body does not count.
    ///
    /// If the children that have all the places wait for another child to be started, they wait for
    /// ever. So with a limit of one, a child may spawn siblings, and must not wait for them.
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn limit(mut self, limit: usize) -> Self {
        assert!(
            limit > 0,
            "a nursery with a limit of zero would start nothing"
        );
        self.limit = limit;
        self
    }

    /// Cancels the nursery when so much time has passed since its first poll; see
    /// [`NurseryError::is_timeout`]. The clock is the runtime's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Cancels the nursery at `deadline`; see [`NurseryError::is_timeout`].
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How much time the body and the children have to end when they are asked to, before they are
    /// dropped at their next await. By default none: they are dropped as soon as they are asked.
    ///
    /// Closures have unlimited time, because nothing can drop them. So does a
    /// [shield](crate::shield).
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// The nursery is cancelled with `token`, in place of the current token.
    pub fn token(mut self, token: &CancellationToken) -> Self {
        self.token = Some(token.clone());
        self
    }

    /// The failure of a child leaves its siblings alone. A failure of the body still cancels
    /// all.
    ///
    /// So does a child that the runtime refuses, because it was shut down, is that of a forked
    /// child's parent, or has no thread for the child: it would refuse those in line as well. A
    /// want of threads may be over in a moment: a supervisor that is to outlive it runs its nursery
    /// again.
    ///
    /// A failure goes to the child's handle, if that is kept. The nursery returns the other
    /// failures in the end, unless [`on_failure`](Self::on_failure) takes them.
    pub fn supervise(mut self) -> Self {
        self.settings.forgives = true;
        self.goes_on()
    }

    /// No failure cancels the others.
    pub(crate) fn goes_on(mut self) -> Self {
        self.settings.supervise = true;
        self
    }

    /// Takes the failures of children when they happen, in the thread in which the child ends,
    /// so that the nursery does not keep and return them. Made for nurseries that
    /// [supervise](Self::supervise) children for days. A failure that is taken here is no failure
    /// of such a nursery, or of one that [collects](Self::collect) results. Under the other
    /// policies it is: the error [counts](NurseryError::not_kept) the failures that it does not
    /// have.
    ///
    /// If it panics, that is a failure in place of the one it got.
    pub fn on_failure(mut self, f: impl Fn(Failure<E>) + Send + Sync + 'static) -> Self {
        self.settings.on_failure = Some(Arc::new(f));
        self
    }

    /// How many failures are kept for [`NurseryError::failures`]; the others are counted. By
    /// default 1024.
    pub fn keep_failures(mut self, count: usize) -> Self {
        self.settings.keep = count.max(1);
        self
    }

    /// Says which errors mean that a child was cancelled and did not fail. It is asked only
    /// while the nursery is being cancelled.
    ///
    /// By default [`Cancelled`](fourway_core::cancel::Cancelled) does, also within an
    /// [`io::Error`](std::io::Error) or a boxed error.
    pub fn cancellation(mut self, says: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.settings.is_cancellation = Some(Arc::new(says));
        self
    }

    /// Runs `body` and its children, and gives the value of the body. See
    /// [`nursery`](crate::nursery()) for the promises.
    ///
    /// # Errors
    ///
    /// See [`NurseryError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the children, and does not wait for them.
    pub async fn run<T>(
        self,
        body: impl AsyncFnOnce(&Nursery<R, E>) -> Result<T, E>,
    ) -> Result<T, NurseryError<E>> {
        let (nursery, values) = self.open();
        // Called within the nursery, here and below: a body may be a function that does a part of
        // its work before it gives its future, and a panic in it is one of the body.
        let ended = drive(&nursery, values, async { body(&nursery).await }).await;
        ended.verdict(&nursery.shared)
    }

    /// [`run`](Self::run) for wrappers: functions that take the body from their caller and
    /// spawn the nursery.
    ///
    /// The future of an `impl AsyncFnOnce + Send` has no name, so a bound cannot say that it is
    /// `Send`. Here the body is a closure that returns a future, for which a bound can. The closure
    /// gets a handle of its own.
    ///
    /// # Errors
    ///
    /// See [`NurseryError`].
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{Runtime, Spawner};
    /// use fourway_nursery::{Nursery, NurseryHandle};
    ///
    /// fn in_background<R, B, F>(rt: &R, body: B) -> R::Task<bool>
    /// where
    ///     R: Runtime,
    ///     B: FnOnce(NurseryHandle<R, String>) -> F + Send + 'static,
    ///     F: Future<Output = Result<(), String>> + Send + 'static,
    /// {
    ///     let runtime = rt.clone();
    ///     rt.spawn(async move { Nursery::builder(&runtime).run_owned(body).await.is_ok() })
    /// }
    /// ```
    pub async fn run_owned<T, F>(
        self,
        body: impl FnOnce(NurseryHandle<R, E>) -> F,
    ) -> Result<T, NurseryError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let (nursery, values) = self.open();
        let handle = nursery.handle();
        let body = async move { body(handle).await };
        let ended = drive(&nursery, values, body).await;
        ended.verdict(&nursery.shared)
    }

    /// Gives the output of the first child that succeeds, and cancels the others then.
    ///
    /// Failures of children are kept, and returned if no child succeeds. After a success they are
    /// dropped. A failure of the body is a failure of the whole, as always. The body goes on
    /// spawning until it ends or a child has succeeded.
    ///
    /// # Errors
    ///
    /// See [`NurseryError`]: all failures if all children failed;
    /// [`is_empty`](NurseryError::is_empty) if there was none.
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn first_success<T: Send + 'static>(
        mut self,
        body: impl AsyncFnOnce(&FirstSuccess<T, R, E>) -> Result<(), E>,
    ) -> Result<T, NurseryError<E>> {
        // A failure is not the end, as there may be one that succeeds.
        self = self.goes_on();
        let (nursery, values) = self.open();
        let first = FirstSuccess::new(nursery);
        let shared = &first.nursery().shared;
        let ended = drive(first.nursery(), values, async { body(&first).await }).await;
        // In a forked child, the parent's children may hold the lock.
        let value = (!shared.is_inherited()).then(|| first.take()).flatten();
        if let Some(value) = value.filter(|_| !ended.body_failed()) {
            discard(ended);
            return Ok(value);
        }
        match ended.verdict(shared) {
            Ok(()) => Err(NurseryError::without_value(shared.had_children())),
            Err(error) => Err(error),
        }
    }

    /// Gives the outputs of all children, in the order in which they were spawned. The first
    /// failure cancels the rest.
    ///
    /// # Errors
    ///
    /// See [`NurseryError`].
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn try_collect<T: Send + 'static>(
        self,
        body: impl AsyncFnOnce(&Collect<T, R, E>) -> Result<(), E>,
    ) -> Result<Vec<T>, NurseryError<E>> {
        let (nursery, values) = self.open();
        let collect = Collect::new(nursery, false);
        let ended = drive(collect.nursery(), values, async { body(&collect).await }).await;
        ended.verdict(&collect.nursery().shared)?;
        try_collected(&collect).ok_or_else(|| NurseryError::without_value(true))
    }

    /// Gives the results of all children, in the order in which they were spawned. A failure
    /// cancels no other child, and is the child's result.
    ///
    /// # Errors
    ///
    /// See [`NurseryError`]: if the body failed or was cut short, or a child without an output
    /// failed (a child of [`Collect::nursery`]). If a cancellation or a deadline cut a child short
    /// when the body was through, the child's result says so.
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn collect<T: Send + 'static>(
        mut self,
        body: impl AsyncFnOnce(&Collect<T, R, E>) -> Result<(), E>,
    ) -> Result<Vec<Result<T, ChildError<E>>>, NurseryError<E>> {
        self = self.supervise();
        let (nursery, values) = self.open();
        let collect = Collect::new(nursery, true);
        let ended = drive(collect.nursery(), values, async { body(&collect).await }).await;
        if !ended.has_value() || ended.has_failed() {
            ended.verdict(&collect.nursery().shared)?;
        }
        Ok(collected(&collect))
    }

    fn open(self) -> (Nursery<R, E>, Values) {
        let token = self.make_token();
        Nursery::new(Shared::open(self.runtime, token, self.limit, self.settings))
    }

    /// The nursery's token: a child of the one around it, with the deadline. `None` if it has
    /// neither.
    pub(crate) fn make_token(&self) -> Option<CancellationToken> {
        let around = self.token.clone().or_else(cancel::try_current);
        let timeout = self
            .timeout
            .map(|timeout| self.runtime.now().checked_add(timeout));
        let deadline = match timeout {
            // Beyond what the clock can express.
            None | Some(None) => self.deadline,
            Some(Some(end)) => Some(self.deadline.map_or(end, |deadline| deadline.min(end))),
        };
        match deadline {
            Some(deadline) => {
                let around = around.unwrap_or_default();
                Some(around.child_with_deadline(self.runtime, deadline))
            }
            None => around.map(|around| around.child()),
        }
    }

    pub(crate) fn runtime(&self) -> R {
        self.runtime.clone()
    }

    pub(crate) fn into_parts(self) -> (usize, Settings<E>) {
        (self.limit, self.settings)
    }
}

impl<R, E> fmt::Debug for Builder<'_, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("limit", &self.limit)
            .field("deadline", &self.deadline)
            .field("timeout", &self.timeout)
            .field("grace", &self.settings.grace)
            .field("supervise", &self.settings.supervise)
            .finish_non_exhaustive()
    }
}

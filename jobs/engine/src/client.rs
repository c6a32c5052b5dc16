//! Submitting jobs of named kinds, and asking about them: [`JobClient`], [`KindHandle`].

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use fourway_core::{AnyRuntime, BoxCall, Call, Runtime};
use fourway_jobs::{Counts, JobId, JobState};

use crate::{
    CancelAnswer, Engine, EngineError, EngineFuture, Filter, JobKind, KindJob, OutputError, Page,
    Record, RetryAnswer, Submitted,
};

/// For how long the engine is asked to wait at a time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Submits jobs of named kinds to an engine, and asks about them: from sync code with
/// [`wait()`](Call::wait), from async code with `.await`.
///
/// It runs no jobs. A [`Worker`](crate::Worker) does, in this process or in another one. A
/// clone is another handle.
///
/// # Cancel safety
///
/// The engine may have received a call that is dropped while it runs.
#[derive(Clone)]
pub struct JobClient {
    runtime: AnyRuntime,
    engine: Arc<dyn Engine>,
}

impl JobClient {
    /// A client of that engine.
    pub fn new<R: Runtime>(runtime: &R, engine: Arc<dyn Engine>) -> Self {
        Self {
            runtime: AnyRuntime::new(runtime.clone()),
            engine,
        }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    pub(crate) fn runtime(&self) -> &AnyRuntime {
        &self.runtime
    }

    /// Submits a job of that kind. Once the call returns, the job is as durable as the engine
    /// is ([what was accepted survives](fourway_core::contract#EN-1)).
    ///
    /// # Errors
    ///
    /// If the engine could not take it. If the error [is about reaching
    /// it](EngineError::is_unavailable) or [about a fault of its own](EngineError::is_internal), the
    /// engine may have taken the job. To submit the same job again, use [`submit_job`](Self::submit_job): another call of this one makes another job.
    pub fn submit<K: JobKind>(
        &self,
        kind: K,
        args: K::Args,
    ) -> BoxCall<Result<KindHandle<K>, EngineError>> {
        self.submit_job(KindJob::new(kind, args))
    }

    /// As [`submit`](Self::submit), with options of the job. A job whose unique key is taken is not
    /// submitted: the handle is that of the existing job.
    ///
    /// # Errors
    ///
    /// If the engine could not take it. If the error [is about reaching
    /// it](EngineError::is_unavailable) or [about a fault of its own](EngineError::is_internal), the
    /// engine may have taken the job: submit a clone of the
    /// same [`KindJob`] again, or one [with the same id](KindJob::with_id). It is one job then.
    pub fn submit_job<K: JobKind>(
        &self,
        job: KindJob<K>,
    ) -> BoxCall<Result<KindHandle<K>, EngineError>> {
        let all = self.submit_all([job]);
        let one = |handles: Result<Vec<KindHandle<K>>, EngineError>| {
            let first = handles?.pop();
            first.ok_or_else(|| EngineError::internal("the engine gave no answer for the job"))
        };
        all.map(one).boxed()
    }

    /// Submits many jobs at once, at less cost than one by one. The handles are in the order of the
    /// jobs.
    ///
    /// # Errors
    ///
    /// If the engine could not take them. Then it took none, unless the error [is about reaching
    /// it](EngineError::is_unavailable) or [about a fault of its own](EngineError::is_internal): submit clones of the same jobs again.
    pub fn submit_all<K: JobKind>(
        &self,
        jobs: impl IntoIterator<Item = KindJob<K>>,
    ) -> BoxCall<Result<Vec<KindHandle<K>>, EngineError>> {
        let this = self.clone();
        let jobs: Result<Vec<_>, _> = jobs.into_iter().map(KindJob::into_new_job).collect();
        let call = self.runtime.call_with(async move || {
            let submitted = this.engine.submit(jobs?).await?;
            let handle = |submitted| KindHandle {
                submitted,
                client: this.clone(),
                kind: PhantomData,
            };
            Ok(submitted.into_iter().map(handle).collect())
        });
        call.boxed()
    }

    /// The handle of a job that was submitted elsewhere, or before.
    #[must_use]
    pub fn handle<K: JobKind>(&self, _kind: K, id: JobId) -> KindHandle<K> {
        KindHandle {
            submitted: Submitted::Existing(id),
            client: self.clone(),
            kind: PhantomData,
        }
    }

    /// The job at this moment; `None` if it is not known (any more).
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked.
    pub fn status(&self, id: JobId) -> BoxCall<Result<Option<Record>, EngineError>> {
        self.call(move |engine| engine.status(id))
    }

    /// Waits until the job has ended; `None` if it is not known (any more).
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked.
    pub fn wait(&self, id: JobId) -> BoxCall<Result<Option<Record>, EngineError>> {
        let engine = self.engine.clone();
        let call = self.runtime.call_with(async move || {
            loop {
                match engine.wait(id, PATIENCE).await? {
                    Some(job) if !job.state.is_finished() => {}
                    ended => return Ok(ended),
                }
            }
        });
        call.boxed()
    }

    /// Cancels the job, as far as possible: see [`CancelAnswer`].
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked.
    pub fn cancel(&self, id: JobId) -> BoxCall<Result<CancelAnswer, EngineError>> {
        self.call(move |engine| engine.cancel(id))
    }

    /// Runs a job again that has failed, timed out or was cancelled, in any process that has its kind. A
    /// job that waits for its next attempt runs at once. The count of attempts goes on: see
    /// [`RetryAnswer`].
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked, or [lacks this](crate::Capability::Retry). An engine may
    /// [refuse](EngineError::is_refusal) a job whose arguments it does not keep: that on NATS, if they are
    /// gone or were too long beside the job's errors.
    pub fn retry(&self, id: JobId) -> BoxCall<Result<RetryAnswer, EngineError>> {
        self.call(move |engine| engine.retry(id))
    }

    /// Some of the jobs, newest first.
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked, or has no lists.
    pub fn list(&self, filter: Filter) -> BoxCall<Result<Page, EngineError>> {
        self.call(move |engine| engine.list(filter))
    }

    /// How many jobs are known in each state.
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked, or has no lists.
    pub fn counts(&self) -> BoxCall<Result<Counts, EngineError>> {
        self.call(|engine| engine.counts())
    }

    fn call<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Engine) -> EngineFuture<T> + Send + 'static,
    ) -> BoxCall<Result<T, EngineError>> {
        let engine = self.engine.clone();
        self.runtime
            .call_with(async move || ask(&*engine).await)
            .boxed()
    }
}

impl fmt::Debug for JobClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobClient")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

/// A job of a kind. Dropping it changes nothing: the job goes on.
pub struct KindHandle<K: JobKind> {
    submitted: Submitted,
    client: JobClient,
    kind: PhantomData<fn() -> K>,
}

impl<K: JobKind> KindHandle<K> {
    /// The job's id, in every process.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.submitted.id()
    }

    /// The job was submitted with this handle and did not exist before.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.submitted.is_new()
    }

    /// Waits for the job to end, and gives its output.
    ///
    /// # Errors
    ///
    /// If it has none. The error then contains the job's record.
    pub fn output(&self) -> BoxCall<Result<K::Output, OutputError>> {
        let id = self.id();
        let client = self.client.clone();
        let call = client.runtime.clone().call_with(async move || {
            let job = client.wait(id).await?.ok_or(OutputError::Unknown(id))?;
            read::<K>(&client, job).await
        });
        call.boxed()
    }

    /// The output, if the job has ended.
    ///
    /// # Errors
    ///
    /// If there is none, or not yet.
    pub fn try_output(&self) -> BoxCall<Result<K::Output, OutputError>> {
        let id = self.id();
        let client = self.client.clone();
        let call = client.runtime.clone().call_with(async move || {
            let job = client.engine.status(id).await?;
            read::<K>(&client, job.ok_or(OutputError::Unknown(id))?).await
        });
        call.boxed()
    }

    /// The job at this moment; `None` if it is not known (any more).
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked.
    pub fn status(&self) -> BoxCall<Result<Option<Record>, EngineError>> {
        self.client.status(self.id())
    }

    /// Cancels the job, as far as possible: see [`CancelAnswer`].
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked.
    pub fn cancel(&self) -> BoxCall<Result<CancelAnswer, EngineError>> {
        self.client.cancel(self.id())
    }

    /// Runs the job again: see [`JobClient::retry`]. [`output`](Self::output) waits for the end of
    /// that then.
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked, or [lacks this](crate::Capability::Retry). An engine may
    /// [refuse](EngineError::is_refusal) a job whose arguments it does not keep: that on NATS, if they are
    /// gone or were too long beside the job's errors.
    pub fn retry(&self) -> BoxCall<Result<RetryAnswer, EngineError>> {
        self.client.retry(self.id())
    }
}

async fn read<K: JobKind>(client: &JobClient, job: Record) -> Result<K::Output, OutputError> {
    let id = job.id;
    match job.state {
        JobState::Completed => {
            let output = client.engine.result(id).await?;
            let output = output.ok_or(OutputError::Unknown(id))?;
            serde_json::from_slice(&output)
                .map_err(|error| OutputError::OtherType(id, error.to_string()))
        }
        state if state.is_finished() => Err(OutputError::Job(Box::new(job))),
        state => Err(OutputError::Unfinished(id, state)),
    }
}

impl<K: JobKind> fmt::Debug for KindHandle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindHandle")
            .field("kind", &K::NAME)
            .field("submitted", &self.submitted)
            .finish_non_exhaustive()
    }
}

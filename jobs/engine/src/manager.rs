//! Client and worker in one: [`KindManager`].

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use fourway_core::{AnyRuntime, BoxCall, Call, Runtime};
use fourway_jobs::{BoxError, Clock, Counts, JobId};

use crate::{
    CancelAnswer, Engine, EngineError, Filter, Handlers, JobClient, JobKind, KindContext,
    KindHandle, KindJob, KindSchedules, MemoryEngine, OutputError, Page, Record, RetryAnswer,
    Worker, WorkerBuilder, WorkerReport, WorkerStatus,
    schedule::{ClockSetting, POLL},
};

/// The job manager of named kinds: the methods of a [`JobManager`](fourway_jobs::JobManager) for
/// closures that the table shows, on any engine.
///
/// It is a [`JobClient`] and a [`Worker`] of one engine. By default the engine is its own
/// [`MemoryEngine`]. With a durable engine, the same code submits jobs that outlive the process,
/// and runs jobs that other processes have submitted. A clone is another handle on the same
/// manager.
///
/// | [`JobManager`](fourway_jobs::JobManager) | here |
/// |---|---|
/// | `submit(closure)`, `submit(job)` | [`submit`](Self::submit)`(kind, args)`, [`submit_job`](Self::submit_job)`(job)` |
/// | `status(id)`, `wait(id)`, `cancel(id)`, `retry(id)`, `list(filter)` | the same, as calls, for an engine may have to be waited for; cancelling and retrying have an answer for each outcome |
/// | `result::<T>(id)` | [`result`](Self::result)`(kind, id)` |
/// | `overview().counts` | [`counts`](Self::counts) |
/// | `schedule(name, schedule, make)` | [`schedule`](Self::schedule)`(name, schedule, make)`; with one engine, each run is submitted once |
/// | `drain(timeout)` | [`drain`](Self::drain)`(timeout)`; what has not ended is given back, not lost |
/// | `pause`, `resume`, limits of classes; `batch`; `subscribe`; `forget`; jobs after others | not here: no engine has them |
///
/// # Dropping the last handle
///
/// ends its worker, as [dropping that](Worker) does, and its [schedules](Self::schedule).
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use fourway_core::{Call, Runtime};
/// use fourway_jobs_engine::{BoxError, Engine, JobKind, KindManager};
///
/// struct Greet;
///
/// impl JobKind for Greet {
///     const NAME: &'static str = "greet";
///     type Args = String;
///     type Output = String;
/// }
///
/// // In memory, or wherever the given engine keeps them.
/// fn example<R: Runtime>(rt: &R, engine: Option<Arc<dyn Engine>>) -> Result<(), BoxError> {
///     let mut jobs = KindManager::builder(rt)
///         .on(Greet, |_, name| async move { Ok::<_, BoxError>(format!("hello, {name}")) })
///         .concurrency(4);
///     if let Some(engine) = engine {
///         jobs = jobs.engine(engine);
///     }
///     let jobs = jobs.build();
///
///     let job = jobs.submit(Greet, "you".to_owned()).wait()?;
///     println!("{}: {}", job.id(), job.output().wait()?);
///
///     jobs.drain(std::time::Duration::from_secs(5)).wait();
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct KindManager {
    client: JobClient,
    worker: Arc<Working>,
}

struct Working {
    runtime: AnyRuntime,
    /// Until it drains.
    worker: Mutex<Option<Worker>>,
    schedules: KindSchedules,
}

/// How a [`KindManager`] works. Made by [`KindManager::builder`].
#[must_use = "call `build`"]
pub struct KindManagerBuilder {
    runtime: AnyRuntime,
    engine: Option<Arc<dyn Engine>>,
    handlers: Handlers,
    settings: Vec<Setting>,
    clock: Option<ClockSetting>,
    poll: Duration,
}

type Setting = Box<dyn FnOnce(WorkerBuilder) -> WorkerBuilder + Send>;

impl KindManager {
    /// A manager of that runtime.
    pub fn builder(runtime: &impl Runtime) -> KindManagerBuilder {
        KindManagerBuilder {
            runtime: AnyRuntime::new(runtime.clone()),
            engine: None,
            handlers: Handlers::new(),
            settings: Vec::new(),
            clock: None,
            poll: POLL,
        }
    }

    /// The client, for code that submits jobs and runs none.
    #[must_use]
    pub fn client(&self) -> &JobClient {
        &self.client
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        self.client.engine()
    }

    /// As [`JobClient::submit`].
    ///
    /// # Errors
    ///
    /// If the engine could not take it.
    pub fn submit<K: JobKind>(
        &self,
        kind: K,
        args: K::Args,
    ) -> BoxCall<Result<KindHandle<K>, EngineError>> {
        self.client.submit(kind, args)
    }

    /// As [`JobClient::submit_job`].
    ///
    /// # Errors
    ///
    /// If the engine could not take it.
    pub fn submit_job<K: JobKind>(
        &self,
        job: KindJob<K>,
    ) -> BoxCall<Result<KindHandle<K>, EngineError>> {
        self.client.submit_job(job)
    }

    /// The job at this moment; `None` if it is not known (any more).
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked.
    pub fn status(&self, id: JobId) -> BoxCall<Result<Option<Record>, EngineError>> {
        self.client.status(id)
    }

    /// Waits until the job has ended; `None` if it is not known (any more).
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked.
    pub fn wait(&self, id: JobId) -> BoxCall<Result<Option<Record>, EngineError>> {
        self.client.wait(id)
    }

    /// The job's output, if it has completed.
    ///
    /// # Errors
    ///
    /// If there is none, or not yet.
    pub fn result<K: JobKind>(
        &self,
        kind: K,
        id: JobId,
    ) -> BoxCall<Result<K::Output, OutputError>> {
        self.client.handle(kind, id).try_output()
    }

    /// Cancels the job, as far as that can be: see [`CancelAnswer`].
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked.
    pub fn cancel(&self, id: JobId) -> BoxCall<Result<CancelAnswer, EngineError>> {
        self.client.cancel(id)
    }

    /// Runs a job again that has failed, timed out or was cancelled, in any process that has its kind: see
    /// [`JobClient::retry`].
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked, or [lacks this](crate::Capability::Retry). An engine may
    /// [refuse](EngineError::is_refusal) a job whose arguments it does not keep: that on NATS, if they are
    /// gone or were too long beside the job's errors.
    pub fn retry(&self, id: JobId) -> BoxCall<Result<RetryAnswer, EngineError>> {
        self.client.retry(id)
    }

    /// Some of the jobs, newest first.
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked, or has no lists.
    pub fn list(&self, filter: Filter) -> BoxCall<Result<Page, EngineError>> {
        self.client.list(filter)
    }

    /// How many jobs are known in each state.
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked, or has no lists.
    pub fn counts(&self) -> BoxCall<Result<Counts, EngineError>> {
        self.client.counts()
    }

    /// Its schedules.
    #[must_use]
    pub fn schedules(&self) -> &KindSchedules {
        &self.worker.schedules
    }

    /// The status of its worker at this moment; `None` once it drains.
    #[must_use]
    pub fn worker_status(&self) -> Option<WorkerStatus> {
        self.worker.lock().as_ref().map(Worker::status)
    }

    /// Runs no more jobs, lets running jobs end for up to `timeout`, and gives the rest back to the
    /// engine. Jobs can still be submitted: another process runs them, or this one after a restart.
    /// Schedules end at the same time; see [`KindSchedules::close`], also for how long that may take beyond
    /// `timeout`. See [`Worker::drain`].
    ///
    /// A second drain gives an empty report.
    ///
    /// # Cancel safety
    ///
    /// Dropping the call drops the worker, also before its first poll. The schedules may go on then.
    pub fn drain(&self, timeout: Duration) -> BoxCall<WorkerReport> {
        let working = self.worker.clone();
        // Taken now: the call has it even before its first poll.
        let worker = working.lock().take();
        let call = self.worker.runtime.call_with(async move || {
            // At the same time: a schedule that has to wait for a blocked engine must not keep the worker
            // at work meanwhile.
            let mut close = pin!(async { working.schedules.close().await });
            let mut drain = pin!(async {
                match worker {
                    Some(worker) => worker.drain(timeout).await,
                    None => WorkerReport::default(),
                }
            });
            let (mut closed, mut report) = (false, None);
            poll_fn(|cx| {
                closed = closed || close.as_mut().poll(cx).is_ready();
                if report.is_none()
                    && let Poll::Ready(drained) = drain.as_mut().poll(cx)
                {
                    report = Some(drained);
                }
                match report.take_if(|_| closed) {
                    Some(report) => Poll::Ready(report),
                    None => Poll::Pending,
                }
            })
            .await
        });
        call.boxed()
    }
}

impl Working {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Worker>> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KindManagerBuilder {
    /// Where the jobs are kept; a [`MemoryEngine`] by default.
    pub fn engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.engine = Some(engine);
        self
    }

    /// A kind that it runs as futures. See [`Handlers::on`].
    pub fn on<K, F, Fut, E>(mut self, kind: K, handler: F) -> Self
    where
        K: JobKind,
        F: Fn(KindContext, K::Args) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<K::Output, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.handlers = self.handlers.on(kind, handler);
        self
    }

    /// A kind that it runs as closures that may block. See [`Handlers::on_blocking`].
    pub fn on_blocking<K, F, E>(mut self, kind: K, handler: F) -> Self
    where
        K: JobKind,
        F: Fn(KindContext, K::Args) -> Result<K::Output, E> + Send + Sync + 'static,
        E: Into<BoxError>,
    {
        self.handlers = self.handlers.on_blocking(kind, handler);
        self
    }

    /// All kinds that it runs, in place of the kinds that were set before.
    pub fn handlers(mut self, handlers: Handlers) -> Self {
        self.handlers = handlers;
        self
    }

    /// How many jobs it runs at a time. 8 by default.
    pub fn concurrency(self, jobs: usize) -> Self {
        self.worker(move |worker| worker.concurrency(jobs))
    }

    /// How long it holds a job without a heartbeat. See [`WorkerBuilder::lease`].
    pub fn lease(self, lease: Duration) -> Self {
        self.worker(move |worker| worker.lease(lease))
    }

    /// The clock of [schedules](KindManager::schedule); the system's clock by default. An engine
    /// uses its own clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Box::new(|jobs| jobs.clock(clock)));
        self
    }

    /// For tests: how long the end of the schedules waits for a run that is being submitted.
    #[doc(hidden)]
    pub fn longest_poll(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// Further settings of its worker: its name, how often it sends heartbeats, the callback for
    /// errors.
    pub fn worker(
        mut self,
        setting: impl FnOnce(WorkerBuilder) -> WorkerBuilder + Send + 'static,
    ) -> Self {
        self.settings.push(Box::new(setting));
        self
    }

    /// Makes the manager and starts its worker.
    #[must_use]
    pub fn build(self) -> KindManager {
        let runtime = self.runtime;
        let engine = self
            .engine
            .unwrap_or_else(|| Arc::new(MemoryEngine::new(&runtime)));
        let worker = Worker::builder(&runtime, engine.clone()).handlers(self.handlers);
        let worker = self
            .settings
            .into_iter()
            .fold(worker, |worker, setting| setting(worker));
        let client = JobClient::new(&runtime, engine);
        KindManager {
            worker: Arc::new(Working {
                worker: Mutex::new(Some(worker.start())),
                schedules: KindSchedules::by(&client, self.clock, self.poll),
                runtime,
            }),
            client,
        }
    }
}

impl fmt::Debug for KindManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindManager")
            .field("engine", self.engine())
            .field("worker", &self.worker_status())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for KindManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindManagerBuilder")
            .field("engine", &self.engine)
            .field("handlers", &self.handlers)
            .finish_non_exhaustive()
    }
}

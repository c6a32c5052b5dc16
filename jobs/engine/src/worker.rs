//! Runs jobs of named kinds: [`Worker`].

mod alive;

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use event_listener::Event;
use fourway_core::{
    AnyRuntime, BoxCall, Call, Runtime, Spawner, Timer,
    cancel::{CancellationToken, Reason},
    implement::discard,
};
use fourway_jobs::JobId;
use futures_lite::{FutureExt, future::yield_now};

use crate::{
    Engine, EngineError, EngineFuture, Fetch, Handlers, KindContext, Lease, Leased, Settled,
    Verdict, handlers::Ran,
};

/// Fetches jobs of named kinds from an engine, and runs them on a runtime.
///
/// It holds each job by a lease, for which it sends heartbeats from a separate task, and reports
/// the result once. If the process dies, the lease runs out and another worker gets the job. While
/// the engine cannot be reached, running jobs go on, and their verdicts are kept until they can be
/// sent.
///
/// # Where handlers run
///
/// Futures run on the runtime's threads for tasks, closures on its pool. The worker's own tasks
/// block no thread. A handler that blocks a one-thread runtime also stops the heartbeats.
///
/// # Dropping it
///
/// stops fetching and ends the running jobs: futures are dropped, closures are asked to end, and
/// unfinished jobs are given back to the engine, to be run elsewhere. It does not wait for that;
/// [`drain`](Self::drain) does.
pub struct Worker {
    shared: Arc<Shared>,
}

/// How a [`Worker`] works.
#[must_use = "a worker begins with `start`"]
pub struct WorkerBuilder {
    runtime: AnyRuntime,
    engine: Arc<dyn Engine>,
    handlers: Handlers,
    name: Option<String>,
    concurrency: usize,
    lease: Duration,
    heartbeat: Option<Duration>,
    patience: Option<Duration>,
    grace: Duration,
    on_error: Option<OnError>,
}

type OnError = Box<dyn Fn(&EngineError) + Send + Sync>;

/// The status of a worker at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// The jobs that it runs.
    pub running: Vec<JobId>,
    /// How many attempts have ended by a verdict that counted.
    pub settled: u64,
    /// How many attempts were lost to other workers because a lease ran out.
    pub lost: u64,
    /// The last error of the engine since it last answered.
    pub trouble: Option<String>,
}

/// The fates of the jobs that a worker had when its drain began
/// ([draining](fourway_core::contract#JB-5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerReport {
    /// Jobs whose attempts ended by themselves.
    pub settled: Vec<JobId>,
    /// Jobs that were given back, to be run elsewhere.
    pub released: Vec<JobId>,
    /// Jobs that another worker had already.
    pub lost: Vec<JobId>,
    /// Jobs whose closure was asked and did not end, or whose end could not be reported to the
    /// engine. They run elsewhere when their lease runs out.
    pub left: Vec<JobId>,
}

impl Worker {
    /// A worker of that runtime, for that engine.
    pub fn builder<R: Runtime>(runtime: &R, engine: Arc<dyn Engine>) -> WorkerBuilder {
        WorkerBuilder {
            runtime: AnyRuntime::new(runtime.clone()),
            engine,
            handlers: Handlers::new(),
            name: None,
            concurrency: 8,
            lease: Duration::from_secs(30),
            heartbeat: None,
            patience: None,
            grace: Duration::from_secs(5),
            on_error: None,
        }
    }

    /// Its name at the engine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Its status at this moment.
    #[must_use]
    pub fn status(&self) -> WorkerStatus {
        let state = self.shared.state();
        let mut running: Vec<_> = state.running.keys().map(|lease| lease.id).collect();
        running.sort_unstable();
        WorkerStatus {
            running,
            settled: state.settled,
            lost: state.lost,
            trouble: state.trouble.clone(),
        }
    }

    /// Fetches no more jobs, lets running jobs end, and gives back those that have not ended by the
    /// deadline. It reports the fate of each job ([draining](fourway_core::contract#JB-5)).
    ///
    /// At the deadline, futures are dropped and closures are asked to end; closures have [a little
    /// longer](WorkerBuilder::grace).
    ///
    /// # Cancel safety
    ///
    /// Dropping the call drops the worker.
    pub fn drain(self, deadline: Duration) -> BoxCall<WorkerReport> {
        let runtime = self.shared.runtime.clone();
        let call = runtime.call_with(async move || {
            let shared = &self.shared;
            shared.state().report = Some(WorkerReport::default());
            shared.stop.cancel();
            let runtime = &shared.runtime;
            if runtime.timeout(deadline, shared.idle()).await.is_err() {
                shared.kill.cancel_with(Reason::Shutdown);
                // The report lists the remaining jobs.
                let _ = runtime.timeout(shared.grace, shared.idle()).await;
            }
            let mut state = shared.state();
            let mut report = state.report.take().unwrap_or_default();
            // In addition to the jobs whose end could not be reported to the engine.
            let running = state.running.keys().map(|lease| lease.id);
            report.left.extend(running);
            report
        });
        call.boxed()
    }
}

impl WorkerBuilder {
    /// The kinds that it runs. It does not fetch jobs of other kinds.
    pub fn handlers(mut self, handlers: Handlers) -> Self {
        self.handlers = handlers;
        self
    }

    /// The start of its name at the engine. A suffix makes the name unique among workers, also
    /// after a restart. `worker` by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many jobs it runs at a time. 8 by default.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs.max(1);
        self
    }

    /// How long it holds a job without a heartbeat. Half a minute by default. It should be longer
    /// than the process may stand still, and shorter than a job may wait after the process has
    /// died.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How often it sends heartbeats. A running job learns of its cancellation by one. Every second
    /// by default, and at least three times in a lease, so that an unanswered heartbeat leaves time
    /// for another.
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = Some(every);
        self
    }

    /// How long one fetch waits for a job if there is none. A second by default. A drain may have
    /// to wait as long. With less than 10 milliseconds, the worker itself waits for the rest of
    /// them before it fetches again.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// How long [`drain`](Worker::drain) waits, beyond its deadline, for closures that were
    /// asked to end. Five seconds by default.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Called with each error of the engine, on one of the worker's tasks: it must not block.
    /// The worker tries again by itself. The panic hook reports a panic of `f`; no job is affected,
    /// and `f` is called with the next error.
    ///
    /// An engine that panics is reported as an [internal](EngineError::is_internal) error.
    pub fn on_error(mut self, f: impl Fn(&EngineError) + Send + Sync + 'static) -> Self {
        self.on_error = Some(Box::new(f));
        self
    }

    /// Begins.
    #[must_use = "a worker that is dropped ends"]
    pub fn start(self) -> Worker {
        let name = self.name.as_deref().unwrap_or("worker");
        let third = self.lease / 3;
        let shared = Arc::new(Shared {
            // As unique as a job id, and it shows the process.
            name: format!("{name}/{}/{}", process::id(), crate::next_id()),
            runtime: self.runtime,
            engine: self.engine,
            handlers: self.handlers,
            concurrency: self.concurrency,
            lease: self.lease,
            heartbeat: self
                .heartbeat
                .unwrap_or(Duration::from_secs(1))
                .min(third)
                .max(Duration::from_millis(1)),
            patience: self.patience.unwrap_or(Duration::from_secs(1)),
            grace: self.grace,
            on_error: self.on_error,
            state: Mutex::new(State {
                fetching: true,
                ..State::default()
            }),
            changed: Event::new(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
        });
        let fetching = Fetching {
            shared: shared.clone(),
        };
        shared.runtime.spawn_detached(fetching.run());
        shared.runtime.spawn_detached(alive::beat(shared.clone()));
        shared
            .runtime
            .spawn_detached(alive::maintain(shared.clone()));
        Worker { shared }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.kill.cancel_with(Reason::Shutdown);
    }
}

struct Shared {
    name: String,
    runtime: AnyRuntime,
    engine: Arc<dyn Engine>,
    handlers: Handlers,
    concurrency: usize,
    lease: Duration,
    heartbeat: Duration,
    patience: Duration,
    grace: Duration,
    on_error: Option<OnError>,
    state: Mutex<State>,
    /// A job has ended, or the last fetch has.
    changed: Event,
    /// No more jobs are fetched.
    stop: CancellationToken,
    /// Running jobs must end; the parent of each job's token.
    kill: CancellationToken,
}

#[derive(Default)]
struct State {
    running: HashMap<Lease, KindContext>,
    fetching: bool,
    settled: u64,
    lost: u64,
    trouble: Option<String>,
    /// While it drains.
    report: Option<WorkerReport>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `so`.
    async fn until(&self, so: impl Fn(&State) -> bool) {
        loop {
            // Before the look, so that no change is missed.
            let change = self.changed.listen();
            if so(&self.state()) {
                return;
            }
            change.await;
        }
    }

    /// How many more jobs it may run: at least one, which its caller has waited for.
    ///
    /// An engine answers many verdicts at a time, and this may be asked when the first of their tasks
    /// has ended. The others are ready to run by then, so they have their turn before the next fetch,
    /// which would get one job otherwise.
    async fn free(&self) -> usize {
        let mut free = 0;
        loop {
            let more = self.concurrency - self.state().running.len();
            if more <= free {
                return free;
            }
            free = more;
            yield_now().await;
        }
    }

    /// Waits until no job runs and none will start.
    async fn idle(&self) {
        self.until(|state| !state.fetching && state.running.is_empty())
            .await;
    }

    fn heard(&self) {
        self.state().trouble = None;
    }

    fn trouble(&self, error: &EngineError) {
        self.state().trouble = Some(error.to_string());
        if let Some(on_error) = &self.on_error {
            // A panic would end the task that met the error, and with the heartbeats' task the lease
            // of each job.
            if let Err(shown) = catch_unwind(AssertUnwindSafe(|| on_error(error))) {
                discard(shown);
            }
        }
    }

    /// The engine's answer. A panic of the engine is an error, and ends no task of the worker.
    async fn asked<T>(
        &self,
        ask: impl FnOnce(&dyn Engine) -> EngineFuture<T>,
    ) -> Result<T, EngineError> {
        // It may panic in the call, and in each poll.
        let answer = async { ask(&*self.engine).await };
        match AssertUnwindSafe(answer).catch_unwind().await {
            Ok(answer) => answer,
            Err(shown) => {
                discard(shown);
                Err(EngineError::panicked())
            }
        }
    }

    /// The pause after that many errors in a row.
    fn pause(errors: u32) -> Duration {
        let pause = Duration::from_millis(50) * 2_u32.pow(errors.min(6));
        // Jitter, as many workers lose their engine at the same time.
        pause.mul_f64(0.5 + fastrand::f64())
    }
}

/// How many fetches in a row were answered without a job before the patience was over.
#[derive(Default)]
struct Early(u32);

impl Early {
    /// The pause after another fetch without a job, which took `asked`.
    ///
    /// An engine waits for a job until the patience is over, and there is no pause. One that
    /// answers before is asked less and less often, though at least once in that time: it may have
    /// lost a job to another worker, or may be unable to wait.
    fn pause(&mut self, patience: Duration, asked: Duration) -> Duration {
        let least = Duration::from_millis(10);
        let left = patience.max(least).saturating_sub(asked);
        if left.is_zero() {
            // The engine does wait.
            self.0 = 0;
            return left;
        }
        let pause = left.min(least * 2_u32.pow(self.0.min(6)));
        self.0 = self.0.saturating_add(1);
        pause
    }
}

/// The task that fetches.
struct Fetching {
    shared: Arc<Shared>,
}

impl Fetching {
    async fn run(self) {
        let shared = &self.shared;
        let kinds = shared.handlers.kinds();
        if kinds.is_empty() {
            // There is no job for it, and some engines answer such a fetch at once.
            shared.stop.cancelled().await;
            return;
        }
        let (mut errors, mut early) = (0, Early::default());
        while !shared.stop.is_cancelled() {
            let room = shared.until(|state| state.running.len() < shared.concurrency);
            if shared.stop.run_until_cancelled(room).await.is_err() {
                break;
            }
            let free = shared.free().await;
            let fetch = Fetch::new(&*shared.name, kinds.clone())
                .max(free)
                .lease(shared.lease)
                .patience(shared.patience);
            // Not dropped on `stop`: fetched jobs would wait for their leases to run out. It is
            // dropped only with the worker.
            let fetch = shared.asked(|engine| engine.fetch(fetch));
            let asked = shared.runtime.now();
            match shared.kill.run_until_cancelled(fetch).await {
                Ok(Ok(jobs)) => {
                    errors = 0;
                    shared.heard();
                    if jobs.is_empty() {
                        let asked = shared.runtime.now().saturating_duration_since(asked);
                        let pause = early.pause(shared.patience, asked);
                        if !pause.is_zero() {
                            let pause = shared.runtime.sleep(pause);
                            // It stops, or goes on.
                            let _ = shared.stop.run_until_cancelled(pause).await;
                        }
                        continue;
                    }
                    early = Early::default();
                    for job in jobs {
                        start(shared, job);
                    }
                }
                Ok(Err(error)) => {
                    shared.trouble(&error);
                    if error.is_closed() {
                        break;
                    }
                    let pause = shared.runtime.sleep(Shared::pause(errors));
                    errors += 1;
                    // It stops, or goes on.
                    let _ = shared.stop.run_until_cancelled(pause).await;
                }
                Err(_dropped) => break,
            }
        }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.shared.state().fetching = false;
        self.shared.changed.notify(usize::MAX);
    }
}

/// Runs a job in its own task.
fn start(shared: &Arc<Shared>, job: Leased) {
    let token = match job.timeout {
        Some(timeout) => shared.kill.child_with_timeout(&shared.runtime, timeout),
        None => shared.kill.child(),
    };
    let context = KindContext::new(&job, token);
    shared.state().running.insert(job.lease, context.clone());
    // From here on the job is always taken out of the list.
    let held = Holding {
        shared: shared.clone(),
        lease: job.lease,
    };
    shared.runtime.spawn_detached(held.run(job, context));
}

/// A job that this worker holds.
struct Holding {
    shared: Arc<Shared>,
    lease: Lease,
}

impl Holding {
    async fn run(self, job: Leased, context: KindContext) {
        let id = self.lease.id;
        let Some(verdict) = self.attempt(job, context).await else {
            self.lost();
            return;
        };
        let released = verdict == Verdict::Release;
        if released && self.shared.stop.is_cancelled() {
            // Otherwise this worker's own last fetch might get it again.
            self.shared.until(|state| !state.fetching).await;
        }
        let settled = self.settle(verdict).await;
        // Dropped after the lock is released.
        let _context;
        let mut state = self.shared.state();
        // Moved under one lock, so that a drain finds the job in exactly one place.
        _context = state.running.remove(&self.lease);
        let State {
            settled: count,
            lost,
            report,
            ..
        } = &mut *state;
        let report = report.as_mut();
        match settled {
            Some(Settled::Recorded) => {
                *count += 1;
                if let Some(report) = report {
                    if released {
                        report.released.push(id);
                    } else {
                        report.settled.push(id);
                    }
                }
            }
            Some(Settled::Lost) => {
                *lost += 1;
                report.into_iter().for_each(|report| report.lost.push(id));
            }
            // The report did not reach the engine: the job's lease runs out.
            None => report.into_iter().for_each(|report| report.left.push(id)),
        }
    }

    /// The verdict; `None` if it would have no effect.
    async fn attempt(&self, job: Leased, context: KindContext) -> Option<Verdict> {
        let shared = &self.shared;
        let token = context.token().clone();
        let Some(handler) = shared.handlers.of(&job.kind) else {
            let error = format!(
                "the engine gave a job of kind `{}` that nobody asked for",
                job.kind
            );
            shared.trouble(&EngineError::invalid(error));
            return Some(Verdict::Release);
        };
        let running = handler.run(&shared.runtime, context, job.version, job.args);
        let (error, give_up) = match running.await {
            // Also if it was asked to end: it has an output, so the request came too late.
            Ran::Output(output) => return Some(Verdict::Complete(output)),
            Ran::Failed { error, give_up } => (Some(error), give_up),
            Ran::Dropped => (None, false),
        };
        let again = |error, timed_out| {
            if job.attempt >= job.max_attempts {
                return Verdict::Fail { error, timed_out };
            }
            Verdict::RetryLater {
                delay: handler.retry.after(job.attempt),
                error,
                timed_out,
            }
        };
        Some(match token.reason() {
            None => match error {
                Some(error) if give_up => Verdict::DeadLetter { error },
                Some(error) => again(error, false),
                // The runtime is being shut down.
                None => Verdict::Release,
            },
            Some(Reason::Requested) => Verdict::Cancelled,
            Some(Reason::Deadline) => {
                let error = error.unwrap_or_else(|| "it took too long".to_owned());
                if give_up {
                    // It is dead at once, whatever else has ended its attempt.
                    Verdict::DeadLetter { error }
                } else if handler.retry.retries_timeouts() {
                    again(error, true)
                } else {
                    let timed_out = true;
                    Verdict::Fail { error, timed_out }
                }
            }
            Some(Reason::Shutdown) => Verdict::Release,
            // Lost.
            Some(_) => return None,
        })
    }

    /// Sends the verdict until the engine answers; or only once, if the worker must end.
    ///
    /// A verdict that the engine refuses for good, such as one with too large an output, would be
    /// refused after each attempt. Another verdict with the reason replaces it.
    async fn settle(&self, mut verdict: Verdict) -> Option<Settled> {
        let shared = &self.shared;
        let mut errors = 0;
        loop {
            let verdicts = vec![(self.lease, verdict.clone())];
            match shared.asked(|engine| engine.settle(verdicts)).await {
                Ok(settled) => {
                    shared.heard();
                    return settled.first().copied();
                }
                Err(error) => {
                    shared.trouble(&error);
                    if error.is_closed() {
                        return None;
                    }
                    if error.is_refusal() {
                        verdict = in_place_of(&verdict, &error)?;
                        continue;
                    }
                    if shared.kill.is_cancelled() {
                        return None;
                    }
                }
            }
            shared.runtime.sleep(Shared::pause(errors)).await;
            errors += 1;
        }
    }

    fn lost(&self) {
        let _context;
        let mut state = self.shared.state();
        _context = state.running.remove(&self.lease);
        state.lost += 1;
        if let Some(report) = &mut state.report {
            report.lost.push(self.lease.id);
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let context = self.shared.state().running.remove(&self.lease);
        drop(context);
        self.shared.changed.notify(usize::MAX);
    }
}

/// The verdict to send after the engine has refused this one; `None` if it has no part that could
/// be left out.
fn in_place_of(verdict: &Verdict, refused: &EngineError) -> Option<Verdict> {
    let Verdict::Complete(output) = verdict else {
        return None;
    };
    let error = format!(
        "it has completed, and its output of {} bytes could not be recorded: {refused}",
        output.len()
    );
    Some(Verdict::DeadLetter { error })
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.shared.name)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("engine", &self.engine)
            .field("handlers", &self.handlers)
            .field("concurrency", &self.concurrency)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_waits_is_asked_at_once_and_soon_after_an_early_answer() {
        let [patience, at_once] = [Duration::from_secs(5), Duration::ZERO];
        let mut early = Early::default();
        let mut pauses = |asked: [Duration; 3]| asked.map(|asked| early.pause(patience, asked));
        let millis = Duration::from_millis;
        assert_eq!(pauses([at_once; 3]), [10, 20, 40].map(millis));
        let pauses = pauses([patience, at_once, at_once]);
        assert_eq!(pauses, [0, 10, 20].map(millis));
    }
}

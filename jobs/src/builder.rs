//! How a manager is made: [`JobManagerBuilder`].

use std::{sync::Arc, thread::available_parallelism, time::Duration};

use fourway_core::{AnyRuntime, Runtime};

use crate::{
    DropReport, JobManager, Retry,
    clock::{Clock, SystemClock, Watch, nanos},
    shared::Shared,
    store::Settings,
};

/// Makes a [`JobManager`]. Made by [`JobManager::builder`].
///
/// # Examples
///
/// ```
/// use fourway_core::Runtime;
/// use fourway_jobs::{JobManager, Retry};
/// use std::time::Duration;
///
/// fn manager<R: Runtime>(rt: &R) -> JobManager {
///     JobManager::builder(rt)
///         .concurrency(16)
///         .queue_limit(10_000)
///         .limit("mail", 2)
///         .timeout(Duration::from_secs(600))
///         .retry(Retry::attempts(3))
///         .keep(50_000, Duration::from_secs(24 * 3600))
///         .build()
/// }
/// ```
#[must_use = "call `build`"]
pub struct JobManagerBuilder {
    runtime: AnyRuntime,
    concurrency: usize,
    queue_limit: usize,
    limits: Vec<(String, usize)>,
    limits_per_key: Vec<(String, usize)>,
    timeout: Option<Duration>,
    retry: Retry,
    ageing: Duration,
    keep: usize,
    keep_for: Duration,
    history: usize,
    clock: Option<Arc<dyn Clock>>,
    on_drop: Option<OnDrop>,
}

pub(crate) type OnDrop = Box<dyn FnOnce(DropReport) + Send + Sync>;

impl JobManagerBuilder {
    pub(crate) fn new(runtime: &impl Runtime) -> Self {
        Self {
            runtime: AnyRuntime::new(runtime.clone()),
            concurrency: available_parallelism().map_or(4, usize::from).max(2) * 8,
            queue_limit: 1_000_000,
            limits: Vec::new(),
            limits_per_key: Vec::new(),
            timeout: None,
            retry: Retry::never(),
            ageing: Duration::from_secs(10),
            keep: 10_000,
            keep_for: Duration::from_secs(3600),
            history: 0,
            clock: None,
            on_drop: None,
        }
    }

    /// How many jobs run at a time at most; eight for each processor by default, and at
    /// least one.
    ///
    /// A suspended future counts as running. Closures also need a thread of the runtime's pool,
    /// which has its own limit.
    ///
    /// A job that waits for another job of this manager keeps its slot meanwhile
    /// ([cancelling](fourway_core::contract#JB-3)). If all slots are held by such jobs, none of
    /// them can end. Use [`Job::after`](crate::Job::after) instead, or give the inner jobs a
    /// [class](Self::limit) and limit the outer ones.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs.max(1);
        self
    }

    /// How many jobs may wait, scheduled and retrying ones included, before
    /// [`submit`](JobManager::submit) refuses; 1,000,000 by default.
    pub fn queue_limit(mut self, jobs: usize) -> Self {
        self.queue_limit = jobs;
        self
    }

    /// How many jobs of a class run at a time at most, besides the limit for all.
    pub fn limit(mut self, class: impl Into<String>, jobs: usize) -> Self {
        self.limits.push((class.into(), jobs.max(1)));
        self
    }

    /// How many jobs of a class run at a time at most that have the same
    /// [key](crate::Job::key).
    pub fn limit_per_key(mut self, class: impl Into<String>, jobs: usize) -> Self {
        self.limits_per_key.push((class.into(), jobs.max(1)));
        self
    }

    /// The timeout of jobs without their own; none by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How often a job without its own [setting](crate::Job::retry) is tried; once by default
    /// here either.
    ///
    /// It holds for bodies that can run more than once: those of
    /// [`Job::blocking`](crate::Job::blocking), [`Job::task`](crate::Job::task) and
    /// [`Job::call`](crate::Job::call). Other bodies run once in any case. A job that must not
    /// be tried again says [`Retry::never`].
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// What a level of priority is worth, in time of waiting; ten seconds by default.
    ///
    /// A job of priority 3 goes before one of priority 0 that was queued up to half a minute
    /// earlier, and after one that has waited for longer: nothing starves.
    pub fn ageing(mut self, level: Duration) -> Self {
        self.ageing = level;
        self
    }

    /// How many finished jobs are kept, and for how long; 10,000 and one hour by default. A
    /// [`Duration::MAX`] is for ever.
    ///
    /// A forgotten job is unknown by its id; a handle still has its value.
    pub fn keep(mut self, jobs: usize, period: Duration) -> Self {
        (self.keep, self.keep_for) = (jobs, period);
        self
    }

    /// How many events are kept for subscriptions [from an earlier
    /// one](JobManager::subscribe_from); none by default.
    pub fn event_history(mut self, events: usize) -> Self {
        self.history = events;
        self
    }

    /// The clock; the system's clock by default.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Called with the jobs that are given up when the last handle of the manager is dropped while
    /// jobs are left. It runs on the dropping thread and must not block. The panic hook reports a
    /// panic of it, which goes no further: the thread may be unwinding already.
    pub fn on_drop(mut self, report: impl FnOnce(DropReport) + Send + Sync + 'static) -> Self {
        self.on_drop = Some(Box::new(report));
        self
    }

    /// The manager. It starts nothing before a job is submitted.
    #[must_use]
    pub fn build(self) -> JobManager {
        let clock = self
            .clock
            .unwrap_or_else(|| Arc::new(SystemClock::new(self.runtime.clone())));
        let settings = Settings {
            concurrency: self.concurrency,
            queue_limit: self.queue_limit,
            dispatchers: available_parallelism()
                .map_or(4, usize::from)
                .min(self.concurrency),
            keep: self.keep,
            keep_for: nanos(self.keep_for),
            history: self.history,
            timeout: self.timeout,
            retry: self.retry,
        };
        let ageing = nanos(self.ageing).min(i64::MAX as u64 / 256);
        let watch = Watch::new(clock);
        let shared = Shared::new(self.runtime, watch, settings, ageing);
        let mut store = shared.lock();
        for (class, limit) in &self.limits {
            let class = store.queue.class(class);
            store.queue.set_limit(class, *limit);
        }
        for (class, limit) in &self.limits_per_key {
            let class = store.queue.class(class);
            store.queue.set_limit_per_key(class, *limit);
        }
        drop(store);
        JobManager::from_parts(Arc::new(shared), self.on_drop)
    }
}

impl std::fmt::Debug for JobManagerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobManagerBuilder")
            .field("runtime", &self.runtime)
            .field("concurrency", &self.concurrency)
            .field("queue_limit", &self.queue_limit)
            .finish_non_exhaustive()
    }
}

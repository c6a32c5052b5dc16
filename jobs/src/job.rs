//! The types that can be submitted: a [`Job`], or other [`Work`].

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    marker::PhantomData,
    sync::Arc,
    time::{Duration, SystemTime},
};

use fourway_core::Call;

use crate::{
    JobContext, JobId, JobOutput, JobState, Retry,
    body::{self, Body},
    called::Called,
    shared::Shared,
    slot::Slot,
};

/// Something to run, and how: its name, class, priority, timeout, retries and so on.
///
/// Futures, closures and [`Call`]s can be submitted as they are. A `Job` is for work with options.
///
/// # Examples
///
/// ```
/// use fourway_jobs::{Job, JobContext, Retry};
/// use std::{fs, io, time::Duration};
///
/// let job = Job::blocking(|_: JobContext| fs::read_to_string("/etc/hosts"))
///     .name("read the hosts")
///     .class("files")
///     .priority(5)
///     .timeout(Duration::from_secs(10))
///     .retry(Retry::attempts(3));
/// # drop(job);
/// ```
#[must_use = "a job does nothing before it is submitted"]
pub struct Job<W> {
    work: W,
    options: Options,
}

impl<W> Job<W> {
    /// A job of a future, a closure that may block, or a [`Call`], which runs once.
    pub fn new<M>(work: W) -> Self
    where
        W: Work<M>,
    {
        Self {
            work,
            options: Options::default(),
        }
    }

    /// The name that people see. Several jobs may have the same.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.options.more().name = Some(name.into());
        self
    }

    /// The class of the job: for limits, pausing and filters. [`DEFAULT_CLASS`] by default.
    pub fn class(mut self, class: impl Into<Cow<'static, str>>) -> Self {
        self.options.class = Some(class.into());
        self
    }

    /// What the job is about, such as a customer: of its class, a limited number of jobs with
    /// the same key run at a time. See
    /// [`limit_per_key`](crate::JobManagerBuilder::limit_per_key).
    pub fn key(mut self, key: impl AsRef<str>) -> Self {
        self.options.more().key = Some(Arc::from(key.as_ref()));
        self
    }

    /// How much it matters: more goes first; 0 by default.
    ///
    /// A level is worth a fixed time of waiting,
    /// [`ageing`](crate::JobManagerBuilder::ageing), so that no job starves.
    pub fn priority(mut self, priority: i8) -> Self {
        self.options.priority = priority;
        self
    }

    /// It is queued after this time.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.more().start = Some(Start::After(delay));
        self
    }

    /// It is queued at this time, by the clock on the wall; at once if that has passed.
    pub fn start_at(mut self, time: SystemTime) -> Self {
        self.options.more().start = Some(Start::At(time));
        self
    }

    /// For how long an attempt may run.
    ///
    /// Then a future is dropped, and a closure is asked by its token to end; it holds its slot
    /// until it does.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.more().timeout = Some(timeout);
        self
    }

    /// There is at most one job with such a key. Submitting another one gives a handle of the
    /// existing job; see [`Unique`] ([unique keys](fourway_core::contract#JB-6)).
    pub fn unique(mut self, unique: impl Into<Unique>) -> Self {
        self.options.more().unique = Some(unique.into());
        self
    }

    /// It runs after these jobs have completed. If one of them ends otherwise, it is cancelled,
    /// and says so.
    pub fn after(mut self, jobs: impl IntoIterator<Item = JobId>) -> Self {
        self.options.more().after.extend(jobs);
        self
    }

    /// A label to search for. See [`Filter`](crate::Filter).
    pub fn label(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        let labels = &mut self.options.more().labels;
        let label = label.into();
        labels.retain(|(known, _)| *known != label);
        labels.push((label, value.into()));
        self
    }

    /// How often it is tried, if not as the manager's jobs
    /// [are](crate::JobManagerBuilder::retry). For bodies that can run more than once: those of
    /// [`Job::blocking`], [`Job::task`], [`Job::call`] and [`Job::call_with`].
    pub fn retry<M>(mut self, retry: Retry) -> Self
    where
        W: Again<M>,
    {
        self.options.more().retry = Some(retry);
        self
    }

    pub(crate) fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }
}

impl<F, O> Job<RunClosure<F>>
where
    F: FnMut(JobContext) -> O + Send + 'static,
    O: JobOutput,
{
    /// A job of a closure that may block and can run more than once. It runs on the runtime's
    /// pool.
    pub fn blocking(closure: F) -> Self {
        Self {
            work: RunClosure(closure),
            options: Options::default(),
        }
    }
}

impl<G, F> Job<RunFuture<G>>
where
    G: FnMut(JobContext) -> F + Send + 'static,
    F: Future<Output: JobOutput> + Send + 'static,
{
    /// A job of futures: the closure makes one for each attempt, on one of the runtime's
    /// threads for tasks.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_jobs::{Job, JobContext, Retry};
    ///
    /// let job = Job::task(|job: JobContext| async move {
    ///     match job.attempt() {
    ///         1 => Err("not yet"),
    ///         attempt => Ok(attempt),
    ///     }
    /// })
    /// .retry(Retry::attempts(2));
    /// # drop(job);
    /// ```
    pub fn task(make: G) -> Self {
        Self {
            work: RunFuture(make),
            options: Options::default(),
        }
    }
}

impl<C> Job<RunCall<C>>
where
    C: Call + Clone,
    C::Output: JobOutput,
{
    /// A job of a [`Call`] that can be used more than once, being `Clone`.
    ///
    /// Most calls that library methods return are not `Clone`. For these,
    /// [`call_with`](Self::call_with) makes one call for each attempt, and [`Job::new`] takes one
    /// that runs once.
    pub fn call(call: C) -> Self {
        Self {
            work: RunCall(call),
            options: Options::default(),
        }
    }
}

impl<G, C> Job<RunCallWith<G>>
where
    G: FnMut(JobContext) -> C + Send + 'static,
    C: Call,
    C::Output: JobOutput,
{
    /// A job of [`Call`]s: the closure makes one for each attempt, such as a library's method does.
    ///
    /// The closure is called on one of the runtime's threads for tasks, and must not block; the
    /// bodies in the call run where they belong. A cancelled job holds its slot until all blocking
    /// bodies that its call has begun have ended ([cancelling](fourway_core::contract#JB-3)). A body
    /// that the call itself has given up, by a time limit of its own or in a race, does not hold the
    /// slot of a job that has its output.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{BoxCall, Call, Runtime};
    /// use fourway_jobs::{Job, JobContext, JobManager, Retry};
    /// use std::io;
    ///
    /// fn read<R: Runtime>(rt: &R, path: &'static str) -> BoxCall<io::Result<String>> {
    ///     rt.call_blocking(move || std::fs::read_to_string(path)).boxed()
    /// }
    ///
    /// fn example<R: Runtime>(rt: &R, jobs: &JobManager) -> Result<(), Box<dyn std::error::Error>> {
    ///     let rt = rt.clone();
    ///     let job = Job::call_with(move |_: JobContext| read(&rt, "/etc/hosts"));
    ///     println!("{}", jobs.submit(job.retry(Retry::attempts(3)))?.wait()?);
    ///     Ok(())
    /// }
    /// ```
    pub fn call_with(make: G) -> Self {
        Self {
            work: RunCallWith(make),
            options: Options::default(),
        }
    }
}

impl<W> fmt::Debug for Job<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The default class.
pub const DEFAULT_CLASS: &str = "default";

/// Until when a unique key is taken. With the key alone, it is taken while its job has not
/// ended.
///
/// # Examples
///
/// ```
/// use fourway_jobs::{Job, JobContext, JobState, Unique};
/// use std::time::Duration;
///
/// let nightly = Unique::key("report/2026-11-29")
///     .within(Duration::from_secs(24 * 3600)) // also once it has ended
///     .except(JobState::Failed); // but not if it has failed
/// let job = Job::blocking(|_: JobContext| ()).unique(nightly);
/// # drop(job);
/// ```
#[derive(Clone, Debug)]
pub struct Unique {
    pub(crate) key: Arc<str>,
    pub(crate) within: Option<Duration>,
    /// By `JobState as u8`.
    pub(crate) states: u8,
}

impl Unique {
    /// The key is taken while the job is scheduled, queued, running or retrying.
    #[must_use]
    pub fn key(key: impl AsRef<str>) -> Self {
        Self {
            key: key.as_ref().into(),
            within: None,
            states: bit(JobState::Scheduled)
                | bit(JobState::Queued)
                | bit(JobState::Running)
                | bit(JobState::Retrying),
        }
    }

    /// The key is taken for this period after the submission, whatever the job's state; no longer,
    /// even if it has not ended. A job that retention has forgotten takes no key. The period is
    /// measured [on the watch](crate::Clock).
    ///
    /// A submission looks at the jobs of its key, newest first, until one takes it: at all of them
    /// that retention has kept, if none does.
    #[must_use]
    pub fn within(mut self, period: Duration) -> Self {
        self.within = Some(period);
        self.states = u8::MAX;
        self
    }

    /// A job in this state takes the key, too.
    #[must_use]
    pub fn also(mut self, state: JobState) -> Self {
        self.states |= bit(state);
        self
    }

    /// A job in this state takes the key no more.
    ///
    /// So many jobs may have one key, and a submission [looks](Self::within) at each that does not
    /// take it.
    #[must_use]
    pub fn except(mut self, state: JobState) -> Self {
        self.states &= !bit(state);
        self
    }

    /// Jobs that have ended may have the key.
    pub(crate) fn holds_ended(&self) -> bool {
        let ended = bit(JobState::Completed) | bit(JobState::Failed) | bit(JobState::Cancelled);
        self.states & ended != 0
    }
}

pub(crate) fn bit(state: JobState) -> u8 {
    1 << state as u8
}

impl From<&str> for Unique {
    fn from(key: &str) -> Self {
        Self::key(key)
    }
}

impl From<String> for Unique {
    fn from(key: String) -> Self {
        Self::key(key)
    }
}

/// The options of a job.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) class: Option<Cow<'static, str>>,
    pub(crate) priority: i8,
    /// The rarely used options.
    pub(crate) more: Option<Box<More>>,
}

#[derive(Debug, Default)]
pub(crate) struct More {
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) start: Option<Start>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) unique: Option<Unique>,
    pub(crate) after: Vec<JobId>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) retry: Option<Retry>,
    pub(crate) watcher: Option<Arc<dyn Watcher>>,
    /// It is accepted also when the queue is full.
    pub(crate) beyond_limit: bool,
    #[cfg(feature = "tracing")]
    pub(crate) parent: crate::span::Parent,
}

/// Watches for the end of a job: its batch or schedule. It is told in the step that ends the job.
/// So it sees the ends in their order, also if the job is tried again at once.
pub(crate) trait Watcher: fmt::Debug + Send + Sync {
    /// Called under the store's lock: it takes only its own lock and runs no user code. `true` if
    /// it then has something to [do](Self::act).
    fn ended(&self, id: JobId, state: JobState) -> bool;

    /// A job that had ended in this state will run once more. Under the store's lock as well.
    fn reopened(&self, id: JobId, from: JobState);

    /// A job with the same unique key is there, in that state, in place of the watcher's own. `true`
    /// if that job is watched from then on. Under the store's lock as well.
    fn found(&self, id: JobId, state: JobState) -> bool;

    /// Without any lock, after what belonged to the job is destroyed.
    fn act(&self, shared: &Arc<Shared>);
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    After(Duration),
    At(SystemTime),
}

impl Options {
    /// Notes the span that is current where the job is submitted.
    #[cfg(feature = "tracing")]
    pub(crate) fn submitted_here(&mut self) {
        if let Some(parent) = crate::span::parent() {
            self.more().parent = Some(parent);
        }
    }

    /// Is there a start time by the clock on the wall?
    pub(crate) fn starts_on_wall(&self) -> bool {
        let start = self.more.as_ref().and_then(|more| more.start.as_ref());
        matches!(start, Some(Start::At(_)))
    }

    pub(crate) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }
}

/// What can be submitted: a future, a closure that may block, a [`Call`], or a [`Job`].
///
/// `M` is the kind of work; the compiler infers it. The trait is sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be submitted as a job",
    label = "neither a future, nor a closure without arguments, nor a call, nor a `Job`",
    note = "what it gives has to be a `Result` or another `JobOutput`, and it has to be `Send + 'static`. An async closure is submitted with `Job::task`, a closure that gives a call with `Job::call_with`"
)]
pub trait Work<M>: sealed::Work<M> {}

/// Work that can run more than once.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can run only once, and so cannot be tried again",
    note = "`Job::blocking(|job| ..)`, `Job::task(|job| async ..)`, `Job::call_with(|job| call)` and `Job::call(call)`, if the call is `Clone`, can"
)]
pub trait Again<M>: Work<M> {}

/// The kind of the work.
#[allow(missing_debug_implementations, reason = "there are no values of these")]
pub mod kinds_of_work {
    use std::marker::PhantomData;

    /// A future.
    pub enum AsFuture {}
    /// A closure.
    pub enum AsClosure {}
    /// A call.
    pub enum AsCall {}
    /// A [`Job`](crate::Job) of something.
    pub struct AsJob<M>(PhantomData<M>);
    /// The work of `Job::blocking`, `Job::task`, `Job::call` and `Job::call_with`.
    pub enum AsAgain {}
}

use kinds_of_work::{AsAgain, AsCall, AsClosure, AsFuture, AsJob};

pub(crate) mod sealed {
    use super::{Body, Options, Slot};
    use std::sync::Arc;

    pub trait Work<M>: Send + Sized + 'static {
        type Value: Send + 'static;

        #[doc(hidden)]
        #[allow(private_interfaces, reason = "the trait is sealed")]
        fn into_parts(self, slot: &Arc<Slot<Self::Value>>) -> (Body, Options);
    }
}

impl<W, M> Work<M> for W where W: sealed::Work<M> {}

#[allow(private_interfaces, reason = "the trait is sealed")]
impl<F> sealed::Work<AsFuture> for F
where
    F: Future<Output: JobOutput> + Send + 'static,
{
    type Value = <F::Output as JobOutput>::Value;

    fn into_parts(self, slot: &Arc<Slot<Self::Value>>) -> (Body, Options) {
        (body::once(self, slot.clone()), Options::default())
    }
}

#[allow(private_interfaces, reason = "the trait is sealed")]
impl<F, O> sealed::Work<AsClosure> for F
where
    F: FnOnce() -> O + Send + 'static,
    O: JobOutput,
{
    type Value = O::Value;

    fn into_parts(self, slot: &Arc<Slot<Self::Value>>) -> (Body, Options) {
        let body = body::OnceClosure::<F, O>::body(self, slot.clone());
        (body, Options::default())
    }
}

#[allow(private_interfaces, reason = "the trait is sealed")]
impl<C> sealed::Work<AsCall> for C
where
    C: Call,
    C::Output: JobOutput,
{
    type Value = <C::Output as JobOutput>::Value;

    fn into_parts(self, slot: &Arc<Slot<Self::Value>>) -> (Body, Options) {
        let mut call = Some(self);
        let body = Called::body(move |_| call.take(), false, slot.clone());
        (body, Options::default())
    }
}

#[allow(private_interfaces, reason = "the trait is sealed")]
impl<W, M> sealed::Work<AsJob<M>> for Job<W>
where
    W: sealed::Work<M>,
    M: 'static,
{
    type Value = W::Value;

    fn into_parts(self, slot: &Arc<Slot<Self::Value>>) -> (Body, Options) {
        let (body, _) = self.work.into_parts(slot);
        (body, self.options)
    }
}

/// The work of [`Job::blocking`].
pub struct RunClosure<F>(F);
/// The work of [`Job::task`].
pub struct RunFuture<G>(G);
/// The work of [`Job::call`].
pub struct RunCall<C>(C);
/// The work of [`Job::call_with`].
pub struct RunCallWith<G>(G);

#[allow(private_interfaces, reason = "the trait is sealed")]
impl<F, O> sealed::Work<AsAgain> for RunClosure<F>
where
    F: FnMut(JobContext) -> O + Send + 'static,
    O: JobOutput,
{
    type Value = O::Value;

    fn into_parts(self, slot: &Arc<Slot<Self::Value>>) -> (Body, Options) {
        let body = body::AgainClosure::<F, O>::body(self.0, slot.clone());
        (body, Options::default())
    }
}

impl<F, O> Again<AsAgain> for RunClosure<F>
where
    F: FnMut(JobContext) -> O + Send + 'static,
    O: JobOutput,
{
}

#[allow(private_interfaces, reason = "the trait is sealed")]
impl<G, F> sealed::Work<AsAgain> for RunFuture<G>
where
    G: FnMut(JobContext) -> F + Send + 'static,
    F: Future<Output: JobOutput> + Send + 'static,
{
    type Value = <F::Output as JobOutput>::Value;

    fn into_parts(self, slot: &Arc<Slot<Self::Value>>) -> (Body, Options) {
        (body::again(self.0, slot.clone()), Options::default())
    }
}

impl<G, F> Again<AsAgain> for RunFuture<G>
where
    G: FnMut(JobContext) -> F + Send + 'static,
    F: Future<Output: JobOutput> + Send + 'static,
{
}

#[allow(private_interfaces, reason = "the trait is sealed")]
impl<C> sealed::Work<AsAgain> for RunCall<C>
where
    C: Call + Clone,
    C::Output: JobOutput,
{
    type Value = <C::Output as JobOutput>::Value;

    fn into_parts(self, slot: &Arc<Slot<Self::Value>>) -> (Body, Options) {
        let call = self.0;
        let body = Called::body(move |_| Some(call.clone()), true, slot.clone());
        (body, Options::default())
    }
}

impl<C> Again<AsAgain> for RunCall<C>
where
    C: Call + Clone,
    C::Output: JobOutput,
{
}

#[allow(private_interfaces, reason = "the trait is sealed")]
impl<G, C> sealed::Work<AsAgain> for RunCallWith<G>
where
    G: FnMut(JobContext) -> C + Send + 'static,
    C: Call,
    C::Output: JobOutput,
{
    type Value = <C::Output as JobOutput>::Value;

    fn into_parts(self, slot: &Arc<Slot<Self::Value>>) -> (Body, Options) {
        let mut make = self.0;
        let make = move |job: &JobContext| Some(make(job.clone()));
        (Called::body(make, true, slot.clone()), Options::default())
    }
}

impl<G, C> Again<AsAgain> for RunCallWith<G>
where
    G: FnMut(JobContext) -> C + Send + 'static,
    C: Call,
    C::Output: JobOutput,
{
}

macro_rules! debug {
    ($($type:ident)*) => {
        $(impl<T> fmt::Debug for $type<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($type)).finish_non_exhaustive()
            }
        })*
    };
}

debug!(RunClosure RunFuture RunCall RunCallWith);

// So that the parameter of `AsJob` is used.
const _: PhantomData<AsJob<AsCall>> = PhantomData;

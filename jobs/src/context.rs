//! The interface of a running job: [`JobContext`].

use std::{
    fmt,
    sync::{
        Arc,
        OnceLock,
        Weak,
        // Not modelled: the reader got the control from the writer.
        atomic::{AtomicU32, AtomicU64, fence},
    },
    task::Waker,
};

use fourway_core::{
    cancel::{CancellationToken, Cancelled, Reason},
    implement::{are_unshared, fork::Process, is_unshared, wake},
    values::{Key, Values},
};

use crate::{
    JobId, JobManager,
    shared::Shared,
    snapshot::Progress,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        lock,
    },
    text::{self, TEXT_KEPT},
};

/// How many [counters](JobContext::count) of a job are kept.
pub const COUNTERS_KEPT: usize = 64;

/// The running job: its id and attempt, the token that is cancelled when it must end, and the
/// reports of its progress.
///
/// A body that runs once for each attempt receives a context. Other code that runs in a job,
/// however deep in a library, asks for the [`current`](Self::current) one.
///
/// # Examples
///
/// ```
/// use fourway_jobs::{BoxError, Job, JobContext};
///
/// let job = Job::blocking(|job: JobContext| -> Result<u64, BoxError> {
///     let mut sum = 0;
///     for n in 0..100 {
///         job.check()?; // was it cancelled?
///         sum += n;
///         job.progress((n + 1) as f64 / 100.0);
///     }
///     Ok(sum)
/// });
/// # drop(job);
/// ```
#[derive(Clone)]
pub struct JobContext {
    control: Arc<Control>,
}

static CURRENT: Key<JobContext> = Key::new("job");

impl JobContext {
    /// The job that this thread is running code of, if any.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.get()
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.control.id()
    }

    /// The manager of the job, to submit others, say; `None` if its last handle was dropped.
    ///
    /// A body that holds a `JobManager` of its own keeps its manager
    /// [alive](crate::JobManager#dropping-the-last-handle).
    #[must_use]
    pub fn manager(&self) -> Option<JobManager> {
        self.control.shared.upgrade()?.manager()
    }

    /// Which attempt this is; the first one is 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        // Relaxed: as in `Control::id`.
        self.control.attempt.load(Ordering::Relaxed)
    }

    /// Cancelled when the job is cancelled or has run for longer than its timeout. It is the
    /// [current token](fourway_core::cancel::current) of the body as well.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.control.token
    }

    /// Must the job end?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.control.token.is_cancelled()
    }

    /// `?` ends the body once the job is cancelled.
    ///
    /// # Errors
    ///
    /// Once it is, with the reason.
    pub fn check(&self) -> Result<(), Cancelled> {
        self.control.token.check()
    }

    /// The span in which this attempt runs: a child of the span that was current where the job was
    /// submitted, and of the same subscriber. No span once the attempt has ended, or if there is no
    /// subscriber.
    ///
    /// The jobs of a schedule, and jobs that run again after their end, have no parent.
    /// If the subscriber panics over the span, the attempt runs without it.
    ///
    /// It is the current span of the body on the threads that poll a future or run a closure of
    /// this job. The blocking body of a call runs on the pool, and enters this span itself if its
    /// runtime has no layer that does (such as `Traced` of `fourway-interop`).
    #[cfg(feature = "tracing")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
    #[must_use]
    pub fn span(&self) -> tracing::Span {
        let is_here = self.control.process.is_this();
        let span = is_here.then(|| lock(&self.control.span).clone()).flatten();
        span.map_or_else(tracing::Span::none, |span| (*span).clone())
    }

    /// Says how far the job is, from 0 to 1.
    ///
    /// Cheap enough for each turn of a loop: subscribers are told of a change by a hundredth or
    /// more, and of each message. A NaN, such as 0 of 0, changes nothing.
    pub fn progress(&self, fraction: f64) {
        if fraction.is_nan() || !self.control.process.is_this() {
            return;
        }
        let fraction = fraction.clamp(0.0, 1.0);
        let far = {
            let mut progress = self.control.told();
            progress.now.fraction = Some(fraction);
            let told = progress.told.unwrap_or(-1.0);
            let far = (fraction - told).abs() >= 0.01 || (fraction >= 1.0 && told < 1.0);
            if far {
                progress.told = Some(fraction);
            }
            far
        };
        // Without the control's lock, as the store takes it under its own.
        if far {
            self.tell(Some(fraction));
        }
    }

    /// Says what the job does at the moment. Of a long text the [beginning](crate::TEXT_KEPT) is
    /// kept.
    pub fn message(&self, message: impl Into<String>) {
        if !self.control.process.is_this() {
            return;
        }
        let message = text::shortened(message.into());
        let fraction = {
            let mut progress = self.control.told();
            progress.now.message = Some(message);
            progress.now.fraction
        };
        self.tell(fraction);
    }

    /// Adds to one of the job's counters.
    ///
    /// The first [`COUNTERS_KEPT`] counters of a job are kept; others are ignored, as a job that
    /// counts by what it reads would fill the memory with their names.
    pub fn count(&self, counter: &str, by: u64) {
        if !self.control.process.is_this() {
            return;
        }
        let cut;
        let counter = match counter.len() {
            ..=TEXT_KEPT => counter,
            _ => {
                cut = text::cut(counter);
                &cut
            }
        };
        let mut progress = self.control.told();
        let counters = &mut progress.now.counters;
        if let Some(count) = counters.get_mut(counter) {
            *count = count.saturating_add(by);
        } else if counters.len() < COUNTERS_KEPT {
            counters.insert(counter.to_owned(), by);
        }
    }

    fn tell(&self, fraction: Option<f64>) {
        if let Some(shared) = self.control.shared.upgrade() {
            shared.progressed(self.id(), self.attempt(), fraction);
        }
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext")
            .field("id", &self.id())
            .field("attempt", &self.attempt())
            // The token as it is: to ask it would cancel it at its deadline, and call wakers.
            .field("token", self.token())
            .finish_non_exhaustive()
    }
}

/// The common state of an attempt and the store.
pub(crate) struct Control {
    /// The halves of the job's id.
    id: [AtomicU64; 2],
    attempt: AtomicU32,
    token: CancellationToken,
    /// The attempt's future must be dropped.
    dropped: AtomicBool,
    /// The task in which the attempt is polled.
    waker: Mutex<Option<Waker>>,
    /// In a forked child the job is the parent's, and the locks may be held for ever (FK-1, forked
    /// children).
    process: Process,
    /// Set by the first report of progress. Each job checks twice whether it is set.
    progress: OnceLock<Box<Mutex<Told>>>,
    /// The attempt's span, while it runs.
    #[cfg(feature = "tracing")]
    span: Mutex<Option<Arc<tracing::Span>>>,
    shared: Weak<Shared>,
}

#[derive(Default)]
struct Told {
    now: Progress,
    /// The fraction that subscribers know.
    told: Option<f64>,
}

impl Control {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            id: [const { AtomicU64::new(0) }; 2],
            attempt: AtomicU32::new(0),
            token: CancellationToken::new(),
            dropped: AtomicBool::new(false),
            waker: Mutex::new(None),
            process: Process::this(),
            progress: OnceLock::new(),
            #[cfg(feature = "tracing")]
            span: Mutex::new(None),
            shared: Arc::downgrade(shared),
        }
    }

    fn id(&self) -> JobId {
        // Relaxed: a holder of this job's control got it from its worker after `begin`, and `begin`
        // runs after all holders for an earlier job have let go.
        let [high, low] = &self.id;
        JobId::from_halves(high.load(Ordering::Relaxed), low.load(Ordering::Relaxed))
    }

    /// It is that attempt's from here on.
    pub(crate) fn begin(&self, id: JobId, attempt: u32) {
        let (high, low) = id.halves();
        // Relaxed: as in `id`.
        self.id[0].store(high, Ordering::Relaxed);
        self.id[1].store(low, Ordering::Relaxed);
        self.attempt.store(attempt, Ordering::Relaxed);
    }

    /// Asks the attempt to end.
    pub(crate) fn cancel(&self, reason: Reason) {
        // Release: pairs with the load in `is_dropped`. The flag is set before the waker is
        // taken; the task puts its waker there before it looks.
        self.dropped.store(true, Ordering::Release);
        self.token.cancel_with(reason);
        let waker = lock(&self.waker).take();
        waker.into_iter().for_each(wake);
    }

    pub(crate) fn is_dropped(&self) -> bool {
        // Acquire: pairs with the store in `cancel`.
        self.dropped.load(Ordering::Acquire)
    }

    /// Registers the task that `cancel` must wake.
    pub(crate) fn register(&self, waker: &Waker) {
        let known = |waiting: &Option<Waker>| {
            waiting
                .as_ref()
                .is_some_and(|waiting| waiting.will_wake(waker))
        };
        if known(&lock(&self.waker)) {
            return;
        }
        // Cloned and dropped outside of the lock, as both are foreign code.
        let waker = waker.clone();
        let before = lock(&self.waker).replace(waker);
        drop(before);
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        self.progress.get().map(|told| lock(told).now.clone())
    }

    pub(crate) fn has_progress(&self) -> bool {
        self.progress.get().is_some()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        let told = || Box::new(Mutex::new(Told::default()));
        lock(self.progress.get_or_init(told))
    }
}

/// A worker's state for its running attempt: the control, and the current values of the body. It
/// serves one attempt after the other, as long as no attempt keeps a part of it.
pub(crate) struct Seat {
    context: JobContext,
    values: Values,
    #[cfg(feature = "tracing")]
    span: Option<Arc<tracing::Span>>,
}

impl Seat {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let context = JobContext {
            control: Arc::new(Control::new(shared)),
        };
        let values = context.token().attach(Values::default());
        Self {
            values: values.with(&CURRENT, context.clone()),
            context,
            #[cfg(feature = "tracing")]
            span: None,
        }
    }

    /// The attempt that begins runs in this span.
    #[cfg(feature = "tracing")]
    pub(crate) fn enter_in(&mut self, span: Arc<tracing::Span>) {
        self.span = Some(span.clone());
        *lock(&self.control().span) = Some(span);
    }

    /// The attempt has ended, and with it its span.
    #[cfg_attr(
        not(feature = "tracing"),
        allow(clippy::unused_self, reason = "without the feature there is no span")
    )]
    pub(crate) fn end(&mut self) {
        #[cfg(feature = "tracing")]
        if let Some(span) = self.span.take() {
            let other = lock(&self.control().span).take();
            // The subscriber is foreign code.
            fourway_core::implement::discard((span, other));
        }
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.context.control
    }

    /// Calls `f` with the job's values current.
    pub(crate) fn scope<T>(&mut self, f: impl FnOnce(&JobContext) -> T) -> T {
        let Self {
            context, values, ..
        } = self;
        #[cfg(feature = "tracing")]
        let _entered = self.span.as_deref().map(crate::span::Entry::new);
        values.scope_mut(|| f(context))
    }

    /// May it serve another attempt? Asked once its attempt has ended and the store has let go.
    pub(crate) fn is_free(&self) -> bool {
        let control = self.control();
        // In this order: the values give access to the control, and the control to the token. Once
        // a count shows no other holder, no new holder can come from there.
        let is_free = are_unshared(&self.values)
            // This one and the one in the values. A canceller holds another.
            && Arc::strong_count(control) == 2
            // The control's, and the one in the values.
            && is_unshared(&control.token, 2);
        // Pairs with the release with which another holder of the control has let go.
        fence(Ordering::Acquire);
        is_free && !control.is_dropped() && !control.has_progress()
    }
}

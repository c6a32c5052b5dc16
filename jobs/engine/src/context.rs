//! The interface of a running handler: [`KindContext`].

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fourway_core::{
    cancel::{CancellationToken, Cancelled},
    values::{Key, Values},
};
use fourway_jobs::{JobId, Progress};

use crate::Leased;

/// The job that a handler runs: its id and attempt, the token that is cancelled when it must end,
/// and the reports of its progress.
#[derive(Clone)]
pub struct KindContext {
    inner: Arc<Inner>,
}

struct Inner {
    id: JobId,
    attempt: u32,
    max_attempts: u32,
    headers: BTreeMap<String, String>,
    token: CancellationToken,
    progress: Mutex<Told>,
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

#[derive(Default)]
struct Told {
    progress: Progress,
    /// Since the last heartbeat.
    changed: bool,
}

static CURRENT: Key<KindContext> = Key::new("job of a kind");

impl KindContext {
    pub(crate) fn new(leased: &Leased, token: CancellationToken) -> Self {
        Self {
            inner: Arc::new(Inner {
                id: leased.lease.id,
                attempt: leased.attempt,
                max_attempts: leased.max_attempts,
                headers: leased.headers.clone(),
                token,
                progress: Mutex::default(),
                #[cfg(feature = "tracing")]
                span: tracing::debug_span!(
                    target: "fourway",
                    parent: None,
                    "job",
                    job.id = %leased.lease.id,
                    job.kind = leased.kind,
                    job.attempt = leased.attempt,
                ),
            }),
        }
    }

    /// The job whose code this thread is running, if any; also deep inside a library.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.get()
    }

    /// The job's id. A handler with effects elsewhere records them under this id, as a job may run
    /// more than once ([run at least once, recorded once](fourway_core::contract#EN-2)).
    #[must_use]
    pub fn id(&self) -> JobId {
        self.inner.id
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// How many there may be.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.inner.max_attempts
    }

    /// The headers of the job.
    #[must_use]
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.inner.headers
    }

    /// One header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers.get(name).map(String::as_str)
    }

    /// Cancelled when the attempt must end: because it was cancelled, took too long, was lost to
    /// another worker, or its worker is being shut down. In the handler it is also the
    /// [current](fourway_core::cancel::current) token.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.inner.token
    }

    /// The attempt must end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.token.is_cancelled()
    }

    /// An error if the attempt must end: for loops and closures.
    ///
    /// # Errors
    ///
    /// If the attempt must end.
    pub fn check(&self) -> Result<(), Cancelled> {
        self.inner.token.check()
    }

    /// The span in which the handler runs, `job` with the target `fourway` and the level `DEBUG`. It
    /// has no parent, as the job may have been submitted elsewhere, and closes with the last context
    /// of the attempt.
    #[cfg(feature = "tracing")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
    #[must_use]
    pub fn span(&self) -> tracing::Span {
        self.inner.span.clone()
    }

    /// Says how far the job is, from 0 to 1. Others see it after the next heartbeat. A NaN, such as
    /// 0 of 0, changes nothing.
    pub fn progress(&self, fraction: f64) {
        if fraction.is_nan() {
            return;
        }
        self.tell(|progress| progress.fraction = Some(fraction.clamp(0.0, 1.0)));
    }

    /// Says what the job does at the moment.
    pub fn message(&self, message: impl Into<String>) {
        let message = message.into();
        self.tell(|progress| progress.message = Some(message));
    }

    /// Adds to one of the job's counters.
    pub fn count(&self, counter: &str, by: u64) {
        self.tell(|progress| {
            let count = progress.counters.entry(counter.to_owned()).or_default();
            *count = count.saturating_add(by);
        });
    }

    fn tell(&self, change: impl FnOnce(&mut Progress)) {
        let mut told = self.told();
        change(&mut told.progress);
        told.changed = true;
    }

    /// The progress since the last call.
    pub(crate) fn take_progress(&self) -> Option<Progress> {
        let mut told = self.told();
        std::mem::take(&mut told.changed).then(|| told.progress.clone())
    }

    /// The taken progress was not received; it is sent again.
    pub(crate) fn tell_progress_again(&self) {
        self.told().changed = true;
    }

    /// The current values of the handler.
    pub(crate) fn values(&self) -> Values {
        let values = self.inner.token.attach(Values::default());
        values.with(&CURRENT, self.clone())
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.inner
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KindContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindContext")
            .field("id", &self.inner.id)
            .field("attempt", &self.inner.attempt)
            // The token as it is: to ask it would cancel it at its deadline, and call wakers.
            .field("token", &self.inner.token)
            .finish_non_exhaustive()
    }
}

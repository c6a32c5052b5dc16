//! Many jobs with one handle: [`Batch`].

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use fourway_core::{
    BlockOnError,
    implement::{discard, fork::Process, wait_for, wake},
};

use crate::{
    Counts, JobHandle, JobId, JobManager, JobState, SubmitError, Work,
    job::{Job, Watcher},
    sync::{Mutex, lock},
};

/// Many jobs with one report once all have ended. Made by
/// [`JobManager::batch`](crate::JobManager::batch).
///
/// A job that is [tried again](crate::JobManager::retry) before all have ended counts as not ended:
/// the batch waits for it once more and reports its new end. The batch ignores later changes.
///
/// # Examples
///
/// ```
/// use fourway_jobs::{Job, JobManager, SubmitError};
///
/// async fn all(jobs: &JobManager) -> Result<u64, SubmitError> {
///     let mut batch = jobs.batch();
///     for n in 0..10_u64 {
///         batch.add(Job::new(move || n * n))?;
///     }
///     let report = batch.end().await;
///     Ok(report.counts.completed)
/// }
/// ```
#[derive(Debug)]
pub struct Batch {
    manager: JobManager,
    shared: Arc<Shared>,
}

type Callback = Box<dyn FnOnce(&BatchReport) + Send>;

pub(crate) struct Shared {
    /// In a forked child the jobs are the parent's (FK-1, forked children).
    process: Process,
    state: Mutex<State>,
}

struct State {
    left: usize,
    /// No more jobs are added.
    whole: bool,
    /// All have ended: the report stays as it is.
    is_over: bool,
    /// And the callback has been called.
    is_told: bool,
    counts: Counts,
    /// Jobs that have not completed; `None` in place of a job that was tried again.
    others: Vec<Option<(JobId, JobState)>>,
    /// Where each of them is.
    places: HashMap<JobId, usize>,
    callback: Option<Callback>,
    waker: Option<Waker>,
}

/// How the jobs of a batch have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BatchReport {
    /// How many in each state.
    pub counts: Counts,
    /// Jobs that have not completed, in the order in which they ended.
    pub others: Vec<(JobId, JobState)>,
}

impl Batch {
    pub(crate) fn new(manager: JobManager) -> Self {
        Self {
            manager,
            shared: Arc::new(Shared {
                process: Process::this(),
                state: Mutex::new(State {
                    left: 0,
                    whole: false,
                    is_over: false,
                    is_told: false,
                    counts: Counts::default(),
                    others: Vec::new(),
                    places: HashMap::new(),
                    callback: None,
                    waker: None,
                }),
            }),
        }
    }

    /// Submits a job that belongs to the batch. It may start at once.
    ///
    /// # Errors
    ///
    /// As [`JobManager::submit`]. The job does not belong to the batch then, and neither does
    /// one that was there already, under the same unique key.
    pub fn add<W, M>(&mut self, mut job: Job<W>) -> Result<JobHandle<W::Value>, SubmitError>
    where
        W: Work<M>,
        M: 'static,
    {
        if !self.shared.process.is_this() {
            // The manager refuses it.
            return self.manager.submit(job);
        }
        job.options_mut().more().watcher = Some(self.shared.clone());
        lock(&self.shared.state).left += 1;
        let submitted = self.manager.submit(job);
        if !submitted.as_ref().is_ok_and(|handle| !handle.was_there()) {
            lock(&self.shared.state).left -= 1;
        }
        submitted
    }

    /// `callback` is called once all jobs have ended, on the thread on which the last one does; it
    /// must not block. The panic hook reports a panic of the callback; no job is affected.
    pub fn on_end(&mut self, callback: impl FnOnce(&BatchReport) + Send + 'static) {
        if !self.shared.process.is_this() {
            return;
        }
        let before = lock(&self.shared.state)
            .callback
            .replace(Box::new(callback));
        drop(before);
    }

    /// No more jobs are added: a handle that waits for all of them.
    ///
    /// Dropping the batch does the same; the callback is called then as well.
    #[must_use = "await it, wait for it, or drop the batch"]
    pub fn end(self) -> BatchHandle {
        BatchHandle {
            shared: self.shared.clone(),
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.shared.process.is_this() {
            std::mem::forget(self.shared.clone());
            return;
        }
        let is_over = {
            let mut state = lock(&self.shared.state);
            state.whole = true;
            state.ends()
        };
        if is_over {
            self.shared.tell();
        }
    }
}

impl Watcher for Shared {
    fn ended(&self, id: JobId, end: JobState) -> bool {
        let mut state = lock(&self.state);
        if state.is_over {
            return false;
        }
        state.left -= 1;
        *state.counts.at(end) += 1;
        if end != JobState::Completed {
            let place = state.others.len();
            state.others.push(Some((id, end)));
            state.places.insert(id, place);
        }
        state.ends()
    }

    fn reopened(&self, id: JobId, from: JobState) {
        let mut state = lock(&self.state);
        if state.is_over {
            return;
        }
        state.left += 1;
        *state.counts.at(from) -= 1;
        if let Some(place) = state.places.remove(&id) {
            state.others[place] = None;
        }
    }

    fn found(&self, _: JobId, _: JobState) -> bool {
        // It does not belong to the batch.
        false
    }

    fn act(&self, _: &Arc<crate::shared::Shared>) {
        self.tell();
    }
}

impl Shared {
    /// All have ended. The waiters are told once the callback has been called.
    fn tell(&self) {
        let (callback, report) = {
            let mut state = lock(&self.state);
            (state.callback.take(), state.report())
        };
        if let Some(callback) = callback {
            // Unwind safety: it is gone either way.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| callback(&report))) {
                discard(payload);
            }
        }
        let waker = {
            let mut state = lock(&self.state);
            state.is_told = true;
            state.waker.take()
        };
        waker.into_iter().for_each(wake);
    }
}

impl State {
    fn report(&self) -> BatchReport {
        BatchReport {
            counts: self.counts,
            others: self.others.iter().flatten().copied().collect(),
        }
    }

    /// Is it over from now on?
    fn ends(&mut self) -> bool {
        let ends = self.whole && self.left == 0 && !self.is_over;
        self.is_over |= ends;
        ends
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.process.is_this() {
            return f.write_str("Batch(from before the fork)");
        }
        f.debug_struct("Batch")
            .field("left", &lock(&self.state).left)
            .finish_non_exhaustive()
    }
}

/// Waits for all jobs of a [`Batch`]. Dropping it cancels nothing. In a forked child it gives a
/// report without jobs, at once: they are the parent's.
///
/// # Cancel safety
///
/// Dropping it has no effect on the jobs.
#[derive(Debug)]
#[must_use = "await it or wait for it"]
pub struct BatchHandle {
    shared: Arc<Shared>,
}

impl BatchHandle {
    /// Waits from sync code.
    ///
    /// # Panics
    ///
    /// On a thread that runs async code, at the caller's line ([no blocking in async
    /// code](fourway_core::contract#BL-2)).
    #[track_caller]
    pub fn wait(mut self) -> BatchReport {
        match self.try_wait() {
            Ok(report) => report,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`wait`](Self::wait), with an error in place of the panic. The handle stays usable.
    ///
    /// # Errors
    ///
    /// [`is_nested`](BlockOnError::is_nested): the thread is running async code.
    pub fn try_wait(&mut self) -> Result<BatchReport, BlockOnError> {
        wait_for(self)
    }
}

impl Future for BatchHandle {
    type Output = BatchReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BatchReport> {
        if !self.shared.process.is_this() {
            return Poll::Ready(BatchReport::default());
        }
        let waker = cx.waker().clone();
        let mut state = lock(&self.shared.state);
        if state.is_told {
            let report = state.report();
            drop(state);
            drop(waker);
            return Poll::Ready(report);
        }
        let before = state.waker.replace(waker);
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Drop for BatchHandle {
    fn drop(&mut self) {
        if !self.shared.process.is_this() {
            // Its callback is the parent's.
            std::mem::forget(self.shared.clone());
            return;
        }
        let waker = lock(&self.shared.state).waker.take();
        drop(waker);
    }
}

//! The handle that [`submit`](crate::JobManager::submit) gives: [`JobHandle`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use fourway_core::{
    BlockOnError,
    cancel::Reason,
    implement::{fork::Process, wait_for},
};

use crate::{
    CancelOutcome, JobError, JobId, JobState, JobStatus,
    shared::Shared,
    slot::{AnySlot, Found, Place, Slot, Waiter},
};

/// A job that was submitted, and its value once there is one.
///
/// * **Awaiting** it gives the value, or a [`JobError`] that says why there is none. That takes the
///   value. Everything of the job has been destroyed before, and
///   [`status`](Self::status) says that it has ended.
/// * **[`wait`](Self::wait)** gives the same to sync code.
/// * **Several** handles of one job, which has a unique key, may wait at a time, and each is told
///   of its end. The value goes to one of them. So does the cause of a failure; the others get an
///   error with its state and text.
/// * **Dropping** it changes nothing: the job runs on, and is known by its id. (A
///   [`Task`](fourway_core::Task) differs: jobs belong to their manager.)
///
/// The handle keeps the value for as long as it lives, also when the manager has forgotten the
/// job.
///
/// # Panics
///
/// Polling it again after it was ready panics.
///
/// # Cancel safety
///
/// Dropping a future that awaits `&mut handle` loses nothing.
#[must_use = "the job runs without its handle; `drop` it to say that nobody waits"]
pub struct JobHandle<T> {
    id: JobId,
    slot: Arc<Slot<T>>,
    shared: Arc<Shared>,
    waiter: Waiter,
    is_done: bool,
}

impl<T: Send + 'static> JobHandle<T> {
    pub(crate) fn new(id: JobId, slot: Arc<Slot<T>>, shared: Arc<Shared>, was_there: bool) -> Self {
        Self {
            id,
            slot,
            shared,
            waiter: match was_there {
                true => Waiter::Other(None),
                false => Waiter::First { waits: false },
            },
            is_done: false,
        }
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The job was there before, under the same unique key; the new one was dropped. The
    /// value goes to the handle that takes it first.
    #[must_use]
    pub fn was_there(&self) -> bool {
        matches!(self.waiter, Waiter::Other(_))
    }

    /// The job at this moment; `None` if the manager has forgotten it.
    #[must_use]
    pub fn status(&self) -> Option<JobStatus> {
        self.shared.lock().status(self.id)
    }

    /// Where the job is on its way; `None` if the manager has forgotten it.
    #[must_use]
    pub fn state(&self) -> Option<JobState> {
        self.shared.lock().state(self.id)
    }

    /// Cancels the job ([cancelling](fourway_core::contract#JB-3)), and returns at once. A job that
    /// is forgotten has ended.
    pub fn cancel(&self) -> Option<CancelOutcome> {
        self.shared
            .with(|store, now, fx| store.cancel(self.id, Reason::Requested, now, fx))
    }

    /// Waits for the job from sync code.
    ///
    /// In a job of the same manager, the waiting job keeps its slot: see
    /// [`concurrency`](crate::JobManagerBuilder::concurrency).
    ///
    /// # Errors
    ///
    /// Why there is no value.
    ///
    /// # Panics
    ///
    /// On a thread that runs async code, at the caller's line ([no blocking in async
    /// code](fourway_core::contract#BL-2)).
    #[track_caller]
    pub fn wait(mut self) -> Result<T, JobError> {
        match self.try_wait() {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`wait`](Self::wait), with an error in place of the panic. The handle stays usable.
    ///
    /// # Errors
    ///
    /// [`is_nested`](BlockOnError::is_nested): the thread is running async code.
    pub fn try_wait(&mut self) -> Result<Result<T, JobError>, BlockOnError> {
        wait_for(self)
    }
}

impl<T: Send + 'static> Future for JobHandle<T> {
    type Output = Result<T, JobError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(
            !self.is_done,
            "the handle of a job was polled after it was ready"
        );
        let this = &mut *self;
        if !this.shared.is_here() {
            // Whether it has ended or not: the slot's lock may be held for ever.
            this.is_done = true;
            std::mem::forget(this.slot.clone());
            return Poll::Ready(Err(JobError::forked(this.id)));
        }
        let found = ready!(this.slot.poll_take(&mut this.waiter, cx));
        self.is_done = true;
        Poll::Ready(match found {
            Found::Value(value) => Ok(value),
            Found::Error(error) => Err(error),
            Found::Taken => Err(JobError::taken(self.id)),
            Found::NotYet => unreachable!("the slot's poll is pending then"),
        })
    }
}

impl<T> Drop for JobHandle<T> {
    fn drop(&mut self) {
        if !self.is_done && !self.shared.is_here() {
            // The value is the parent's, and so is the run of its destructor.
            std::mem::forget(self.slot.clone());
        } else if !self.is_done {
            self.slot.leave(&self.waiter);
        }
    }
}

impl<T> fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Waits until a job has ended, for any number of waiters. Made by
/// [`Store::until_ended`](crate::store::Store::until_ended). While it is there, the last status of
/// the job is not lost, whatever retention forgets.
pub(crate) struct UntilEnded {
    slot: Arc<dyn AnySlot>,
    place: Option<Place>,
    /// In a forked child the slot is the parent's (FK-1, forked children).
    process: Process,
}

impl UntilEnded {
    /// Under the store's lock: until it is released, the job is not forgotten.
    pub(crate) fn new(slot: Arc<dyn AnySlot>) -> Self {
        slot.want_status();
        Self {
            slot,
            place: None,
            process: Process::this(),
        }
    }

    /// The status with which the job was forgotten, if it was.
    pub(crate) fn last_status(&self) -> Option<JobStatus> {
        self.process.is_this().then(|| self.slot.last_status())?
    }
}

impl Future for &mut UntilEnded {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !this.process.is_this() {
            return Poll::Ready(());
        }
        this.slot.poll_ended(&mut this.place, cx)
    }
}

impl Drop for UntilEnded {
    fn drop(&mut self) {
        if !self.process.is_this() {
            std::mem::forget(self.slot.clone());
            return;
        }
        self.slot.leave_status(self.place);
    }
}

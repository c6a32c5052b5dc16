//! Accepts jobs and answers questions about them: [`JobManager`].

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use fourway_core::{BoxCall, Call, Runtime, cancel::Reason, implement::discard};

use crate::{
    Batch, CancelOutcome, Events, Filter, JobHandle, JobId, JobState, JobStatus, ManagerStatus,
    Page, ResultError, SubmitError, UnknownJob, Work,
    body::Body,
    builder::{JobManagerBuilder, OnDrop},
    error::Refusal,
    forked,
    job::{Options, sealed},
    line::Waits,
    shared::Shared,
    slot::{Found, Slot},
    store::{New, Record, Refused, RetryRefusal, Store},
};

/// Runs jobs: futures, closures and calls that are submitted now and asked about later.
///
/// A clone is another handle on the same manager. All methods work from sync and from async code.
/// None blocks unless its documentation says that it waits. Some methods return a [`Call`], which
/// the caller waits for or awaits.
///
/// # Where jobs run
///
/// Futures run on the runtime's threads for tasks, closures on its pool. A task that serves several
/// jobs polls a future for the first time. The future moves to its own task if it has to
/// wait.
///
/// # Dropping the last handle
///
/// cancels all jobs, without blocking: waiting ones never run, running ones are asked to end.
/// [`on_drop`](JobManagerBuilder::on_drop) is told which. [`drain`](Self::drain) lets them end
/// first.
///
/// A handle in something that the manager keeps is never the last one to go. Such things are the
/// closure of a [schedule](Self::schedule), and the body of a job that can run again: it is kept
/// while the job waits, and after a failure until the job is forgotten. A job asks
/// [`JobContext::manager`](crate::JobContext::manager) for its manager; other code keeps a
/// [`WeakJobManager`](crate::WeakJobManager).
///
/// # Forked children
///
/// The jobs are the parent's, which goes on with them and does not notice the fork. In the child a
/// manager from before is closed and knows no job, and each of its methods, handles and waits
/// answers at once: errors say [`is_forked`](SubmitError::is_forked), events end, a drain or a batch
/// reports no job. Dropping it does nothing. A child makes a manager of its own, on a runtime of its
/// own ([forked children](fourway_core::contract#FK-1)).
///
/// # Examples
///
/// ```
/// use fourway_core::{Call, Runtime};
/// use fourway_jobs::{JobManager, JobState};
///
/// fn example<R: Runtime>(rt: &R) -> Result<(), Box<dyn std::error::Error>> {
///     let jobs = JobManager::builder(rt).concurrency(4).build();
///
///     let sum = jobs.submit(|| (1..=10_u64).sum::<u64>())?; // a closure, which may block
///     let name = jobs.submit(async { "fourway" })?; // a future
///     let id = name.id(); // known by it, from anywhere
///
///     assert_eq!(sum.wait()?, 55);
///     jobs.wait(id).wait()?;
///     assert_eq!(jobs.status(id)?.state, JobState::Completed);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct JobManager {
    owner: Arc<Owner>,
}

pub(crate) struct Owner {
    shared: Arc<Shared>,
    on_drop: Mutex<Option<OnDrop>>,
}

/// The jobs that a dropped manager has given up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DropReport {
    /// Jobs that had not ended. Running ones may still end in any way.
    pub given_up: Vec<JobId>,
}

impl JobManager {
    /// Builds a manager on that runtime, with other limits.
    pub fn builder(runtime: &impl Runtime) -> JobManagerBuilder {
        JobManagerBuilder::new(runtime)
    }

    /// A manager on that runtime, with default limits.
    #[must_use]
    pub fn new(runtime: &impl Runtime) -> Self {
        Self::builder(runtime).build()
    }

    pub(crate) fn from_parts(shared: Arc<Shared>, on_drop: Option<OnDrop>) -> Self {
        let this = Self {
            owner: Arc::new(Owner {
                shared,
                on_drop: Mutex::new(on_drop),
            }),
        };
        this.shared().is_of(this.downgrade());
        this
    }

    pub(crate) fn from_owner(owner: Arc<Owner>) -> Self {
        Self { owner }
    }

    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    // -----------------------------------------------------------------------
    // Submitting

    /// Submits a future, a closure that may block, a [`Call`], or a [`Job`](crate::Job) of one
    /// of them, and returns at once ([submit now, ask later](fourway_core::contract#JB-1)).
    ///
    /// # Errors
    ///
    /// If the queue [is full](SubmitError::is_full), the manager is
    /// [closed](SubmitError::is_closed), or the job's options do not allow it to run. The work is
    /// dropped then, and has not run.
    pub fn submit<W, M>(&self, work: W) -> Result<JobHandle<W::Value>, SubmitError>
    where
        W: Work<M>,
    {
        let slot = Arc::new(Slot::new());
        let (body, options) = into_parts(work, &slot);
        let new = New {
            body,
            slot: slot.clone(),
            priority: options.priority,
        };
        self.shared()
            .submit_new(new, options, slot)
            .map_err(|refused| {
                let refusal = refused.refusal.clone();
                discard(refused);
                refusal.into()
            })
    }

    /// As [`submit`](Self::submit), but waits while the queue is full.
    ///
    /// Waiting calls submit in the order in which they came. A new submitter may still be
    /// quicker.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit), except for a full queue.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped while it waits has submitted nothing.
    pub fn submit_when_free<W, M>(
        &self,
        work: W,
    ) -> BoxCall<Result<JobHandle<W::Value>, SubmitError>>
    where
        W: Work<M>,
        M: 'static,
    {
        let this = self.clone();
        let slot = Arc::new(Slot::new());
        let (body, options) = into_parts(work, &slot);
        let record = Record::new(New {
            body,
            slot: slot.clone(),
            priority: options.priority,
        });
        let call = self.shared().runtime.call_with(async move || {
            let (mut record, mut options) = (record, options);
            loop {
                match this.shared().submit(record, options, &slot) {
                    Ok(handle) => return Ok(handle),
                    Err(Refused {
                        refusal: Refusal::Full { .. },
                        parts: Some(back),
                    }) => (record, options) = *back,
                    Err(refused) => {
                        let refusal = refused.refusal.clone();
                        discard(refused);
                        return Err(refusal.into());
                    }
                }
                this.room().await;
            }
        });
        call.boxed()
    }

    /// Until there is room in the queue.
    fn room(&self) -> Waits<'_> {
        Waits::new(self.shared(), Store::poll_room, Store::leave_room)
    }

    // -----------------------------------------------------------------------
    // By id

    /// The job at this moment.
    ///
    /// # Errors
    ///
    /// If no such job is known (any more).
    pub fn status(&self, id: JobId) -> Result<JobStatus, UnknownJob> {
        let status = self.shared().lock().status(id);
        status.ok_or_else(|| self.shared().unknown(id))
    }

    /// Waits until the job has ended, and gives its status. Everything of the job has been
    /// destroyed before.
    ///
    /// # Errors
    ///
    /// If no such job is known (any more) when the wait begins. A job that is forgotten as soon as
    /// it has ended is no error: its last status is the answer.
    pub fn wait(&self, id: JobId) -> BoxCall<Result<JobStatus, UnknownJob>> {
        let this = self.clone();
        let call = self.shared().runtime.call_with(async move || {
            let until_ended = this.shared().lock().until_ended(id);
            let mut until_ended = until_ended.ok_or_else(|| this.shared().unknown(id))?;
            loop {
                // Also for an ended job: its values may not be destroyed yet.
                (&mut until_ended).await;
                let status = match this.status(id) {
                    Ok(status) => status,
                    // Forgotten as soon as it had ended.
                    Err(unknown) => until_ended.last_status().ok_or(unknown)?,
                };
                // Unless it is tried again.
                if status.state.is_finished() {
                    return Ok(status);
                }
            }
        });
        call.boxed()
    }

    /// A copy of the job's value, if it has completed.
    ///
    /// The value is available as soon as a status shows that the job has completed. Any number of
    /// threads may ask at the same time. Each clones the value by itself, hence the `Sync`. A value
    /// that is not `Clone + Sync` goes to the caller that awaits the handle or
    /// [takes](Self::take_result) it.
    ///
    /// # Errors
    ///
    /// If there is no value, or not yet, or of another type. The error of a job that has failed
    /// has the text of its cause, and not the cause itself, which its handle gives.
    pub fn result<T: Clone + Send + Sync + 'static>(&self, id: JobId) -> Result<T, ResultError> {
        self.found(id, Slot::copy)
    }

    /// Takes the job's value out. While other threads [clone](Self::result) the value, this
    /// gives a clone as well.
    ///
    /// # Errors
    ///
    /// As [`result`](Self::result).
    pub fn take_result<T: Send + 'static>(&self, id: JobId) -> Result<T, ResultError> {
        self.found(id, Slot::take)
    }

    fn found<T: Send + 'static>(
        &self,
        id: JobId,
        find: impl FnOnce(&Slot<T>) -> Found<T>,
    ) -> Result<T, ResultError> {
        let found = self.shared().lock().find(id);
        let Some((slot, state, error)) = found else {
            return Err(ResultError::Unknown(self.shared().unknown(id)));
        };
        match state {
            JobState::Completed => {}
            state if !state.is_finished() => return Err(ResultError::Unfinished(id, state)),
            state => {
                let message = error.unwrap_or_default();
                let error = crate::JobError::new(id, state, message, None);
                return Err(ResultError::Job(error));
            }
        }
        let Ok(slot) = slot.into_any().downcast::<Slot<T>>() else {
            return Err(ResultError::OtherType(id));
        };
        match find(&slot) {
            Found::Value(value) => Ok(value),
            Found::Error(error) => Err(ResultError::Job(error)),
            Found::Taken => Err(ResultError::Job(crate::JobError::taken(id))),
            Found::NotYet => unreachable!("it was published when it completed"),
        }
    }

    /// Cancels the job ([cancelling](fourway_core::contract#JB-3)), and returns at once.
    ///
    /// # Errors
    ///
    /// If no such job is known (any more).
    pub fn cancel(&self, id: JobId) -> Result<CancelOutcome, UnknownJob> {
        self.shared()
            .with(|store, now, fx| store.cancel(id, Reason::Requested, now, fx))
            .ok_or_else(|| self.shared().unknown(id))
    }

    /// Runs a job again that has failed, timed out or was cancelled. A job that waits for its next
    /// attempt runs at once. The count of attempts goes on.
    ///
    /// A job that was cancelled while it waited [for others](crate::Job::after) waits for those of
    /// them that have not ended. Another one that has ended without a value does not hold it.
    ///
    /// A handle that has not taken the error yet gives the result of this attempt. A
    /// [`Batch`](crate::Batch) waits for the job once more, unless all of its jobs had ended. If
    /// the job is a schedule's run, that run counts as running again.
    ///
    /// # Errors
    ///
    /// If there is no such job, or it has completed, runs or is queued, or its body
    /// [can run only once](crate::Job::new) or [is gone](RetryError::is_once), or another job has
    /// its unique key by now, or the manager is [closed](RetryError::is_closed).
    pub fn retry(&self, id: JobId) -> Result<(), RetryError> {
        self.shared()
            .with(|store, now, fx| store.retry(id, now, fx))
            .map_err(|refusal| match self.shared().is_here() {
                true => RetryError { id, refusal },
                false => RetryError {
                    id,
                    refusal: RetryRefusal::Forked,
                },
            })
    }

    /// Forgets a job that has ended; `false` if it has not.
    ///
    /// # Errors
    ///
    /// If no such job is known (any more).
    pub fn forget(&self, id: JobId) -> Result<bool, UnknownJob> {
        self.shared()
            .with(|store, _, fx| store.forget(id, fx))
            .ok_or_else(|| self.shared().unknown(id))
    }

    // -----------------------------------------------------------------------
    // All of them

    /// The jobs that a filter lets through, a page at a time.
    #[must_use]
    pub fn list(&self, filter: &Filter) -> Page {
        let store = self.shared().lock();
        let (jobs, next) = store.list(filter, filter.after, !filter.oldest_first, filter.limit);
        drop(store);
        Page { jobs, next }
    }

    /// How many jobs there are in each state and class, all at one moment.
    #[must_use]
    pub fn overview(&self) -> ManagerStatus {
        self.shared().lock().manager_status()
    }

    /// The events from now on, with a buffer of this size.
    ///
    /// Without subscribers no event is made.
    #[must_use]
    pub fn subscribe(&self, buffer: usize) -> Events {
        self.shared().subscribe(None, buffer)
    }

    /// The events after the one with that number, as far as they are kept
    /// ([`event_history`](JobManagerBuilder::event_history)), and all later ones.
    ///
    /// The number of the first event shows whether events in between are forgotten.
    #[must_use]
    pub fn subscribe_from(&self, after: u64, buffer: usize) -> Events {
        self.shared().subscribe(Some(after), buffer)
    }

    /// Starts no more jobs for the time being: of a class, or of all if it is `None`. Running jobs
    /// go on.
    pub fn pause(&self, class: Option<&str>) {
        self.shared().with(|store, _, fx| store.pause(class, fx));
    }

    /// Starts jobs again. A class that was paused by itself stays paused.
    pub fn resume(&self, class: Option<&str>) {
        self.shared().with(|store, _, fx| store.resume(class, fx));
    }

    /// Changes how many jobs of a class run at a time at most. Running jobs go on; so does a job that
    /// has been taken out of the line for a worker of the other kind, which may be about to start.
    pub fn set_limit(&self, class: &str, jobs: usize) {
        self.shared()
            .with(|store, _, fx| store.set_limit(class, jobs.max(1), fx));
    }

    /// Changes how many jobs of a class and key run at a time at most.
    pub fn set_limit_per_key(&self, class: &str, jobs: usize) {
        self.shared()
            .with(|store, _, fx| store.set_limit_per_key(class, jobs.max(1), fx));
    }

    /// Many jobs with one handle.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch::new(self.clone())
    }
}

fn into_parts<W, M>(work: W, slot: &Arc<Slot<W::Value>>) -> (Body, Options)
where
    W: Work<M>,
{
    #[allow(unused_mut, reason = "without `tracing` there is nothing to note")]
    let (body, mut options) = sealed::Work::into_parts(work, slot);
    #[cfg(feature = "tracing")]
    options.submitted_here();
    (body, options)
}

impl Drop for Owner {
    fn drop(&mut self) {
        if !self.shared.is_here() {
            // The jobs are the parent's, which gives up none of them, and its report too.
            if let Ok(on_drop) = self.on_drop.get_mut() {
                forked::leave(on_drop);
            }
            return;
        }
        let given_up = self.shared.give_up();
        for ring in self.shared.lock().take_subscribers() {
            ring.close();
        }
        let on_drop = self
            .on_drop
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match on_drop {
            Some(on_drop) if !given_up.is_empty() => {
                // The thread may be unwinding, where a second panic would abort the process.
                // Unwind safety: it is gone either way.
                let call = AssertUnwindSafe(|| on_drop(DropReport { given_up }));
                if let Err(payload) = catch_unwind(call) {
                    discard(payload);
                }
            }
            on_drop => discard(on_drop),
        }
    }
}

impl fmt::Debug for JobManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared().fmt(f)
    }
}

/// Why a job is not [tried again](JobManager::retry).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryError {
    id: JobId,
    refusal: RetryRefusal,
}

impl RetryError {
    /// No such job is known (any more).
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.refusal == RetryRefusal::Unknown
    }

    /// It has completed, runs, or is queued already: this is its state.
    #[must_use]
    pub fn state(&self) -> Option<JobState> {
        match self.refusal {
            RetryRefusal::State(state) => Some(state),
            _ => None,
        }
    }

    /// Another job has its unique key by now. This is its id ([unique
    /// keys](fourway_core::contract#JB-6)).
    #[must_use]
    pub fn unique(&self) -> Option<JobId> {
        match self.refusal {
            RetryRefusal::Unique(holder) => Some(holder),
            _ => None,
        }
    }

    /// The manager drains, was drained or dropped, or its runtime was shut down; or it [is
    /// forked](Self::is_forked).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.refusal, RetryRefusal::Closed | RetryRefusal::Forked)
    }

    /// This is a forked child, and the manager is that of a parent process, which goes on with the
    /// job ([forked children](fourway_core::contract#FK-1)).
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.refusal == RetryRefusal::Forked
    }

    /// Its body can run only once, or is gone: the job was cancelled after it had given its value,
    /// while the captured values of the body were being destroyed.
    #[must_use]
    pub fn is_once(&self) -> bool {
        self.refusal == RetryRefusal::Once
    }
}

impl fmt::Display for RetryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, refusal } = self;
        match refusal {
            RetryRefusal::Unknown => {
                let is_forked = false;
                UnknownJob { id: *id, is_forked }.fmt(f)
            }
            RetryRefusal::Forked => {
                write!(
                    f,
                    "the job {id} is not tried again: {}",
                    crate::error::FORKED
                )
            }
            RetryRefusal::Closed => write!(
                f,
                "the job {id} is not tried again: the job manager starts no more jobs, as it \
                 drains, or was dropped, or its runtime was shut down"
            ),
            RetryRefusal::State(state) => write!(
                f,
                "the job {id} is {state}: only a job that has ended without a value is tried again"
            ),
            RetryRefusal::Unique(holder) => write!(
                f,
                "the job {id} is not tried again while {holder} has its unique key: wait for \
                 that, or cancel it"
            ),
            RetryRefusal::Once => write!(
                f,
                "the job {id} cannot run any more. `Job::blocking`, `Job::task`, \
                 `Job::call` and `Job::call_with` make jobs that can be tried again"
            ),
        }
    }
}

impl std::error::Error for RetryError {}

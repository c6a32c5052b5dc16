//! Jobs of named kinds that are submitted again and again, by the clock.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fourway_core::{BoxCall, Call, Runtime};
use fourway_jobs::{
    Clock, Job, JobContext, JobId, JobManager, Occurrence, Overlap, Retry, Schedule, ScheduleError,
    ScheduleHandle,
};

use crate::{Capability, EngineError, JobClient, JobKind, KindJob, KindManager, NewJob, UniqueKey};

/// Schedules of named kinds, for a process that submits their jobs and need not run any: as in a
/// [`KindManager`], with a [`JobClient`] alone.
///
/// A clone is another handle. Dropping the last one ends the schedules, as
/// [`close`](Self::close) does; their jobs go on.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use fourway_jobs_engine::{
///     JobClient, JobKind, KindJob, KindSchedules, Schedule, ScheduleError,
/// };
///
/// struct CleanUp;
///
/// impl JobKind for CleanUp {
///     const NAME: &'static str = "clean up";
///     type Args = String;
///     type Output = ();
/// }
///
/// fn hourly(client: &JobClient) -> Result<KindSchedules, ScheduleError> {
///     let schedules = KindSchedules::new(client);
///     let hour = Schedule::every(Duration::from_secs(3600));
///     schedules.schedule("clean up", hour, |_| KindJob::new(CleanUp, "/var/tmp".into()))?;
///     Ok(schedules) // to be kept for as long as they are to go on
/// }
/// ```
#[derive(Clone)]
pub struct KindSchedules {
    client: JobClient,
    /// Each run is a small job of this process.
    clock: JobManager,
    /// How long a close waits for a run that is being submitted.
    poll: Duration,
}

/// How long a poll of an engine may take.
pub(crate) const POLL: Duration = Duration::from_secs(30);

impl KindSchedules {
    /// Schedules whose jobs that client submits, by the system's clock.
    #[must_use]
    pub fn new(client: &JobClient) -> Self {
        Self::by(client, None, POLL)
    }

    /// As [`new`](Self::new), by another clock.
    #[must_use]
    pub fn with_clock(client: &JobClient, clock: impl Clock) -> Self {
        Self::by(client, Some(Box::new(|jobs| jobs.clock(clock))), POLL)
    }

    pub(crate) fn by(client: &JobClient, clock: Option<ClockSetting>, poll: Duration) -> Self {
        // No limit, so that a run that waits for its job's end delays no other.
        let builder = JobManager::builder(client.runtime()).concurrency(1 << 20);
        let builder = match clock {
            Some(set) => set(builder),
            None => builder,
        };
        Self {
            client: client.clone(),
            clock: builder.build(),
            poll,
        }
    }

    /// Submits a job for each run of a schedule; `make` makes the job
    /// ([schedules](fourway_core::contract#JB-7)). [`KindManager::schedule`] describes several
    /// processes, restarts and overlaps.
    ///
    /// # Errors
    ///
    /// If there is a schedule of that name among these, or they are closed.
    pub fn schedule<K, F>(
        &self,
        name: &str,
        schedule: Schedule,
        mut make: F,
    ) -> Result<KindSchedule, ScheduleError>
    where
        K: JobKind,
        F: FnMut(Occurrence) -> KindJob<K> + Send + 'static,
    {
        let overlap = match schedule.overlapping() {
            Overlap::Replace => Overlap::Wait,
            other => other,
        };
        let capabilities = self.client.engine().capabilities();
        let has_keys = capabilities.has(Capability::Unique);
        let runs = Runs {
            client: self.client.clone(),
            name: name.into(),
            overlap,
            has_keys,
            seen: Arc::default(),
        };
        let seen = runs.seen.clone();
        // The engine decides whether to skip a run, where it can.
        let here = match overlap {
            Overlap::Skip if has_keys => Overlap::Allow,
            other => other,
        };
        let retry = Retry::attempts(150)
            .pause(Duration::from_secs(1))
            .longest(Duration::from_secs(600));
        let handle = self
            .clock
            .schedule(name, schedule.overlap(here), move |at: Occurrence| {
                let run = runs.run(make(at).into_new_job(), at.at);
                Job::task(move |_: JobContext| submit(run.clone())).retry(retry.clone())
            })?;
        Ok(KindSchedule {
            handle,
            kind: K::NAME,
            seen,
        })
    }

    /// Ends the schedules. Once the call returns, no run is submitted and none can be scheduled.
    /// Submitted jobs go on; nothing waits for their end. A run that is being submitted, or waits
    /// for another try, is abandoned: the engine may have it or not, and another process with the
    /// same schedule submits it. Closing twice has no effect.
    ///
    /// The call waits for runs that another thread is submitting at this moment, which takes as long
    /// as the engine is polled once. It waits for half a minute at most: for an engine that blocks.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have ended them.
    pub fn close(&self) -> BoxCall<()> {
        let (clock, poll) = (self.clock.clone(), self.poll);
        let call = self.client.runtime().call_with(async move || {
            // This ends only the local waits for runs: the runs themselves belong to the engine. The
            // futures are dropped at once, except one that is being polled: it may submit its run in
            // this poll, which has to come before the end of this call.
            clock.drain_with(Duration::ZERO, poll).await;
        });
        call.boxed()
    }
}

impl fmt::Debug for KindSchedules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.clock.schedules();
        f.debug_struct("KindSchedules")
            .field(
                "schedules",
                &names.iter().map(|one| &one.name).collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

impl KindManager {
    /// Submits a job for each run of a schedule; `make` makes the job
    /// ([schedules](fourway_core::contract#JB-7)).
    ///
    /// `make` is called on one of the runtime's threads for tasks, when the run is due. While the
    /// engine cannot be reached or its store is broken, the schedule tries to submit the run again,
    /// for about a day. A [refusal](EngineError::is_refusal) ends the run, and
    /// [`KindScheduleStatus::error`] shows it.
    ///
    /// # Several processes
    ///
    /// A run's id is made of the schedule's name, the kind and the time for which the run is due,
    /// and an engine takes an id once ([what was accepted survives](fourway_core::contract#EN-1)).
    /// So all processes that share an engine may have the same schedule under the same name. The
    /// first one submits the run, and the others find it there. Runs are submitted as long as one
    /// process lives, and run wherever a worker has room.
    ///
    /// # Restarts
    ///
    /// An engine keeps jobs but no schedules: a program schedules them each time it starts. Runs
    /// whose time comes while no process lives are missed. They are made up for if the schedule
    /// looks back [since](Schedule::since) a time, a day ago, say: the engine knows the runs of
    /// that day that were submitted, and does not run them again. It knows them as long as [the job
    /// is kept](KindJob::keep), a week by default; the schedule must not look back further. An
    /// engine in memory knows nothing after a restart: there, a schedule that looks back repeats
    /// its runs.
    ///
    /// # Overlap
    ///
    /// The run before has ended when its job has ended, in any process: the engine is asked.
    ///
    /// * [`Overlap::Skip`]: on engines that [have unique keys](Capability::Unique), a job without
    ///   its own key gets the schedule's. The engine skips the run if the job of another run has
    ///   not ended, whichever process submitted that. Of the runs that come due while the engine
    ///   cannot be reached, the newest is submitted later. On other engines, and if jobs have their
    ///   own keys, a process skips a run while it waits for the run before. It may not know yet
    ///   that this run ended long ago, so a schedule that looks back needs [`Overlap::Allow`]
    ///   there.
    /// * [`Overlap::Wait`]: runs that a process knows of wait for each other.
    /// * [`Overlap::Replace`] acts as [`Overlap::Wait`]: no engine reports when a job that runs
    ///   elsewhere has ended by a cancellation.
    ///
    /// # Errors
    ///
    /// If there is a schedule of that name in this manager, or it drains.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use fourway_jobs_engine::{BoxError, JobKind, KindJob, KindManager, Schedule};
    ///
    /// struct CleanUp;
    ///
    /// impl JobKind for CleanUp {
    ///     const NAME: &'static str = "clean up";
    ///     type Args = String;
    ///     type Output = ();
    /// }
    ///
    /// fn hourly(jobs: &KindManager) -> Result<(), BoxError> {
    ///     let hour = Duration::from_secs(3600);
    ///     let schedule = Schedule::every(hour).since(SystemTime::now() - 12 * hour);
    ///     jobs.schedule("clean up", schedule, |_| KindJob::new(CleanUp, "/var/tmp".into()))?;
    ///     Ok(())
    /// }
    /// ```
    pub fn schedule<K, F>(
        &self,
        name: &str,
        schedule: Schedule,
        make: F,
    ) -> Result<KindSchedule, ScheduleError>
    where
        K: JobKind,
        F: FnMut(Occurrence) -> KindJob<K> + Send + 'static,
    {
        self.schedules().schedule(name, schedule, make)
    }
}

/// Submits the runs of a schedule.
#[derive(Clone)]
struct Runs {
    client: JobClient,
    name: Arc<str>,
    overlap: Overlap,
    /// The engine has unique keys.
    has_keys: bool,
    seen: Arc<Mutex<Seen>>,
}

/// The results of runs.
#[derive(Default)]
struct Seen {
    /// How many were dropped, as the one before had not ended.
    overlapped: u64,
    /// Why the last run is not submitted.
    error: Option<String>,
    /// The time of the last run.
    newest: Option<SystemTime>,
    /// The last run whose job has its own key, as long as it is waited for.
    waited_for: Weak<()>,
}

/// One run, until it is submitted, or, if the next run depends on that, until its job has ended.
#[derive(Clone)]
struct Run {
    runs: Runs,
    at: SystemTime,
    job: Result<NewJob, EngineError>,
    then: Then,
    /// The engine's job, once the engine has confirmed it. It is then not submitted again, as the
    /// job may have ended by then.
    there: Arc<OnceLock<JobId>>,
}

/// What to do once a run is submitted.
#[derive(Clone)]
enum Then {
    Nothing,
    /// The engine drops the run if another one has not ended. There is nothing to do, and a newer
    /// run replaces one that could not be submitted.
    EngineSkips,
    /// Wait for its end. The check for skipping looks whether this is alive.
    Wait(#[expect(dead_code, reason = "held")] Arc<()>),
}

impl Runs {
    /// The run of that time; `None` if it is skipped.
    fn run(&self, job: Result<NewJob, EngineError>, at: SystemTime) -> Option<Run> {
        let has_own_key = job.as_ref().is_ok_and(|job| job.unique.is_some());
        let mut seen = lock(&self.seen);
        seen.newest = Some(at);
        let then = match self.overlap {
            Overlap::Allow => Then::Nothing,
            Overlap::Skip if self.has_keys && !has_own_key => Then::EngineSkips,
            Overlap::Skip if seen.waited_for.strong_count() > 0 => {
                seen.overlapped += 1;
                return None;
            }
            _ => {
                let alive = Arc::new(());
                // Without keys, the schedule of this process does the skipping.
                if self.has_keys && self.overlap == Overlap::Skip {
                    seen.waited_for = Arc::downgrade(&alive);
                }
                Then::Wait(alive)
            }
        };
        drop(seen);
        Some(Run {
            job: job.map(|job| self.named(job, at, &then)),
            runs: self.clone(),
            at,
            then,
            there: Arc::default(),
        })
    }

    /// Gives it the id that makes it the same job in every process.
    fn named(&self, mut job: NewJob, at: SystemTime, then: &Then) -> NewJob {
        job.id = run_id(&job.kind, &self.name, at);
        if matches!(then, Then::EngineSkips) {
            job.unique = Some(UniqueKey {
                key: format!("schedule {}", self.name),
                within: None,
            });
        }
        job.headers.insert("schedule".into(), self.name.to_string());
        job
    }
}

/// Submits a run and performs `then`. After an error it is called again and goes on where it was.
async fn submit(run: Option<Run>) -> Result<(), EngineError> {
    let Some(run) = run else {
        return Ok(());
    };
    let done = run.submit().await;
    let mut seen = lock(&run.runs.seen);
    seen.error = done.as_ref().err().map(ToString::to_string);
    match done {
        // Another attempt is useless after a refusal, or if the engine is closed.
        Err(error) if !error.is_refusal() && !error.is_closed() => {
            if matches!(run.then, Then::EngineSkips) && seen.newest > Some(run.at) {
                seen.overlapped += 1;
                return Ok(());
            }
            Err(error)
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Run {
    async fn submit(&self) -> Result<(), EngineError> {
        let there = match self.there.get() {
            Some(there) => *there,
            None => self.submit_job().await?,
        };
        if let Then::Wait(_) = self.then {
            self.runs.client.wait(there).await?;
        }
        Ok(())
    }

    async fn submit_job(&self) -> Result<JobId, EngineError> {
        let job = self.job.clone()?;
        let id = job.id;
        let submitted = self.runs.client.engine().submit(vec![job]).await?;
        let there = submitted.first().map_or(id, |submitted| submitted.id());
        if there != id {
            lock(&self.runs.seen).overlapped += 1;
        }
        Ok(*self.there.get_or_init(|| there))
    }
}

/// The id of a schedule's run, in every process.
fn run_id(kind: &str, schedule: &str, at: SystemTime) -> JobId {
    // FNV-1a: it is the same in each build and version, and there is no motive to provoke a
    // collision.
    let bytes = kind.bytes().chain([0]).chain(schedule.bytes());
    let hash = bytes.fold(
        0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128,
        |hash, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        },
    );
    let millis = at
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    JobId::from_bytes((millis << 80 | hash >> 48).to_be_bytes())
}

/// A schedule of a [`KindManager`] or of [`KindSchedules`]. Dropping it changes nothing; a clone is another handle.
#[derive(Clone)]
pub struct KindSchedule {
    handle: ScheduleHandle,
    kind: &'static str,
    seen: Arc<Mutex<Seen>>,
}

/// A schedule at one moment, as this process sees it. See [`KindSchedule::status`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KindScheduleStatus {
    /// Its name.
    pub name: String,
    /// The kind of its jobs.
    pub kind: &'static str,
    /// When it runs, as a text.
    pub times: String,
    /// It submits no runs at the moment.
    pub paused: bool,
    /// When the next run is due.
    pub next_at: Option<SystemTime>,
    /// The time of the last run and its job, whichever process has submitted it.
    pub last: Option<(SystemTime, JobId)>,
    /// How many runs this process is submitting or waiting for.
    pub pending: usize,
    /// How many runs were started, without missed and skipped ones.
    pub started: u64,
    /// How many were missed and not made up for.
    pub missed: u64,
    /// How many were skipped, as the one before had not ended.
    pub overlapped: u64,
    /// Why the last run is not submitted (yet), if that is so.
    pub error: Option<String>,
}

impl KindSchedule {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.handle.name()
    }

    /// The id of its run of that time, in every process.
    #[must_use]
    pub fn run(&self, at: SystemTime) -> JobId {
        run_id(self.kind, self.name(), at)
    }

    /// The schedule at this moment.
    #[must_use]
    pub fn status(&self) -> KindScheduleStatus {
        let status = self.handle.status();
        let seen = lock(&self.seen);
        KindScheduleStatus {
            last: status.last.map(|last| (last.at, self.run(last.at))),
            kind: self.kind,
            name: status.name,
            times: status.times,
            paused: status.paused,
            next_at: status.next_at,
            pending: status.running.len(),
            started: status.started.saturating_sub(seen.overlapped),
            missed: status.missed,
            overlapped: status.overlapped + seen.overlapped,
            error: status.error.or_else(|| seen.error.clone()),
        }
    }

    /// Submits no runs from this process for the time being.
    pub fn pause(&self) {
        self.handle.pause();
    }

    /// Submits runs again.
    pub fn resume(&self) {
        self.handle.resume();
    }

    /// Ends the schedule in this process; `false` if it has ended already. Its jobs go on.
    pub fn remove(&self) -> bool {
        self.handle.remove()
    }
}

impl fmt::Debug for KindSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindSchedule")
            .field("name", &self.name())
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Sets the clock of a manager.
pub(crate) type ClockSetting =
    Box<dyn FnOnce(fourway_jobs::JobManagerBuilder) -> fourway_jobs::JobManagerBuilder + Send>;

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_one_id_and_no_other_has_it() {
        let at = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let id = run_id("mail", "digest", at);
        // The same in each build: services of two versions share an engine.
        let bytes = 0x018b_cfe5_6800_4ff1_9b46_3100_e86c_8b68_u128.to_be_bytes();
        assert_eq!(id, JobId::from_bytes(bytes));
        assert_eq!(id.submitted_at(), at);
        for other in [
            run_id("mail", "digests", at),
            run_id("mai", "ldigest", at),
            run_id("mail", "digest", at + Duration::from_secs(1)),
        ] {
            assert_ne!(id, other);
        }
    }
}

//! One schedule of a manager: [`Entry`].

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use fourway_core::{cancel::Reason, implement::discard};

use super::{
    LastRun, Occurrence, Overlap, Schedule, ScheduleStatus,
    plan::{Due, Plan},
};
use crate::{
    JobId, JobState, Work,
    body::Failure,
    clock::{Now, time},
    job::{Watcher, sealed},
    shared::Shared,
    slot::Slot,
    store::{New, Record},
    sync::{Mutex, lock},
};

/// Makes the job of a run and submits it; `true` if the job was there already.
type Start =
    Box<dyn FnMut(&Arc<Shared>, &Arc<Entry>, Occurrence) -> Result<(JobId, bool), String> + Send>;

pub(crate) struct Entry {
    pub(super) name: Arc<str>,
    state: Mutex<State>,
}

struct State {
    plan: Plan,
    /// The scheduler takes it while it starts a run, one after the other.
    start: Option<Start>,
    /// Jobs that have ended while a run is being started, of which one may be that run's.
    ended_meanwhile: Vec<(JobId, JobState)>,
    paused: bool,
    removed: bool,
    /// Runs that have been started, or are tried again, and have not ended.
    running: Vec<JobId>,
    /// The run to start once they have ended.
    waiting: Option<Occurrence>,
    last: Option<LastRun>,
    started: u64,
    missed: u64,
    overlapped: u64,
    error: Option<String>,
}

/// What to do about an occurrence.
enum Decision {
    Start(Occurrence),
    Cancel(Vec<JobId>),
    Nothing,
}

impl Entry {
    pub(super) fn new<G, W, M>(name: &str, schedule: Schedule, now: Now, mut make: G) -> Arc<Self>
    where
        G: FnMut(Occurrence) -> W + Send + 'static,
        W: Work<M>,
    {
        let start = move |shared: &Arc<Shared>, entry: &Arc<Self>, run: Occurrence| {
            // Unwind safety: `make` can break only its own state, and its panic is reported.
            let made = catch_unwind(AssertUnwindSafe(|| {
                let slot = Arc::new(Slot::new());
                let (body, options) = sealed::Work::into_parts(make(run), &slot);
                (body, options, slot)
            }));
            let (body, mut options, slot) =
                made.map_err(|payload| Failure::panic(payload).into_message())?;
            let more = options.more();
            more.name
                .get_or_insert_with(|| entry.name.to_string().into());
            more.watcher = Some(entry.clone());
            more.beyond_limit = true;
            let label = (LABEL.to_owned(), entry.name.to_string());
            more.labels.push(label);
            let record = Record::new(New {
                body,
                slot: slot.clone(),
                priority: options.priority,
            });
            match shared.submit(record, options, &slot) {
                Ok(handle) => Ok((handle.id(), handle.was_there())),
                Err(refused) => {
                    let message = crate::SubmitError::from(refused.refusal.clone()).to_string();
                    discard(refused);
                    Err(message)
                }
            }
        };
        Arc::new(Self {
            name: name.into(),
            state: Mutex::new(State {
                plan: Plan::new(schedule, now.wall),
                start: Some(Box::new(start)),
                ended_meanwhile: Vec::new(),
                paused: false,
                removed: false,
                running: Vec::new(),
                waiting: None,
                last: None,
                started: 0,
                missed: 0,
                overlapped: 0,
                error: None,
            }),
        })
    }

    /// Starts what is due. Gives when the next run is.
    pub(super) fn look(self: &Arc<Self>, shared: &Arc<Shared>, now: Now) -> Option<u64> {
        let Due { runs, skipped } = {
            let mut state = lock(&self.state);
            if state.removed {
                return None;
            }
            if state.paused {
                state.plan.skip(now.wall);
                return None;
            }
            state.plan.look(now.wall)
        };
        lock(&self.state).missed += skipped;
        self.start_waiting(shared);
        for (at, is_missed) in runs {
            let at = time(at);
            let decision = lock(&self.state).decide(Occurrence { at, is_missed });
            match decision {
                Decision::Start(run) => self.start(shared, run),
                Decision::Cancel(jobs) => shared.with(|store, now, fx| {
                    for id in jobs {
                        store.cancel(id, Reason::Requested, now, fx);
                    }
                }),
                Decision::Nothing => {}
            }
            // A queued job ended at once when it was cancelled.
            self.start_waiting(shared);
        }
        let state = lock(&self.state);
        state.plan.next().filter(|_| !state.removed)
    }

    fn start_waiting(self: &Arc<Self>, shared: &Arc<Shared>) {
        let waiting = {
            let mut state = lock(&self.state);
            if state.running.is_empty() {
                state.waiting.take()
            } else {
                None
            }
        };
        if let Some(run) = waiting {
            self.start(shared, run);
        }
    }

    fn start(self: &Arc<Self>, shared: &Arc<Shared>, run: Occurrence) {
        let taken = lock(&self.state).start.take();
        let Some(mut start) = taken else {
            return;
        };
        let started = start(shared, self, run);
        let mut state = lock(&self.state);
        let ended = std::mem::take(&mut state.ended_meanwhile);
        match started {
            Ok((job, was_there)) => {
                state.started += 1;
                state.error = None;
                let end = ended.iter().find(|(id, _)| *id == job).map(|(_, end)| *end);
                if end.is_none() && !was_there && !state.running.contains(&job) {
                    state.running.push(job);
                }
                state.last = Some(LastRun {
                    at: run.at,
                    job,
                    state: end,
                });
            }
            Err(message) => state.error = Some(message),
        }
        if state.removed {
            drop(state);
            discard(start);
        } else {
            state.start = Some(start);
        }
    }

    pub(super) fn set_paused(&self, paused: bool, now: Now) {
        let mut state = lock(&self.state);
        if state.paused != paused {
            state.plan.skip(now.wall);
            state.paused = paused;
        }
    }

    /// Starts no more runs. Running ones go on.
    pub(super) fn remove(&self) {
        let mut state = lock(&self.state);
        state.removed = true;
        state.waiting = None;
        let start = state.start.take();
        drop(state);
        discard(start);
    }

    pub(super) fn status(&self) -> ScheduleStatus {
        let state = lock(&self.state);
        let next = state
            .plan
            .next()
            .filter(|_| !state.paused && !state.removed);
        ScheduleStatus {
            name: self.name.to_string(),
            times: state.plan.schedule().times.to_string(),
            paused: state.paused,
            next_at: next.map(time),
            last: state.last.clone(),
            running: state.running.clone(),
            started: state.started,
            missed: state.missed,
            overlapped: state.overlapped,
            error: state.error.clone(),
        }
    }
}

/// The label of jobs that come from a schedule; its value is the schedule's name.
const LABEL: &str = "schedule";

impl State {
    fn decide(&mut self, run: Occurrence) -> Decision {
        let overlap = self.plan.schedule().overlap;
        if self.removed || self.paused {
            return Decision::Nothing;
        }
        if overlap == Overlap::Allow || (self.running.is_empty() && self.waiting.is_none()) {
            return Decision::Start(run);
        }
        match overlap {
            Overlap::Wait | Overlap::Replace => {
                if self.waiting.replace(run).is_some() {
                    self.overlapped += 1;
                }
                if overlap == Overlap::Replace {
                    return Decision::Cancel(self.running.clone());
                }
            }
            Overlap::Skip | Overlap::Allow => self.overlapped += 1,
        }
        Decision::Nothing
    }
}

impl Watcher for Entry {
    fn ended(&self, id: JobId, end: JobState) -> bool {
        let mut state = lock(&self.state);
        if state.start.is_none() {
            state.ended_meanwhile.push((id, end));
        }
        state.running.retain(|running| *running != id);
        if let Some(last) = state.last.as_mut().filter(|last| last.job == id) {
            last.state = Some(end);
        }
        state.waiting.is_some() && state.running.is_empty()
    }

    fn reopened(&self, id: JobId, _: JobState) {
        let mut state = lock(&self.state);
        state.ended_meanwhile.retain(|(ended, _)| *ended != id);
        if !state.running.contains(&id) {
            state.running.push(id);
        }
        if let Some(last) = state.last.as_mut().filter(|last| last.job == id) {
            last.state = None;
        }
    }

    fn act(&self, shared: &Arc<Shared>) {
        shared.schedules.wake();
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

//! One schedule of a manager: [`Entry`].

use std::{
    collections::VecDeque,
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

/// Makes the job of a run and submits it.
type Start = Box<dyn FnMut(&Arc<Shared>, &Arc<Entry>, Occurrence) -> Result<JobId, String> + Send>;

pub(crate) struct Entry {
    pub(super) name: Arc<str>,
    /// When it runs, as a text: for a forked child, which has no state.
    times: Box<str>,
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
    /// Missed runs to make up for, oldest first: one after the other, as they would push each other
    /// out like runs that overlap.
    to_make_up: VecDeque<Occurrence>,
    /// The run that was started last is one of these.
    is_making_up: bool,
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
            more.labels.retain(|(label, _)| label != LABEL);
            let label = (LABEL.to_owned(), entry.name.to_string());
            more.labels.push(label);
            let record = Record::new(New {
                body,
                slot: slot.clone(),
                priority: options.priority,
            });
            match shared.submit(record, options, &slot) {
                Ok(handle) => Ok(handle.id()),
                Err(refused) => {
                    let message = crate::SubmitError::from(refused.refusal.clone()).to_string();
                    discard(refused);
                    Err(message)
                }
            }
        };
        Arc::new(Self {
            name: name.into(),
            times: schedule.times.to_string().into(),
            state: Mutex::new(State {
                plan: Plan::new(schedule, now.wall),
                start: Some(Box::new(start)),
                ended_meanwhile: Vec::new(),
                paused: false,
                removed: false,
                running: Vec::new(),
                waiting: None,
                to_make_up: VecDeque::new(),
                is_making_up: false,
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
            if !shared.is_here() {
                return None;
            }
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
        }
        // Once all are in line, so that none replaces another of this look that runs already. A
        // queued job ended at once when it was cancelled.
        self.start_waiting(shared);
        if !shared.is_here() {
            return None;
        }
        let state = lock(&self.state);
        state.plan.next().filter(|_| !state.removed)
    }

    /// Starts the runs that wait, as long as none runs.
    fn start_waiting(self: &Arc<Self>, shared: &Arc<Shared>) {
        while shared.is_here() {
            let waiting = lock(&self.state).take_waiting();
            let Some(run) = waiting else {
                return;
            };
            // Its job may have ended already, or there is none.
            self.start(shared, run);
        }
    }

    fn start(self: &Arc<Self>, shared: &Arc<Shared>, run: Occurrence) {
        let taken = {
            let mut state = lock(&self.state);
            state.is_making_up = run.is_missed;
            state.start.take()
        };
        let Some(mut start) = taken else {
            return;
        };
        let started = start(shared, self, run);
        if !shared.is_here() {
            // The maker of the job has forked, and this is the child: the schedule is the parent's.
            std::mem::forget((start, started));
            return;
        }
        let mut state = lock(&self.state);
        let ended = std::mem::take(&mut state.ended_meanwhile);
        match started {
            Ok(job) => {
                state.started += 1;
                state.error = None;
                let end = ended.iter().find(|(id, _)| *id == job).map(|(_, end)| *end);
                if end.is_none() && !state.running.contains(&job) {
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
        // There may be no job, or it has ended while `ended` could not tell it from an earlier one.
        state.is_making_up &= !state.running.is_empty();
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
        if paused {
            // After a pause, however long, no run of before it starts.
            state.missed += state.to_make_up.len() as u64;
            state.to_make_up.clear();
            state.overlapped += u64::from(state.waiting.take().is_some());
        }
    }

    /// Starts no more runs. Running ones go on.
    pub(super) fn remove(&self) {
        let mut state = lock(&self.state);
        state.removed = true;
        state.waiting = None;
        state.to_make_up.clear();
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
            times: self.times.to_string(),
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

    /// In a forked child, where the lock may be held for ever.
    #[cold]
    pub(super) fn status_in_child(&self) -> ScheduleStatus {
        ScheduleStatus {
            name: self.name.to_string(),
            times: self.times.to_string(),
            paused: false,
            next_at: None,
            last: None,
            running: Vec::new(),
            started: 0,
            missed: 0,
            overlapped: 0,
            error: Some(crate::error::FORKED.to_owned()),
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
        if overlap == Overlap::Allow {
            return Decision::Start(run);
        }
        if run.is_missed {
            self.to_make_up.push_back(run);
            // The plan has kept to this for one look. Those of earlier looks may wait still.
            if self.to_make_up.len() > self.plan.made_up() {
                self.to_make_up.pop_front();
                self.missed += 1;
            }
            return Decision::Nothing;
        }
        if self.running.is_empty() && self.waiting.is_none() && self.to_make_up.is_empty() {
            return Decision::Start(run);
        }
        // What is made up for does not push out what comes on time.
        let is_before_made_up = !self.to_make_up.is_empty() || self.is_making_up;
        if overlap == Overlap::Skip && !is_before_made_up {
            self.overlapped += 1;
            return Decision::Nothing;
        }
        if self.waiting.replace(run).is_some() {
            self.overlapped += 1;
        }
        match overlap {
            Overlap::Replace => Decision::Cancel(self.running.clone()),
            _ => Decision::Nothing,
        }
    }

    /// The run to start now, if none runs.
    fn take_waiting(&mut self) -> Option<Occurrence> {
        if self.removed || self.paused || !self.running.is_empty() {
            return None;
        }
        // The newest run goes first where it replaces older ones. Elsewhere it waits: if each run
        // takes longer than a period, those to make up for would never have their turn.
        let is_newest_first = self.plan.schedule().overlap == Overlap::Replace;
        if is_newest_first && self.waiting.is_some() {
            self.waiting.take()
        } else {
            self.to_make_up.pop_front().or_else(|| self.waiting.take())
        }
    }

    fn has_waiting(&self) -> bool {
        self.waiting.is_some() || !self.to_make_up.is_empty()
    }
}

impl Watcher for Entry {
    fn ended(&self, id: JobId, end: JobState) -> bool {
        let mut state = lock(&self.state);
        let is_starting = state.start.is_none();
        if is_starting {
            state.ended_meanwhile.push((id, end));
        }
        state.running.retain(|running| *running != id);
        // Once it has ended it is a run as any other, also if it is tried again.
        state.is_making_up &= is_starting || !state.running.is_empty();
        if let Some(last) = state.last.as_mut().filter(|last| last.job == id) {
            last.state = Some(end);
        }
        state.has_waiting() && state.running.is_empty()
    }

    fn found(&self, id: JobId, state: JobState) -> bool {
        if state.is_finished() {
            lock(&self.state).ended_meanwhile.push((id, state));
        }
        true
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
        shared.schedules().wake();
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

//! All jobs of a manager, behind one lock, and every change of their state.
//!
//! Under the lock nothing of the user's runs: no body, value or error is dropped, no waker
//! cloned, called or dropped, no token cancelled, no runtime asked for anything. What a change
//! asks for is collected in [`Effects`], and done once the lock is released, in an order that
//! others can rely on: first what belonged to the job is destroyed, then its end is told.
//!
//! Each method is one step: between two of them every job is in one state, is counted in it, and
//! is found wherever jobs of that state are looked for.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use fourway_core::cancel::Reason;

use crate::{
    JobError, JobId, JobState, Retry, batch,
    body::{Body, Failure, Place},
    clock::{Now, nanos, time, wall},
    context::Control,
    error::Refusal,
    event::{Event, EventKind, Ring},
    filter::Filter,
    job::{Options, Start, Unique, bit},
    line::{self, Line},
    queue::Queue,
    slot::AnySlot,
    snapshot::{Attempt, ClassStatus, Counts, JobStatus, ManagerStatus},
};

/// How many attempts of a job that have ended are kept, the last ones.
pub const ATTEMPTS_KEPT: usize = 20;

pub(crate) struct Store {
    pub(crate) settings: Settings,
    /// Tells the ids of managers apart.
    manager: u32,
    /// Jobs by their number, a page for each `PAGE` of them.
    pages: BTreeMap<u64, Page>,
    next: u64,
    last_millis: u64,

    pub(crate) queue: Queue,
    /// Entries of the queue whose jobs were cancelled.
    stale: u64,
    running: usize,
    counts: Counts,
    ended: Counts,
    /// Started by a worker of the other place, and waiting for one of their own.
    assigned: [VecDeque<u64>; 2],
    /// Dispatchers: tasks that start jobs and poll them for the first time.
    dispatchers: usize,
    /// Closures that are on their way to the pool, to take jobs there.
    runners: usize,
    paused: bool,
    closed: bool,

    due: BTreeSet<(u64, u64, Due)>,
    /// By the clock on the wall.
    due_on_wall: BTreeSet<(u64, u64)>,
    ticker: Ticker,

    /// Those that have ended, oldest first, and when.
    finished: VecDeque<(u64, u64)>,
    /// Of those, jobs that were forgotten or tried again since: how many entries of each.
    gone: HashMap<u64, u32>,
    /// How many entries that makes.
    gone_entries: usize,
    unique: HashMap<Arc<str>, u64>,

    /// Who waits for room in the queue.
    room: Line,
    /// Who waits for the last job to end.
    idle: Line,
    drain: Option<Vec<(JobId, JobState)>>,

    subscribers: Vec<Arc<Ring>>,
    history: VecDeque<Event>,
    events: u64,
}

pub(crate) struct Settings {
    pub(crate) concurrency: usize,
    pub(crate) queue_limit: usize,
    /// How many tasks at most start jobs.
    pub(crate) dispatchers: usize,
    pub(crate) keep: usize,
    /// In nanoseconds.
    pub(crate) keep_for: u64,
    pub(crate) history: usize,
    pub(crate) timeout: Option<Duration>,
}

const PAGE: u64 = 64;

struct Page {
    records: Box<[Option<Box<Record>>; PAGE as usize]>,
    used: usize,
}

/// What is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A scheduled or retrying job is to be queued.
    Start,
    /// The attempt that runs has taken too long.
    Timeout,
    /// The pool had no thread.
    Workers,
}

#[derive(Default)]
struct Ticker {
    running: bool,
    waker: Option<Waker>,
    /// Until when it sleeps.
    until: u64,
}

pub(crate) struct Record {
    id: JobId,
    /// While it waits, and afterwards if it can run again.
    body: Option<Body>,
    slot: Arc<dyn AnySlot>,
    /// While it runs; and afterwards, if it has told of its progress.
    control: Option<Arc<Control>>,
    extra: Option<Box<Extra>>,
    /// On the wall; zero is never.
    submitted: u64,
    started: u64,
    ended: u64,
    attempt: u32,
    class: u32,
    priority: i8,
    state: JobState,
    place: Place,
    asked: Asked,
    /// In `assigned`.
    is_assigned: bool,
}

/// What a running job was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// To end, as it was cancelled.
    Cancel,
    /// To end, as it took too long.
    Timeout,
}

/// What most jobs have not.
#[derive(Default)]
struct Extra {
    name: Option<std::borrow::Cow<'static, str>>,
    key: Option<Arc<str>>,
    unique: Option<Unique>,
    labels: Vec<(String, String)>,
    timeout: Option<Duration>,
    retry: Option<Retry>,
    due: Option<(u64, Due)>,
    /// On the wall, also of what is due on the watch.
    due_at: u64,
    is_due_on_wall: bool,
    waits_for: Vec<u64>,
    dependents: Vec<u64>,
    attempts: Vec<Attempt>,
    error: Option<String>,
    batch: Option<Arc<batch::Shared>>,
}

impl Record {
    fn key(&self) -> Option<&Arc<str>> {
        self.extra.as_ref()?.key.as_ref()
    }

    fn max_attempts(&self) -> u32 {
        self.retry().map_or(1, |retry| retry.attempts)
    }

    fn retry(&self) -> Option<&Retry> {
        self.extra.as_ref()?.retry.as_ref()
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }
}

/// What is to be done when the lock is released.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) cancel: Vec<(Arc<Control>, Reason)>,
    pub(crate) bodies: Vec<Body>,
    pub(crate) ends: Vec<End>,
    pub(crate) wakers: Vec<Waker>,
    pub(crate) batches: Vec<(Arc<batch::Shared>, JobId, JobState)>,
    #[allow(clippy::vec_box, reason = "they are in boxes already")]
    pub(crate) records: Vec<Box<Record>>,
    /// Causes of failures that are not the last ones.
    pub(crate) failures: Vec<Failure>,
    pub(crate) controls: Vec<Arc<Control>>,
    /// Not to be woken, but dropped.
    pub(crate) unused: Vec<Waker>,
    pub(crate) dispatchers: usize,
    pub(crate) runners: usize,
    pub(crate) ticker: bool,
}

/// How whoever waits for a job learns of its end.
pub(crate) enum End {
    /// The body has the value, and is dropped.
    Body(Body),
    Value(Arc<dyn AnySlot>),
    Error(Arc<dyn AnySlot>, JobError),
    /// What was put in is not wanted, and the job goes on.
    GiveUp(Arc<dyn AnySlot>),
    Reopen(Arc<dyn AnySlot>),
}

/// A job that a worker is to run.
pub(crate) struct Started {
    pub(crate) number: u64,
    pub(crate) body: Body,
    pub(crate) control: Arc<Control>,
}

/// An attempt that is over.
pub(crate) struct Ended {
    pub(crate) number: u64,
    pub(crate) body: Body,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    /// The value is in the slot, sealed.
    Done,
    Failed(Failure),
    /// It was dropped before its end, as it was asked to.
    Dropped,
    /// The runtime dropped it.
    Lost,
}

/// What became of a request to cancel a job (JB-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CancelOutcome {
    /// It was waiting, has never run or will not run again, and is cancelled.
    Cancelled,
    /// It is running, and was asked to end: a future is dropped, a closure's token is set. It
    /// ends as cancelled, or as failed if it panics.
    Requested,
    /// It has ended, in this state. Nothing has changed.
    TooLate(JobState),
}

/// A job that was not accepted, and why.
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) parts: Option<(Body, Options)>,
}

impl Refused {
    fn new(refusal: Refusal, body: Body, options: Options) -> Self {
        Self {
            refusal,
            parts: Some((body, options)),
        }
    }
}

impl Store {
    pub(crate) fn new(settings: Settings, ageing: u64, manager: u32) -> Self {
        Self {
            settings,
            manager,
            pages: BTreeMap::new(),
            next: 1,
            last_millis: 0,
            queue: Queue::new(ageing),
            stale: 0,
            running: 0,
            counts: Counts::default(),
            ended: Counts::default(),
            assigned: [VecDeque::new(), VecDeque::new()],
            dispatchers: 0,
            runners: 0,
            paused: false,
            closed: false,
            due: BTreeSet::new(),
            due_on_wall: BTreeSet::new(),
            ticker: Ticker::default(),
            finished: VecDeque::new(),
            gone: HashMap::new(),
            gone_entries: 0,
            unique: HashMap::new(),
            room: Line::default(),
            idle: Line::default(),
            drain: None,
            subscribers: Vec::new(),
            history: VecDeque::new(),
            events: 0,
        }
    }

    // -----------------------------------------------------------------------
    // Coming in

    /// Accepts a job; or finds the one that has its unique key.
    pub(crate) fn submit(
        &mut self,
        body: Body,
        slot: Arc<dyn AnySlot>,
        options: Options,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(JobId, Option<Arc<dyn AnySlot>>), Refused> {
        if self.closed {
            return Err(Refused::new(Refusal::Closed, body, options));
        }
        let unique = options.more.as_ref().and_then(|more| more.unique.as_ref());
        if let Some(found) = unique.and_then(|unique| self.find_unique(unique, now)) {
            fx.bodies.push(body);
            return Ok((found.0, Some(found.1)));
        }
        if self.room_left() == 0 {
            let limit = self.settings.queue_limit;
            return Err(Refused::new(Refusal::Full { limit }, body, options));
        }
        let mut waits_for = Vec::new();
        if let Some(more) = &options.more {
            for id in &more.after {
                match self.known(*id).map(|record| record.state) {
                    None => {
                        let refusal = Refusal::UnknownDependency(*id);
                        return Err(Refused::new(refusal, body, options));
                    }
                    Some(JobState::Completed) => {}
                    Some(state) if state.is_finished() => {
                        let refusal = Refusal::FailedDependency(*id, state);
                        return Err(Refused::new(refusal, body, options));
                    }
                    Some(_) if waits_for.contains(&id.number()) => {}
                    Some(_) => waits_for.push(id.number()),
                }
            }
        }

        let number = self.next;
        self.next += 1;
        // The wall clock may be set back; ids stay in order.
        self.last_millis = self.last_millis.max(now.wall / 1_000_000);
        let id = JobId::new(self.last_millis, self.manager, number);
        let class = self
            .queue
            .class(options.class.as_deref().unwrap_or(crate::DEFAULT_CLASS));
        let place = body.place();
        let mut record = Box::new(Record {
            id,
            body: Some(body),
            slot,
            control: None,
            extra: None,
            submitted: now.wall,
            started: 0,
            ended: 0,
            attempt: 0,
            class,
            priority: options.priority,
            state: JobState::Queued,
            place,
            asked: Asked::Nothing,
            is_assigned: false,
        });
        let mut start = None;
        if let Some(more) = options.more {
            start = more.start;
            for other in &waits_for {
                if let Some(other) = self.get(*other) {
                    other.extra().dependents.push(number);
                }
            }
            if let Some(unique) = &more.unique {
                self.unique.insert(unique.key.clone(), number);
            }
            record.extra = Some(Box::new(Extra {
                name: more.name,
                key: more.key,
                unique: more.unique,
                labels: more.labels,
                timeout: more.timeout,
                retry: more.retry,
                batch: more.batch,
                waits_for,
                ..Extra::default()
            }));
        }
        // What is due already is not scheduled.
        let start = start.filter(|start| match start {
            Start::After(delay) => !delay.is_zero(),
            Start::At(at) => wall(*at) > now.wall,
        });
        let waits = record
            .extra
            .as_ref()
            .is_some_and(|extra| !extra.waits_for.is_empty());
        if start.is_some() || waits {
            record.state = JobState::Scheduled;
        }
        let state = record.state;
        self.insert(number, record);
        self.count(class, state, 1);
        self.emit(
            id,
            EventKind::State {
                from: None,
                to: state,
            },
            now,
            fx,
        );
        match start {
            Some(Start::After(delay)) => {
                self.set_due(number, now, nanos(delay), Due::Start, fx);
            }
            Some(Start::At(at)) => self.set_due_on_wall(number, wall(at), fx),
            None if waits => {}
            None => self.enqueue(number, now, fx),
        }
        Ok((id, None))
    }

    fn find_unique(&self, unique: &Unique, now: Now) -> Option<(JobId, Arc<dyn AnySlot>)> {
        let record = self.peek(*self.unique.get(&unique.key)?)?;
        if unique.states & bit(record.state) == 0 {
            return None;
        }
        if let Some(within) = unique.within {
            if now.wall.saturating_sub(record.submitted) >= nanos(within) {
                return None;
            }
        }
        Some((record.id, record.slot.clone()))
    }

    /// Is there room in the queue, or no use in waiting for it? Otherwise `waker` waits.
    pub(crate) fn poll_room(
        &mut self,
        place: &mut line::Place,
        waker: Waker,
        fx: &mut Effects,
    ) -> Poll<()> {
        if self.closed || self.room_left() > 0 {
            fx.unused.push(waker);
            fx.unused.extend(self.room.leave(place.take()));
            return Poll::Ready(());
        }
        fx.unused.extend(self.room.wait(place, waker));
        Poll::Pending
    }

    /// Who waited for room has got it, or gives up.
    pub(crate) fn leave_room(&mut self, place: line::Place, fx: &mut Effects) {
        match self.room.leave(place) {
            Some(waker) => fx.unused.push(waker),
            // It was woken: if it has not taken the room, the next is to.
            None => self.call_for_room(fx),
        }
    }

    fn room_left(&self) -> u64 {
        let waiting = self.counts.scheduled + self.counts.queued + self.counts.retrying;
        (self.settings.queue_limit as u64).saturating_sub(waiting)
    }

    /// Wakes as many as there is room for.
    fn call_for_room(&mut self, fx: &mut Effects) {
        if !self.room.is_empty() {
            for _ in 0..self.room_left() {
                match self.room.first() {
                    Some(waker) => fx.wakers.push(waker),
                    None => break,
                }
            }
        }
    }

    /// Puts a job in line that is queued, and sees to it that it is taken out.
    fn enqueue(&mut self, number: u64, now: Now, fx: &mut Effects) {
        let Some(record) = self
            .pages
            .get(&(number / PAGE))
            .and_then(|page| page.get(number))
        else {
            return;
        };
        let (class, priority, place) = (record.class, record.priority, record.place);
        let key = record.key().cloned();
        self.queue
            .push(class, key.as_ref(), priority, now.watch, number);
        self.call_workers(Some(place), fx);
    }

    /// Sees to it that somebody takes the jobs that may run.
    fn call_workers(&mut self, place: Option<Place>, fx: &mut Effects) {
        if self.paused || self.running >= self.settings.concurrency {
            // Whoever ends a job takes the next one.
            return;
        }
        let room = self.settings.concurrency - self.running;
        let queued = usize::try_from(self.counts.queued).unwrap_or(usize::MAX);
        if place != Some(Place::Pool) && self.dispatchers < self.settings.dispatchers.min(queued) {
            self.dispatchers += 1;
            fx.dispatchers += 1;
        }
        // Each closure that finds more to do calls the next: a burst starts few threads.
        const ON_THEIR_WAY: usize = 2;
        if place != Some(Place::Task) && self.runners < room.min(queued).min(ON_THEIR_WAY) {
            self.runners += 1;
            fx.runners += 1;
        }
    }

    // -----------------------------------------------------------------------
    // Running

    /// Takes the job that is next for a worker of that place, and starts it. A dispatcher that
    /// is given none ends.
    ///
    /// `spare` is there when a job is given, and is used up then.
    pub(crate) fn take(
        &mut self,
        place: Place,
        spare: &mut Option<Arc<Control>>,
        now: Now,
        fx: &mut Effects,
    ) -> Option<Started> {
        loop {
            if let Some(number) = self.assigned[place as usize].pop_front() {
                match self.get(number) {
                    Some(record) if record.is_assigned => record.is_assigned = false,
                    // Cancelled meanwhile, which has given back its room.
                    _ => continue,
                }
                return Some(self.start(number, spare, now, fx));
            }
            if self.paused || self.running >= self.settings.concurrency {
                break;
            }
            let Some(number) = self.queue.pop() else {
                break;
            };
            let Some(record) = self.get(number) else {
                self.stale = self.stale.saturating_sub(1);
                continue;
            };
            if record.state != JobState::Queued || record.is_assigned {
                self.stale = self.stale.saturating_sub(1);
                continue;
            }
            let (class, of) = (record.class, record.place);
            let key = record.key().cloned();
            self.running += 1;
            self.queue.started(class, key.as_ref());
            if of == place {
                let started = self.start(number, spare, now, fx);
                if place == Place::Pool && self.queue.any() {
                    self.call_workers(Some(place), fx);
                }
                return Some(started);
            }
            if let Some(record) = self.get(number) {
                record.is_assigned = true;
            }
            self.assigned[of as usize].push_back(number);
            match of {
                // One for each: as many closures as may run at a time do run at a time.
                Place::Pool => {
                    self.runners += 1;
                    fx.runners += 1;
                }
                Place::Task if self.dispatchers < self.settings.dispatchers => {
                    self.dispatchers += 1;
                    fx.dispatchers += 1;
                }
                Place::Task => {}
            }
        }
        if place == Place::Task {
            self.dispatchers -= 1;
        }
        None
    }

    /// A closure has come to the pool, to take jobs there.
    pub(crate) fn runner_arrived(&mut self) {
        self.runners -= 1;
    }

    /// One was dropped on its way, or a dispatcher by the runtime. Jobs may wait for it.
    pub(crate) fn worker_lost(&mut self, place: Place, now: Now, fx: &mut Effects) {
        match place {
            Place::Task => self.dispatchers -= 1,
            Place::Pool => self.runners -= 1,
        }
        const SOON: u64 = 20_000_000;
        self.due.insert((now.watch + SOON, 0, Due::Workers));
        self.tick_at(now.watch + SOON, fx);
    }

    fn start(
        &mut self,
        number: u64,
        spare: &mut Option<Arc<Control>>,
        now: Now,
        fx: &mut Effects,
    ) -> Started {
        let mut control = spare.take().expect("a worker comes with one");
        let default_timeout = self.settings.timeout;
        let record = self.get(number).expect("a job in line is known");
        record.attempt += 1;
        record.started = now.wall;
        let own = Arc::get_mut(&mut control).expect("nobody knows it yet");
        (own.id, own.attempt) = (record.id, record.attempt);
        // An earlier attempt's.
        let before = record.control.replace(control.clone());
        fx.controls.extend(before);
        let record = self.get(number).expect("a job in line is known");
        let body = record.body.take().expect("a queued job has its body");
        let timeout = record
            .extra
            .as_ref()
            .and_then(|extra| extra.timeout)
            .or(default_timeout);
        self.change(number, JobState::Running, now, fx);
        if let Some(timeout) = timeout {
            self.set_due(number, now, nanos(timeout), Due::Timeout, fx);
        }
        Started {
            number,
            body,
            control,
        }
    }

    /// An attempt has ended, and all of it but its body is destroyed.
    pub(crate) fn end(&mut self, ended: Ended, now: Now, fx: &mut Effects) {
        let Ended {
            number,
            body,
            outcome,
        } = ended;
        self.clear_due(number);
        let record = self.get(number).expect("a running job is known");
        let class = record.class;
        let key = record.key().cloned();
        let (state, failure) = match (outcome, record.asked) {
            // A panic is kept, whatever the job was asked.
            (Outcome::Failed(failure), _) if failure.is_panic() => {
                (JobState::Failed, Some(failure))
            }
            (outcome, Asked::Cancel) => {
                fx.failures.extend(outcome.failure());
                (JobState::Cancelled, None)
            }
            (outcome, Asked::Timeout) => {
                fx.failures.extend(outcome.failure());
                let message = "the attempt took longer than its timeout".to_owned();
                let failure = Failure {
                    message,
                    cause: None,
                };
                (JobState::TimedOut, Some(failure))
            }
            (Outcome::Done, Asked::Nothing) => (JobState::Completed, None),
            (Outcome::Failed(failure), Asked::Nothing) => (JobState::Failed, Some(failure)),
            (Outcome::Dropped | Outcome::Lost, Asked::Nothing) => {
                let message = "the runtime was shut down".to_owned();
                let failure = Failure {
                    message,
                    cause: None,
                };
                (JobState::Cancelled, Some(failure))
            }
        };
        let asked = std::mem::replace(&mut record.asked, Asked::Nothing);
        let again = record.retry().is_some_and(|retry| {
            record.attempt < retry.attempts
                && body.is_again()
                && asked != Asked::Cancel
                && match state {
                    JobState::Failed => true,
                    JobState::TimedOut => retry.timeouts,
                    _ => false,
                }
        });
        if !record
            .control
            .as_ref()
            .is_some_and(|control| control.has_progress())
        {
            // The worker has another reference.
            record.control = None;
        }
        if state != JobState::Completed || record.attempt > 1 {
            let (number, started) = (record.attempt, record.started);
            let extra = record.extra();
            if extra.attempts.len() == ATTEMPTS_KEPT {
                extra.attempts.remove(0);
            }
            extra.attempts.push(Attempt {
                number,
                started_at: time(started),
                ended_at: time(now.wall),
                state,
                error: failure.as_ref().map(|failure| failure.message.clone()),
            });
        }
        self.running -= 1;
        self.queue.ended(class, key.as_ref());
        if again {
            let record = self.get(number).expect("looked up above");
            let pause = record
                .retry()
                .map_or(Duration::ZERO, |retry| retry.after(record.attempt));
            let slot = record.slot.clone();
            record.body = Some(body);
            fx.ends.push(End::GiveUp(slot));
            fx.failures.extend(failure);
            self.change(number, JobState::Retrying, now, fx);
            self.set_due(number, now, nanos(pause), Due::Start, fx);
        } else {
            self.finish(number, state, failure, Some(body), now, fx);
        }
    }

    /// A closure leaves the pool to others for a moment, and comes back.
    pub(crate) fn left_pool(&mut self, fx: &mut Effects) {
        if !self.assigned[Place::Pool as usize].is_empty() || self.queue.any() {
            self.runners += 1;
            fx.runners += 1;
        }
    }

    /// A worker that ends after its last job has made room for others.
    pub(crate) fn left(&mut self, fx: &mut Effects) {
        if self.queue.any() {
            self.call_workers(None, fx);
        }
    }

    /// The job has ended for good.
    fn finish(
        &mut self,
        number: u64,
        state: JobState,
        failure: Option<Failure>,
        body: Option<Body>,
        now: Now,
        fx: &mut Effects,
    ) {
        self.change(number, state, now, fx);
        let record = self.get(number).expect("its state was just changed");
        let id = record.id;
        record.ended = now.wall;
        let mut dependents = Vec::new();
        if let Some(extra) = &mut record.extra {
            dependents = std::mem::take(&mut extra.dependents);
            if let Some(batch) = &extra.batch {
                fx.batches.push((batch.clone(), id, state));
            }
        }
        if state == JobState::Completed {
            match body {
                // Not kept: what has succeeded is not tried again. What it has captured goes
                // before the value is seen.
                Some(body) if body.is_again() => {
                    fx.bodies.push(body);
                    fx.ends.push(End::Value(record.slot.clone()));
                }
                Some(body) => fx.ends.push(End::Body(body)),
                None => fx.ends.push(End::Value(record.slot.clone())),
            }
        } else {
            let (message, cause) = match failure {
                Some(failure) => (failure.message, failure.cause),
                None => (String::new(), None),
            };
            if !message.is_empty() {
                record.extra().error = Some(message.clone());
            }
            let slot = record.slot.clone();
            match body {
                // It may be tried again.
                Some(body) if body.is_again() => record.body = Some(body),
                Some(body) => fx.bodies.push(body),
                None => {}
            }
            let error = JobError::new(id, state, message, cause);
            fx.ends.push(End::Error(slot, error));
        }
        *self.ended.at(state) += 1;
        if let Some(drain) = &mut self.drain {
            drain.push((id, state));
        }
        for dependent in dependents {
            self.dependency_ended(dependent, number, id, state, now, fx);
        }
        self.finished.push_back((number, now.watch));
        self.evict(now, fx);
        if self.counts.unfinished() == 0 {
            fx.wakers.extend(self.idle.all());
        }
    }

    fn dependency_ended(
        &mut self,
        number: u64,
        other: u64,
        other_id: JobId,
        state: JobState,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(record) = self.get(number) else {
            return;
        };
        let Some(extra) = &mut record.extra else {
            return;
        };
        extra.waits_for.retain(|waits_for| *waits_for != other);
        let ready = extra.waits_for.is_empty() && extra.due.is_none() && !extra.is_due_on_wall;
        if record.state != JobState::Scheduled {
            return;
        }
        if state != JobState::Completed {
            let failure = Failure {
                message: format!("it was to run after {other_id}, which has ended as {state}"),
                cause: None,
            };
            self.cancel_waiting(number, Some(failure), now, fx);
        } else if ready {
            self.change(number, JobState::Queued, now, fx);
            self.enqueue(number, now, fx);
        }
    }

    // -----------------------------------------------------------------------
    // Asking for other things

    pub(crate) fn cancel(
        &mut self,
        id: JobId,
        reason: Reason,
        now: Now,
        fx: &mut Effects,
    ) -> Option<CancelOutcome> {
        let number = self.known(id)?.id.number();
        let record = self.get(number)?;
        match record.state {
            state if state.is_finished() => Some(CancelOutcome::TooLate(state)),
            JobState::Running => {
                if record.asked != Asked::Cancel {
                    record.asked = Asked::Cancel;
                    let control = record.control.clone().expect("a running job has one");
                    fx.cancel.push((control, reason));
                    self.emit(id, EventKind::Cancelling, now, fx);
                }
                Some(CancelOutcome::Requested)
            }
            _ => {
                let failure = (reason != Reason::Requested).then(|| Failure {
                    message: reason.to_string(),
                    cause: None,
                });
                self.cancel_waiting(number, failure, now, fx);
                Some(CancelOutcome::Cancelled)
            }
        }
    }

    fn cancel_waiting(
        &mut self,
        number: u64,
        failure: Option<Failure>,
        now: Now,
        fx: &mut Effects,
    ) {
        self.clear_due(number);
        let record = self.get(number).expect("the caller has it");
        let body = record.body.take();
        let state = record.state;
        let (class, key) = (record.class, record.key().cloned());
        if std::mem::take(&mut record.is_assigned) {
            self.running -= 1;
            self.queue.ended(class, key.as_ref());
            self.left(fx);
        } else if state == JobState::Queued {
            self.stale += 1;
        }
        self.finish(number, JobState::Cancelled, failure, body, now, fx);
        if self.stale > 64 && self.stale > self.counts.queued {
            self.stale = 0;
            let Self { queue, pages, .. } = self;
            queue.retain(|number| {
                pages
                    .get(&(number / PAGE))
                    .and_then(|page| page.get(number))
                    .is_some_and(|record| record.state == JobState::Queued && !record.is_assigned)
            });
        }
    }

    /// All jobs that have not ended.
    pub(crate) fn unfinished(&self) -> Vec<JobId> {
        self.records()
            .filter(|record| !record.state.is_finished())
            .map(|record| record.id)
            .collect()
    }

    /// Queues a job once more that has ended without a value.
    pub(crate) fn retry(
        &mut self,
        id: JobId,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), RetryRefusal> {
        let closed = self.closed;
        let number = self.known(id).ok_or(RetryRefusal::Unknown)?.id.number();
        let record = self.get(number).ok_or(RetryRefusal::Unknown)?;
        if closed {
            return Err(RetryRefusal::Closed);
        }
        if record.state == JobState::Retrying {
            // Not later, but now.
            self.clear_due(number);
            self.change(number, JobState::Queued, now, fx);
            self.enqueue(number, now, fx);
            return Ok(());
        }
        if !record.state.is_finished() || record.state == JobState::Completed {
            return Err(RetryRefusal::State(record.state));
        }
        if record.body.is_none() {
            return Err(RetryRefusal::Once);
        }
        record.ended = 0;
        let slot = record.slot.clone();
        let extra = record.extra();
        extra.error = None;
        let unique = extra.unique.as_ref().map(|unique| unique.key.clone());
        if let Some(key) = unique {
            self.unique.insert(key, number);
        }
        self.note_gone(number);
        fx.ends.push(End::Reopen(slot));
        self.change(number, JobState::Queued, now, fx);
        self.enqueue(number, now, fx);
        Ok(())
    }

    pub(crate) fn pause(&mut self, class: Option<&str>) {
        match class {
            None => self.paused = true,
            Some(class) => {
                let class = self.queue.class(class);
                self.queue.at(class).paused = true;
            }
        }
    }

    pub(crate) fn resume(&mut self, class: Option<&str>, fx: &mut Effects) {
        match class {
            None => self.paused = false,
            Some(class) => {
                let class = self.queue.class(class);
                self.queue.at(class).paused = false;
            }
        }
        self.resume_workers(fx);
    }

    pub(crate) fn set_limit(&mut self, class: &str, limit: usize, fx: &mut Effects) {
        let class = self.queue.class(class);
        self.queue.at(class).limit = limit;
        self.resume_workers(fx);
    }

    pub(crate) fn set_limit_per_key(&mut self, class: &str, limit: usize, fx: &mut Effects) {
        let class = self.queue.class(class);
        self.queue.at(class).set_limit_per_key(limit);
        self.resume_workers(fx);
    }

    fn resume_workers(&mut self, fx: &mut Effects) {
        if self.queue.any() {
            self.call_workers(None, fx);
        }
    }

    /// Accepts no more jobs; from now on each end is kept for the report.
    pub(crate) fn close(&mut self, report: bool, fx: &mut Effects) {
        self.closed = true;
        if report && self.drain.is_none() {
            self.drain = Some(Vec::new());
        }
        fx.wakers.extend(self.room.all());
    }

    pub(crate) fn take_drained(&mut self) -> Vec<(JobId, JobState)> {
        self.drain.take().unwrap_or_default()
    }

    /// Is no job left? Otherwise `waker` waits.
    pub(crate) fn poll_idle(
        &mut self,
        place: &mut line::Place,
        waker: Waker,
        fx: &mut Effects,
    ) -> Poll<()> {
        if self.counts.unfinished() == 0 {
            fx.unused.push(waker);
            fx.unused.extend(self.idle.leave(place.take()));
            return Poll::Ready(());
        }
        fx.unused.extend(self.idle.wait(place, waker));
        Poll::Pending
    }

    pub(crate) fn leave_idle(&mut self, place: line::Place, fx: &mut Effects) {
        fx.unused.extend(self.idle.leave(place));
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    // -----------------------------------------------------------------------
    // Time

    fn set_due(&mut self, number: u64, now: Now, after: u64, due: Due, fx: &mut Effects) {
        let at = now.watch.saturating_add(after);
        let Some(record) = self.get(number) else {
            return;
        };
        let extra = record.extra();
        extra.due = Some((at, due));
        if due == Due::Start {
            extra.due_at = now.wall.saturating_add(after);
        }
        self.due.insert((at, number, due));
        self.tick_at(at, fx);
    }

    fn set_due_on_wall(&mut self, number: u64, at: u64, fx: &mut Effects) {
        let Some(record) = self.get(number) else {
            return;
        };
        let extra = record.extra();
        extra.due_at = at;
        extra.is_due_on_wall = true;
        self.due_on_wall.insert((at, number));
        // It looks at the wall itself, and says when it has to look again.
        self.tick_at(0, fx);
    }

    fn clear_due(&mut self, number: u64) {
        let Some(record) = self.get(number) else {
            return;
        };
        let Some(extra) = &mut record.extra else {
            return;
        };
        let (due, at) = (extra.due.take(), extra.due_at);
        let on_wall = std::mem::take(&mut extra.is_due_on_wall);
        extra.due_at = 0;
        if let Some((at, due)) = due {
            self.due.remove(&(at, number, due));
        }
        if on_wall {
            self.due_on_wall.remove(&(at, number));
        }
    }

    fn tick_at(&mut self, at: u64, fx: &mut Effects) {
        if !self.ticker.running {
            self.ticker.running = true;
            fx.ticker = true;
        } else if at < self.ticker.until {
            fx.wakers.extend(self.ticker.waker.take());
        }
    }

    /// Does what is due. Gives for how long the ticker may sleep, in nanoseconds; `None` if there
    /// is nothing to wait for, and it is to end.
    ///
    /// `waker` is the ticker's, to be woken when something is due earlier. On the wall it looks
    /// every `step`.
    pub(crate) fn tick(
        &mut self,
        now: Now,
        waker: Waker,
        step: Option<u64>,
        fx: &mut Effects,
    ) -> Option<u64> {
        fx.unused.extend(self.ticker.waker.replace(waker));
        while let Some(&(at, number, due)) = self.due.first() {
            if at > now.watch {
                break;
            }
            self.due.pop_first();
            if due == Due::Workers {
                if !self.assigned[Place::Task as usize].is_empty() {
                    self.dispatchers += 1;
                    fx.dispatchers += 1;
                }
                if !self.assigned[Place::Pool as usize].is_empty() {
                    self.runners += 1;
                    fx.runners += 1;
                }
                self.resume_workers(fx);
                continue;
            }
            let Some(record) = self.get(number) else {
                continue;
            };
            record.extra().due = None;
            if due == Due::Timeout {
                if record.state == JobState::Running && record.asked == Asked::Nothing {
                    record.asked = Asked::Timeout;
                    let id = record.id;
                    let control = record.control.clone().expect("a running job has one");
                    fx.cancel.push((control, Reason::Deadline));
                    self.emit(id, EventKind::Cancelling, now, fx);
                }
            } else {
                self.has_come(number, now, fx);
            }
        }
        while let Some(&(at, number)) = self.due_on_wall.first() {
            if at > now.wall {
                break;
            }
            self.due_on_wall.pop_first();
            if let Some(record) = self.get(number) {
                record.extra().is_due_on_wall = false;
                self.has_come(number, now, fx);
            }
        }
        self.evict(now, fx);
        let next = self.due.first().map(|(at, ..)| at - now.watch);
        let on_wall = self
            .due_on_wall
            .first()
            .map(|(at, _)| (at - now.wall).min(step.unwrap_or(u64::MAX)));
        let keep = self
            .finished
            .front()
            .filter(|_| self.settings.keep_for < u64::MAX)
            .map(|(_, ended)| {
                let end = ended.saturating_add(self.settings.keep_for);
                // Not for each job by itself.
                end.saturating_sub(now.watch).max(1_000_000_000)
            });
        let sleep = [next, on_wall, keep].into_iter().flatten().min();
        self.ticker.running = sleep.is_some();
        self.ticker.until = now.watch.saturating_add(sleep.unwrap_or(0));
        sleep
    }

    /// The runtime has dropped the ticker.
    pub(crate) fn ticker_lost(&mut self) -> Option<Waker> {
        self.ticker.running = false;
        self.ticker.waker.take()
    }

    /// The time of a scheduled or retrying job has come.
    fn has_come(&mut self, number: u64, now: Now, fx: &mut Effects) {
        let Some(record) = self.get(number) else {
            return;
        };
        let extra = record.extra();
        extra.due_at = 0;
        let waits = !extra.waits_for.is_empty();
        if !waits && matches!(record.state, JobState::Scheduled | JobState::Retrying) {
            self.change(number, JobState::Queued, now, fx);
            self.enqueue(number, now, fx);
        }
    }

    // -----------------------------------------------------------------------
    // Forgetting

    fn evict(&mut self, now: Now, fx: &mut Effects) {
        while let Some(&(number, ended)) = self.finished.front() {
            if !self.is_gone(number) {
                let old = now.watch.saturating_sub(ended) >= self.settings.keep_for;
                let kept = self.finished.len() - self.gone_entries;
                if !old && kept <= self.settings.keep {
                    break;
                }
                self.remove(number, fx);
            }
            self.finished.pop_front();
        }
        if self.settings.keep_for < u64::MAX && !self.finished.is_empty() {
            // There may be nothing else to keep the ticker going.
            self.tick_at(u64::MAX, fx);
        }
    }

    /// A job's entry among the finished ones is not one any more.
    fn note_gone(&mut self, number: u64) {
        *self.gone.entry(number).or_default() += 1;
        self.gone_entries += 1;
    }

    /// Is the first entry of that job one that is not one any more? It is taken out then.
    fn is_gone(&mut self, number: u64) -> bool {
        let Some(entries) = self.gone.get_mut(&number) else {
            return false;
        };
        *entries -= 1;
        if *entries == 0 {
            self.gone.remove(&number);
        }
        self.gone_entries -= 1;
        true
    }

    fn remove(&mut self, number: u64, fx: &mut Effects) {
        let Some(page) = self.pages.get_mut(&(number / PAGE)) else {
            return;
        };
        let Some(record) = page.records[(number % PAGE) as usize].take() else {
            return;
        };
        page.used -= 1;
        if page.used == 0 {
            self.pages.remove(&(number / PAGE));
        }
        self.count(record.class, record.state, -1);
        let unique = record
            .extra
            .as_ref()
            .and_then(|extra| extra.unique.as_ref());
        if let Some(unique) = unique {
            if self.unique.get(&unique.key) == Some(&number) {
                self.unique.remove(&unique.key);
            }
        }
        fx.records.push(record);
    }

    /// Forgets a job that has ended.
    pub(crate) fn forget(&mut self, id: JobId, fx: &mut Effects) -> Option<bool> {
        let record = self.known(id)?;
        if !record.state.is_finished() {
            return Some(false);
        }
        let number = id.number();
        self.note_gone(number);
        self.remove(number, fx);
        Some(true)
    }

    // -----------------------------------------------------------------------
    // Events

    fn emit(&mut self, id: JobId, kind: EventKind, now: Now, fx: &mut Effects) {
        if self.subscribers.is_empty() && self.settings.history == 0 {
            return;
        }
        self.events += 1;
        let event = Event {
            number: self.events,
            at: time(now.wall),
            id,
            kind,
        };
        if self.settings.history > 0 {
            if self.history.len() == self.settings.history {
                self.history.pop_front();
            }
            self.history.push_back(event);
        }
        self.subscribers.retain(|ring| match ring.push(event) {
            Some(waker) => {
                fx.wakers.extend(waker);
                true
            }
            None => false,
        });
    }

    pub(crate) fn progressed(
        &mut self,
        id: JobId,
        fraction: Option<f64>,
        now: Now,
        fx: &mut Effects,
    ) {
        self.emit(id, EventKind::Progress { fraction }, now, fx);
    }

    /// Subscribes to the events after that number, as far as they are kept.
    pub(crate) fn subscribe(&mut self, after: Option<u64>, capacity: usize) -> Arc<Ring> {
        let mut events = VecDeque::with_capacity(capacity.clamp(1, 1024));
        if let Some(after) = after {
            let kept = self.history.iter().filter(|event| event.number > after);
            events.extend(kept.copied());
        }
        let ring = Ring::new(capacity.max(events.len()), events);
        self.subscribers.push(ring.clone());
        ring
    }

    pub(crate) fn take_subscribers(&mut self) -> Vec<Arc<Ring>> {
        std::mem::take(&mut self.subscribers)
    }

    // -----------------------------------------------------------------------
    // Looking

    pub(crate) fn find(&self, id: JobId) -> Option<(Arc<dyn AnySlot>, JobState, Option<String>)> {
        let record = self.known(id)?;
        let error = record.extra.as_ref().and_then(|extra| extra.error.clone());
        Some((record.slot.clone(), record.state, error))
    }

    pub(crate) fn state(&self, id: JobId) -> Option<JobState> {
        self.known(id).map(|record| record.state)
    }

    pub(crate) fn status(&self, id: JobId) -> Option<JobStatus> {
        self.known(id).map(|record| self.status_of(record))
    }

    fn status_of(&self, record: &Record) -> JobStatus {
        let none = Extra::default();
        let extra = record.extra.as_deref().unwrap_or(&none);
        let some = |wall: u64| (wall != 0).then(|| time(wall));
        JobStatus {
            id: record.id,
            state: record.state,
            cancelling: record.asked != Asked::Nothing,
            name: extra.name.as_ref().map(ToString::to_string),
            class: self.queue.classes[record.class as usize].name.to_string(),
            key: extra.key.as_ref().map(ToString::to_string),
            unique: extra.unique.as_ref().map(|unique| unique.key.to_string()),
            priority: record.priority,
            labels: extra.labels.iter().cloned().collect(),
            submitted_at: time(record.submitted),
            due_at: some(extra.due_at),
            started_at: some(record.started),
            ended_at: some(record.ended),
            attempt: record.attempt,
            max_attempts: record.max_attempts(),
            attempts: extra.attempts.clone(),
            error: extra.error.clone(),
            progress: record
                .control
                .as_ref()
                .and_then(|control| control.progress()),
            waits_for: extra
                .waits_for
                .iter()
                .filter_map(|number| Some(self.peek(*number)?.id))
                .collect(),
        }
    }

    /// Jobs that the filter lets through, in the order of their ids, at most `limit`; and
    /// whether there may be more after them. Looks at no more than `LOOK` jobs.
    pub(crate) fn list(
        &self,
        filter: &Filter,
        after: Option<JobId>,
        newest_first: bool,
        limit: usize,
    ) -> (Vec<JobStatus>, Option<JobId>) {
        const LOOK: usize = 4096;
        let class = match &filter.class {
            None => None,
            Some(name) => match self.queue.find(name) {
                Some(class) => Some(class),
                None => return (Vec::new(), None),
            },
        };
        let fits = |record: &&Record| {
            class.is_none_or(|class| record.class == class)
                && filter.fits_state(record.state)
                && (!filter.needs_more() || {
                    let extra = record.extra.as_deref();
                    filter.fits(
                        extra.and_then(|extra| extra.name.as_deref()),
                        extra.and_then(|extra| extra.key.as_deref()),
                        extra.map_or(&[], |extra| &extra.labels),
                    )
                })
        };
        let mut found = Vec::new();
        let mut last = None;
        let mut more = false;
        let mut look = |records: &mut dyn Iterator<Item = &Record>| {
            for (looked, record) in records.enumerate() {
                if found.len() == limit || looked == LOOK {
                    more = true;
                    break;
                }
                last = Some(record.id);
                if fits(&record) {
                    found.push(self.status_of(record));
                }
            }
        };
        match (newest_first, after.map(JobId::number)) {
            (false, after) => look(&mut self.records_from(after.map_or(0, |after| after + 1))),
            (true, None) => look(&mut self.records().rev()),
            (true, Some(after)) => look(&mut self.records_before(after)),
        }
        (found, last.filter(|_| more))
    }

    pub(crate) fn manager_status(&self) -> ManagerStatus {
        let some = |limit: usize| (limit != usize::MAX).then_some(limit);
        ManagerStatus {
            counts: self.counts,
            submitted: self.next - 1,
            ended: self.ended,
            classes: self
                .queue
                .classes
                .iter()
                .map(|class| ClassStatus {
                    name: class.name.to_string(),
                    paused: class.paused,
                    limit: some(class.limit),
                    limit_per_key: some(class.limit_per_key),
                    counts: class.counts,
                })
                .collect(),
            paused: self.paused,
            closed: self.closed,
        }
    }

    // -----------------------------------------------------------------------
    // Records

    fn insert(&mut self, number: u64, record: Box<Record>) {
        let page = self.pages.entry(number / PAGE).or_insert_with(|| Page {
            records: Box::new([const { None }; PAGE as usize]),
            used: 0,
        });
        page.used += 1;
        page.records[(number % PAGE) as usize] = Some(record);
    }

    fn get(&mut self, number: u64) -> Option<&mut Record> {
        let page = self.pages.get_mut(&(number / PAGE))?;
        page.records[(number % PAGE) as usize].as_deref_mut()
    }

    fn peek(&self, number: u64) -> Option<&Record> {
        self.pages.get(&(number / PAGE))?.get(number)
    }

    /// The record of a job of this manager.
    fn known(&self, id: JobId) -> Option<&Record> {
        self.peek(id.number()).filter(|record| record.id == id)
    }

    fn records(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.pages.values().flat_map(Page::records)
    }

    fn records_from(&self, number: u64) -> impl Iterator<Item = &Record> {
        self.pages
            .range(number / PAGE..)
            .flat_map(|(_, page)| page.records())
            .skip_while(move |record| record.id.number() < number)
    }

    fn records_before(&self, number: u64) -> impl Iterator<Item = &Record> {
        self.pages
            .range(..=number / PAGE)
            .rev()
            .flat_map(|(_, page)| page.records().rev())
            .skip_while(move |record| record.id.number() >= number)
    }

    /// The one place where a job's state changes after it was accepted.
    fn change(&mut self, number: u64, to: JobState, now: Now, fx: &mut Effects) {
        let record = self.get(number).expect("the caller has it");
        let from = std::mem::replace(&mut record.state, to);
        let (id, class) = (record.id, record.class);
        self.count(class, from, -1);
        self.count(class, to, 1);
        self.emit(
            id,
            EventKind::State {
                from: Some(from),
                to,
            },
            now,
            fx,
        );
        self.call_for_room(fx);
    }

    fn count(&mut self, class: u32, state: JobState, by: i64) {
        let add = |count: &mut u64| *count = count.wrapping_add_signed(by);
        add(self.counts.at(state));
        add(self.queue.at(class).counts.at(state));
    }
}

impl Page {
    fn get(&self, number: u64) -> Option<&Record> {
        self.records[(number % PAGE) as usize].as_deref()
    }

    fn records(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.records.iter().filter_map(Option::as_deref)
    }
}

impl Outcome {
    fn failure(self) -> Option<Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryRefusal {
    Unknown,
    Closed,
    State(JobState),
    Once,
}

//! All jobs of a manager, behind one lock, and every change of their state.
//!
//! No user code runs under the lock: no body, value or error is dropped, no waker cloned, called or
//! dropped, no token cancelled, no runtime called. The effects of a change are collected in
//! [`Effects`] and performed once the lock is released, in a fixed order: first the job's values
//! are destroyed, then its end is told. For a job that [completes](Store::completes) they are
//! destroyed before that step, and its value appears in the step that completes it: a thread that
//! sees the completed state can have the value.
//!
//! Each method is one step. Between two steps every job is in one state, counts in that state, and
//! is in every index of that state.

mod arriving;
mod asking;
mod effects;
mod events;
mod forgetting;
mod incoming;
mod looking;
mod record;
mod records;
mod running;
mod time;
mod unique;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    task::Waker,
    time::Duration,
};

use self::{record::Change, records::Records, unique::Holders};
use crate::{
    JobId, JobState, Retry,
    clock::Now,
    event::{Event, EventKind, Ring},
    inbox::{Block, Inbox},
    line::Line,
    queue::{Queue, Rank},
    snapshot::Counts,
};

pub use self::asking::CancelOutcome;
pub(crate) use self::{
    asking::RetryRefusal,
    effects::{Effects, Ended, Failed, Outcome, Started},
    incoming::Refused,
    record::{New, Record},
};

/// How many attempts of a job that have ended are kept, the last ones.
pub const ATTEMPTS_KEPT: usize = 20;

pub(crate) struct Store {
    pub(crate) settings: Settings,
    inbox: Arc<Inbox>,
    /// The inbox is open.
    is_open: bool,
    /// Jobs that were taken out of the inbox and are not moved in yet: none while it is closed. Each
    /// holder of the lock but a dispatcher moves them in first.
    arriving: Block,
    records: Records,

    pub(crate) queue: Queue,
    /// Entries of the queue whose jobs were cancelled.
    stale: u64,
    running: usize,
    counts: Counts,
    ended: Counts,
    /// Jobs that a worker of the other place has taken from the queue, and that wait for a worker of
    /// their own place. Until that starts them they are in state queued, and count among the running
    /// ones of their limits.
    assigned: [VecDeque<Rank>; 2],
    /// Dispatchers: tasks that start jobs and poll them for the first time.
    dispatchers: usize,
    /// Closures that are on their way to the pool, to take jobs there.
    runners: usize,
    paused: bool,
    closed: bool,

    /// Jobs that wait for another one which has ended. Empty between two steps.
    to_tell: VecDeque<Ending>,

    due: BTreeSet<(u64, u64, Due)>,
    /// By the clock on the wall.
    due_on_wall: BTreeSet<(u64, u64)>,
    ticker: Ticker,

    /// Jobs that have ended, oldest first, and when.
    finished: VecDeque<(u64, u64)>,
    /// Of these, jobs that were forgotten or tried again since, with the number of their entries.
    gone: HashMap<u64, u32>,
    /// The sum of these entries.
    gone_entries: usize,
    unique: HashMap<Arc<str>, Holders>,

    /// Waiters for room in the queue.
    room: Line,
    /// Waiters until no job is left that could end by itself.
    idle: Line,
    /// The first job that was not held when somebody waited for that.
    not_held: Option<u64>,
    #[cfg(test)]
    searches: u32,
    /// How often a dispatcher looked for the next part of what has arrived.
    #[cfg(test)]
    parts: u32,
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
    pub(crate) retry: Retry,
}

/// A kind of deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A scheduled or retrying job must be queued.
    Start,
    /// The attempt that runs has taken too long.
    Timeout,
    /// The pool had no thread.
    Workers,
}

/// A job has ended, and a job that waits for it must be told.
struct Ending {
    /// The job that waits.
    dependent: u64,
    /// The job that has ended.
    other: JobId,
    state: JobState,
}

#[derive(Default)]
struct Ticker {
    running: bool,
    waker: Option<Waker>,
    /// Until when it sleeps.
    until: u64,
}

impl Store {
    pub(crate) fn new(settings: Settings, ageing: u64, inbox: Arc<Inbox>) -> Self {
        Self {
            settings,
            inbox,
            is_open: false,
            arriving: Block::new(),
            records: Records::default(),
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
            to_tell: VecDeque::new(),
            due: BTreeSet::new(),
            due_on_wall: BTreeSet::new(),
            ticker: Ticker::default(),
            finished: VecDeque::new(),
            gone: HashMap::new(),
            gone_entries: 0,
            unique: HashMap::new(),
            room: Line::default(),
            idle: Line::default(),
            not_held: None,
            #[cfg(test)]
            searches: 0,
            #[cfg(test)]
            parts: 0,
            drain: None,
            subscribers: Vec::new(),
            history: VecDeque::new(),
            events: 0,
        }
    }

    pub(super) fn get(&mut self, number: u64) -> Option<&mut Record> {
        self.records.get_mut(number)
    }

    pub(super) fn peek(&self, number: u64) -> Option<&Record> {
        self.records.get(number)
    }

    /// The record of a job of this manager.
    pub(super) fn known(&self, id: JobId) -> Option<&Record> {
        self.peek(id.number()).filter(|record| record.id == id)
    }

    pub(super) fn change(&mut self, number: u64, to: JobState, now: Now, fx: &mut Effects) {
        let record = self.get(number).expect("the caller has it");
        let change = record.change(to);
        self.note(change, now, fx);
    }

    /// The one place where the change of an accepted job's state is counted and told.
    fn note(&mut self, change: Change, now: Now, fx: &mut Effects) {
        let Change {
            id,
            class,
            from,
            to,
        } = change;
        let of_class = self.queue.counts(class);
        for counts in [&mut self.counts, of_class] {
            *counts.at(from) -= 1;
            *counts.at(to) += 1;
        }
        let kind = EventKind::State {
            from: Some(from),
            to,
        };
        self.emit(id, kind, now, fx);
        if waits(to) && !waits(from) {
            // There is less room than the inbox was told.
            self.close_inbox();
        }
        self.call_for_room(fx);
        self.call_idle(fx);
    }

    pub(super) fn count(&mut self, class: u32, state: JobState, by: i64) {
        let add = |count: &mut u64| *count = count.wrapping_add_signed(by);
        add(self.counts.at(state));
        add(self.queue.counts(class).at(state));
    }
}

/// Does a job in that state count against the limit of the queue?
fn waits(state: JobState) -> bool {
    matches!(
        state,
        JobState::Scheduled | JobState::Queued | JobState::Retrying
    )
}

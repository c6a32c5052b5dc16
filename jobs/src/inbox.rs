//! How plain jobs enter the store without its lock: [`Inbox`].
//!
//! While all dispatchers are at work, a future with no options but a priority needs no wake-up and
//! no lookup. Its submitter leaves it here, under a lock that is held for a few instructions. The
//! next thread that takes the store's lock first moves it into the store, so no thread finds the
//! store without a job that was submitted before. So submitters and workers seldom wait for each
//! other.
//!
//! A worker that only looks for its next job does not need what has just arrived while older jobs
//! wait, and [leaves it](Inbox::is_pressing) until a batch is there. So the inbox, and the memory of
//! the jobs in it, move between the processors once for a batch.
//!
//! The store says when it is [open](Inbox::open). A state in which a new job needs an event at
//! once, or a worker to be called, [closes](Inbox::close) it. A job that finds the inbox closed
//! goes directly to the store. The inbox is locked under the store's lock, never the other way
//! round.

use std::mem;

use crate::{
    JobId,
    clock::Now,
    padded::Padded,
    store::New,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        lock,
    },
};

/// A worker takes so many jobs at once, if it has others to run.
const BATCH: usize = 64;

pub(crate) struct Inbox {
    /// Has a job arrived? A hint for the holder of the store's lock.
    any: AtomicBool,
    /// Is a batch there, or a job that is to overtake others? A hint for workers.
    pressing: AtomicBool,
    /// Is it open? A hint for submitters.
    open: AtomicBool,
    /// Apart from the hints, which each worker reads for each job.
    state: Padded<Mutex<State>>,
}

struct State {
    ids: Ids,
    open: bool,
    /// How many more jobs may arrive before the queue is full.
    room: u64,
    arrived: Vec<Arrived>,
}

/// Makes the ids of a manager's jobs, in the order of their submission.
struct Ids {
    /// Tells managers apart.
    manager: u32,
    next: u64,
    last_millis: u64,
}

/// A job that was submitted, and when.
pub(crate) struct Arrived {
    pub(crate) id: JobId,
    pub(crate) new: New,
    pub(crate) at: Now,
}

impl Inbox {
    /// It is closed.
    pub(crate) fn new(manager: u32) -> Self {
        Self {
            any: AtomicBool::new(false),
            pressing: AtomicBool::new(false),
            open: AtomicBool::new(false),
            state: Padded(Mutex::new(State {
                ids: Ids {
                    manager,
                    next: 1,
                    last_millis: 0,
                },
                open: false,
                room: 0,
                arrived: Vec::new(),
            })),
        }
    }

    /// May it be open? Saves the caller a read of the clock.
    pub(crate) fn may_be_open(&self) -> bool {
        // Relaxed: a hint, which `put` makes sure of.
        self.open.load(Ordering::Relaxed)
    }

    /// Leaves a job for the store. Returns the job if it has to go to the store directly.
    pub(crate) fn put(&self, new: New, at: Now) -> Result<JobId, New> {
        let mut state = lock(&self.state);
        if !state.open || state.room == 0 {
            return Err(new);
        }
        state.room -= 1;
        let id = state.ids.next(at);
        let overtakes = new.priority > 0;
        state.arrived.push(Arrived { id, new, at });
        let arrived = state.arrived.len();
        // Relaxed: a hint. It is set at each multiple, as the inbox may have been closed and opened.
        if overtakes || arrived % BATCH == 0 {
            self.pressing.store(true, Ordering::Relaxed);
        }
        // The hints are written only if they change, as each worker reads them for each job. Under
        // the lock, the flag is set for as long as a job is there: see `take_of`.
        if arrived == 1 {
            // Release: pairs with the load in `has_any`. A thread that learnt of this job, or of a
            // later one, from its submitter and then locks the store sees the flag.
            self.any.store(true, Ordering::Release);
        }
        Ok(id)
    }

    // -----------------------------------------------------------------------
    // Under the store's lock

    /// The id of a job that goes directly to the store, after the store has [taken](Self::take) all
    /// earlier ones.
    pub(crate) fn next_id(&self, at: Now) -> JobId {
        lock(&self.state).ids.next(at)
    }

    /// How many ids it has given to jobs that are in the store. More jobs may arrive at any moment.
    pub(crate) fn given(&self) -> u64 {
        let state = lock(&self.state);
        state.ids.next - 1 - state.arrived.len() as u64
    }

    pub(crate) fn has_any(&self) -> bool {
        // Acquire: pairs with the store in `put`.
        self.any.load(Ordering::Acquire)
    }

    /// Does a worker need what has arrived although older jobs wait? Otherwise these come first, if
    /// none has a negative priority.
    pub(crate) fn is_pressing(&self) -> bool {
        // Relaxed: a hint.
        self.pressing.load(Ordering::Relaxed)
    }

    /// Takes all arrived jobs, in exchange for an empty list.
    pub(crate) fn take(&self, list: &mut Vec<Arrived>) {
        let mut state = lock(&self.state);
        self.take_of(&mut state, list);
    }

    fn take_of(&self, state: &mut State, list: &mut Vec<Arrived>) {
        mem::swap(&mut state.arrived, list);
        // Relaxed: they are set and cleared only under the lock, so no job is lost.
        self.any.store(false, Ordering::Relaxed);
        self.pressing.store(false, Ordering::Relaxed);
    }

    /// Lets so many jobs in.
    pub(crate) fn open(&self, room: u64) {
        let mut state = lock(&self.state);
        (state.open, state.room) = (true, room);
        // Relaxed: a hint.
        self.open.store(true, Ordering::Relaxed);
    }

    /// Lets no more jobs in, and takes those that have arrived.
    pub(crate) fn close(&self, list: &mut Vec<Arrived>) {
        let mut state = lock(&self.state);
        state.open = false;
        // Relaxed: a hint.
        self.open.store(false, Ordering::Relaxed);
        self.take_of(&mut state, list);
    }
}

impl Ids {
    fn next(&mut self, at: Now) -> JobId {
        let number = self.next;
        self.next += 1;
        // The wall clock may be set back; ids stay in order.
        self.last_millis = self.last_millis.max(at.wall / 1_000_000);
        JobId::new(self.last_millis, self.manager, number)
    }
}

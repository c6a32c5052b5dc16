//! The way of plain jobs into the store, past its lock: [`Inbox`].
//!
//! While as many dispatchers are at work as there may be, a future that says nothing about itself
//! but its priority needs nobody to be called, and nothing to be looked up. Its submitter leaves
//! it here, under a lock that is held for a few instructions, and whoever takes the store's lock
//! next brings it in before anything else: nobody finds the store without a job that was
//! submitted before. So a thread that submits and one that runs jobs seldom wait for each other.
//!
//! The store says when it is [open](Inbox::open). Whatever would have to be told of a new job at
//! once, or would have to call somebody for it, [closes](Inbox::close) it; a job that finds it
//! closed goes by the store. It is locked under the store's lock, and never the other way round.

use std::mem;

use crate::{
    JobId,
    clock::Now,
    store::New,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        lock,
    },
};

pub(crate) struct Inbox {
    /// Is there anything? A hint for whoever holds the store's lock.
    any: AtomicBool,
    /// Is it open? A hint for submitters.
    open: AtomicBool,
    state: Mutex<State>,
}

struct State {
    ids: Ids,
    open: bool,
    /// So many jobs may come before the queue is full.
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
            open: AtomicBool::new(false),
            state: Mutex::new(State {
                ids: Ids {
                    manager,
                    next: 1,
                    last_millis: 0,
                },
                open: false,
                room: 0,
                arrived: Vec::new(),
            }),
        }
    }

    /// May it be open? Saves who asks from reading the clock for nothing.
    pub(crate) fn may_be_open(&self) -> bool {
        // Relaxed: a hint, which `put` makes sure of.
        self.open.load(Ordering::Relaxed)
    }

    /// Leaves a job for the store. It comes back if it has to go there by itself.
    pub(crate) fn put(&self, new: New, at: Now) -> Result<JobId, New> {
        let mut state = lock(&self.state);
        if !state.open || state.room == 0 {
            return Err(new);
        }
        state.room -= 1;
        let id = state.ids.next(at);
        state.arrived.push(Arrived { id, new, at });
        // Release: pairs with the load in `has_any`. Who has learnt of this job from its
        // submitter, and then locks the store, sees that there is something.
        self.any.store(true, Ordering::Release);
        Ok(id)
    }

    // -----------------------------------------------------------------------
    // Under the store's lock

    /// The id of a job that goes by the store, which has [taken](Self::take) all that came
    /// before.
    pub(crate) fn next_id(&self, at: Now) -> JobId {
        lock(&self.state).ids.next(at)
    }

    /// How many ids it has given to jobs that the store has: others may arrive at any moment.
    pub(crate) fn given(&self) -> u64 {
        let state = lock(&self.state);
        state.ids.next - 1 - state.arrived.len() as u64
    }

    pub(crate) fn has_any(&self) -> bool {
        // Acquire: pairs with the store in `put`.
        self.any.load(Ordering::Acquire)
    }

    /// Takes all that has arrived, in exchange for an empty list.
    pub(crate) fn take(&self, list: &mut Vec<Arrived>) {
        let mut state = lock(&self.state);
        self.take_of(&mut state, list);
    }

    fn take_of(&self, state: &mut State, list: &mut Vec<Arrived>) {
        mem::swap(&mut state.arrived, list);
        // Relaxed: it is set and cleared under the lock alone, so that none is lost.
        self.any.store(false, Ordering::Relaxed);
    }

    /// Lets so many jobs in.
    pub(crate) fn open(&self, room: u64) {
        let mut state = lock(&self.state);
        (state.open, state.room) = (true, room);
        // Relaxed: a hint.
        self.open.store(true, Ordering::Relaxed);
    }

    /// Lets none in any more, and takes what has arrived.
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

//! How plain jobs enter the store without its lock: [`Inbox`].
//!
//! While all dispatchers are at work, a future with no options but a priority needs no wake-up and
//! no lookup. Its submitter leaves it here, under a lock that is held for a few instructions. The
//! next thread that takes the store's lock first moves it into the store, so no thread finds the
//! store without a job that was submitted before. So submitters and workers seldom wait for each
//! other.
//!
//! A worker that only looks for its next job does not need what has arrived while older jobs wait,
//! and leaves it until none does, unless [one of them overtakes](Inbox::is_pressing). So the inbox,
//! and the memory of the jobs in it, move between the processors once for a [block](Block) of jobs.
//!
//! The store says when it is [open](Inbox::open). A state in which a new job needs an event at
//! once, or a worker to be called, [closes](Inbox::close) it. A job that finds the inbox closed
//! goes directly to the store. The inbox is locked under the store's lock, never the other way
//! round.

use std::{collections::VecDeque, mem};

use crate::{
    JobId,
    clock::Now,
    padded::Padded,
    store::New,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        lock,
    },
};

/// Jobs in a block, at least and at most. A block is as large as all before it together: one list
/// would be copied each time that it grows, and many small blocks would be many allocations. Models
/// have few jobs, and shall have blocks.
const BLOCK: [usize; 2] = if cfg!(fourway_shuttle) {
    [1, 2]
} else {
    [64, 4096]
};

/// An empty block is kept if it is not larger. Others are the memory of a burst.
pub(crate) const KEPT: usize = 1024;

pub(crate) struct Inbox {
    /// Has a job arrived? A hint for the holder of the store's lock.
    any: AtomicBool,
    /// Is there a job that is to overtake others? A hint for workers.
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
    /// The jobs, oldest first. All blocks but the last are full.
    blocks: VecDeque<Block>,
    /// How many jobs there are.
    arrived: usize,
    /// An empty block, for the next jobs.
    spare: Block,
}

/// Jobs in the order of their arrival. It does not grow.
pub(crate) type Block = VecDeque<Arrived>;

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
                blocks: VecDeque::new(),
                arrived: 0,
                spare: Block::new(),
            })),
        }
    }

    /// May it be open? Saves the caller a read of the clock.
    #[inline]
    pub(crate) fn may_be_open(&self) -> bool {
        // Relaxed: a hint, which `put` makes sure of.
        self.open.load(Ordering::Relaxed)
    }

    /// Enters it, to [leave](Entered::put) a job; `None` if the job has to go to the store directly.
    ///
    /// This and the next step are inlined into the caller, so that the job's parts go from its
    /// registers to their place: a copy of what was written just before, in other pieces, waits for
    /// these writes.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        let state = lock(&self.state);
        (state.open && state.room > 0).then_some(Entered { inbox: self, state })
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
        state.ids.next - 1 - state.arrived as u64
    }

    pub(crate) fn has_any(&self) -> bool {
        // Acquire: pairs with the store in `Entered::put`.
        self.any.load(Ordering::Acquire)
    }

    /// Does a worker need what has arrived although older jobs wait? Otherwise these come first, if
    /// none of them has a negative priority.
    pub(crate) fn is_pressing(&self) -> bool {
        // Relaxed: a hint.
        self.pressing.load(Ordering::Relaxed)
    }

    /// Takes the jobs that have arrived first, in exchange for an empty block. `None` if there are
    /// none, or if all of them are needed, as one is to overtake others.
    pub(crate) fn take_block(&self, empty: Block) -> Option<Block> {
        let mut state = lock(&self.state);
        // Relaxed: it is written under the lock only. Asked here, as it may just have arrived.
        if self.pressing.load(Ordering::Relaxed) {
            return None;
        }
        let block = state.blocks.pop_front()?;
        state.arrived -= block.len();
        let gone = self.took(&mut state, empty);
        drop(state);
        drop(gone);
        Some(block)
    }

    /// Takes all arrived jobs, oldest first, in exchange for an empty block.
    pub(crate) fn take(&self, empty: Block) -> VecDeque<Block> {
        let mut state = lock(&self.state);
        let (all, gone) = self.take_of(&mut state, empty);
        drop(state);
        drop(gone);
        all
    }

    fn take_of(&self, state: &mut State, empty: Block) -> (VecDeque<Block>, Block) {
        let all = mem::take(&mut state.blocks);
        state.arrived = 0;
        (all, self.took(state, empty))
    }

    /// Jobs were taken out. Gives a block to be freed without the lock.
    fn took(&self, state: &mut State, empty: Block) -> Block {
        let is_empty = state.arrived == 0;
        // Relaxed: they are set and cleared only under the lock, so no job is lost.
        self.any.store(!is_empty, Ordering::Relaxed);
        if is_empty {
            self.pressing.store(false, Ordering::Relaxed);
        }
        debug_assert!(empty.is_empty());
        match empty.capacity() {
            1..=KEPT => mem::replace(&mut state.spare, empty),
            _ => empty,
        }
    }

    /// Lets so many jobs in.
    pub(crate) fn open(&self, room: u64) {
        let mut state = lock(&self.state);
        (state.open, state.room) = (true, room);
        // Relaxed: a hint.
        self.open.store(true, Ordering::Relaxed);
    }

    /// Lets no more jobs in, and takes those that have arrived.
    pub(crate) fn close(&self, empty: Block) -> VecDeque<Block> {
        let mut state = lock(&self.state);
        state.open = false;
        // Relaxed: a hint.
        self.open.store(false, Ordering::Relaxed);
        let (all, gone) = self.take_of(&mut state, empty);
        drop(state);
        drop(gone);
        all
    }
}

/// The inbox, locked, with room for a job.
pub(crate) struct Entered<'a> {
    inbox: &'a Inbox,
    state: MutexGuard<'a, State>,
}

impl Entered<'_> {
    /// Leaves a job for the store.
    #[inline]
    pub(crate) fn put(self, new: New, at: Now) -> JobId {
        let Self { inbox, mut state } = self;
        state.room -= 1;
        let id = state.ids.next(at);
        let overtakes = new.priority > 0;
        state.last().push_back(Arrived { id, new, at });
        state.arrived += 1;
        // Relaxed: a hint.
        if overtakes {
            inbox.pressing.store(true, Ordering::Relaxed);
        }
        // The hints are written only if they change, as each worker reads them for each job. Under
        // the lock, the flag is set for as long as a job is there: see `take_of`.
        if state.arrived == 1 {
            // Release: pairs with the load in `has_any`. A thread that learnt of this job, or of a
            // later one, from its submitter and then locks the store sees the flag.
            inbox.any.store(true, Ordering::Release);
        }
        id
    }
}

impl State {
    /// A block with room.
    #[inline]
    fn last(&mut self) -> &mut Block {
        let is_full = |block: &Block| block.len() == block.capacity();
        if self.blocks.back().is_none_or(is_full) {
            self.add_block();
        }
        self.blocks.back_mut().expect("there is one")
    }

    #[inline(never)]
    fn add_block(&mut self) {
        let [least, most] = BLOCK;
        let mut block = mem::take(&mut self.spare);
        if block.capacity() == 0 {
            block = Block::with_capacity(self.arrived.clamp(least, most));
        }
        self.blocks.push_back(block);
    }
}

impl Ids {
    #[inline]
    fn next(&mut self, at: Now) -> JobId {
        let number = self.next;
        self.next += 1;
        // The wall clock may be set back; ids stay in order.
        self.last_millis = self.last_millis.max(at.wall / 1_000_000);
        JobId::new(self.last_millis, self.manager, number)
    }
}

//! A small runtime with a place for each bug: [`Broken`].
//!
//! Without a bug ([`Bug::None`]) it keeps the contract; that is checked too. It is
//! written to be read and broken, not to be fast: boxed futures, one queue, a lock
//! for everything.

mod block_on;
mod cell;
mod executor;
mod join;
mod life;
mod offload;
mod spawn;
mod task;
mod time;

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
    thread::{self, ThreadId},
    time::Duration,
};

use fourway_adapt::{ThreadGroup, fork::Process, pool::Pool, timer::Timers};
use fourway_core::implement::Registration;

use crate::{
    bugs::Bug,
    odd::{self, Odd},
};

use self::cell::Cell;

pub(crate) struct Broken {
    shared: Arc<Shared>,
    /// For [`Bug::FirstHandleOwns`].
    first: bool,
}

impl Clone for Broken {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            first: false,
        }
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broken")
            .field("bug", &self.shared.inner.bug)
            .finish_non_exhaustive()
    }
}

/// Dropped with the last handle, which shuts down the runtime.
struct Shared {
    inner: Arc<Inner>,
    pool: Pool,
    timers: Timers,
    registration: Registration,
    builder: ThreadId,
    keep_alive: Duration,
}

struct Inner {
    bug: Bug,
    /// In a forked child none of it is used.
    process: Process,
    state: Mutex<State>,
    work: Condvar,
    ended: Condvar,
    threads: ThreadGroup,
    /// For [`Bug::OneWakerForAll`].
    all: OnceLock<Waker>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Cell>>,
    tasks: Vec<Weak<Cell>>,
    /// The tasks that existed when it was closed.
    doomed: Vec<Weak<Cell>>,
    /// For [`Bug::LostTaskKept`] and [`Bug::OneWakerForAll`].
    kept: Vec<Arc<Cell>>,
    workers: usize,
    polling: usize,
    surplus: usize,
    /// Threads in `block_on`, for [`Bug::CallerDriven`].
    blockers: usize,
    /// Pushes from outside, for [`Bug::NotifyLost`].
    pushes: usize,
    shut: bool,
    /// Accepts no tasks; destroys instead of polling.
    closing: bool,
    /// Workers leave when the queue is empty.
    closed: bool,
}

impl State {
    fn pop(&mut self) -> Option<Arc<Cell>> {
        if odd::is(Odd::RandomOrder) {
            return self.queue.remove(odd::pick(self.queue.len()));
        }
        self.queue.pop_front()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static ON_WORKER: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// For [`Bug::LifoSlot`] and [`Bug::SlotNotEmptied`].
    static SLOT: RefCell<Option<Arc<Cell>>> = const { RefCell::new(None) };
    /// For [`Bug::PanicReachesWaker`].
    static INLINE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// For [`Bug::NeedsThreadLocal`], [`Bug::EnteringNeedsThreadLocal`] and
    /// [`Bug::HelpNeedsThreadLocal`]: has a destructor.
    static LOCAL: Box<u8> = Box::new(0);
    /// For [`Bug::TaskDiesWithThread`].
    static ALIVE: Alive = Alive(Arc::new(AtomicBool::new(true)));
}

struct Alive(Arc<AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Runs on each entry into the runtime.
fn enter(bug: Bug) {
    match bug {
        Bug::NeedsThreadLocal => LOCAL.with(|_| ()),
        Bug::PanicsWhileUnwinding => assert!(!thread::panicking(), "the lock is poisoned"),
        _ => {}
    }
}

/// For [`Bug::RootStarvesTasks`]: roots that are not parked.
static ROOTS: AtomicUsize = AtomicUsize::new(0);
/// For [`Bug::WakesUnderLock`].
static SPAWNING: Mutex<()> = Mutex::new(());
/// For [`Bug::SpawnNeedsPollLock`].
static POLLING: Mutex<()> = Mutex::new(());

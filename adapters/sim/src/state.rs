//! The whole state of a simulation, under one lock.
//!
//! No user code runs under it: futures, closures, wakers and destructors are moved out first.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::Location,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    task::Waker,
    thread::{JoinHandle, Thread, ThreadId},
    time::Instant,
};

use fourway_core::implement::{Extensions, RuntimeId, fork::Process};

use crate::{
    builder::Config,
    carrier::Carrier,
    failure::{FailureKind, Found},
    faults::Faulty,
    joins::Joins,
    life::Life,
    offload::{Job, Pool},
    schedule::Schedule,
    spawn::TaskCell,
    timer::nanos,
    trace::{Action, Trace, Unit, UnitId, UnitKind},
};

pub(crate) type Guard<'a> = MutexGuard<'a, State>;

/// The state that the handles, threads and tasks of a simulation share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) id: RuntimeId,
    /// In any other process nothing of it is touched (FK-1, forked children).
    pub(crate) process: Process,
    /// When the virtual clock began.
    pub(crate) base: Instant,
    pub(crate) state: Mutex<State>,
    /// Signalled when a run is over.
    pub(crate) finished: Condvar,
    pub(crate) joins: Joins,
    /// What other crates keep with it: closed when its shutdown begins.
    pub(crate) extensions: Extensions,
}

/// The phase of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// Nothing new is accepted; suspended futures are destroyed; the rest may end.
    Closing,
    /// Threads that would wait are told that it is over.
    Evicting,
    /// Nothing is left of the run, or it was given up.
    Over,
}

pub(crate) struct State {
    /// Is it a run, in which nothing happens but by turns, and time is virtual?
    pub(crate) strict: bool,
    pub(crate) phase: Phase,
    /// Are new tasks and closures refused?
    pub(crate) closed: bool,
    /// The carrier that has the turn.
    pub(crate) holder: Option<u32>,
    /// Counts hand-overs, for the watch.
    pub(crate) epoch: u64,
    pub(crate) next_unit: u32,
    pub(crate) next_carrier: u32,
    pub(crate) carriers: BTreeMap<u32, Arc<Carrier>>,
    /// Workers that have nothing to do.
    pub(crate) free_workers: Vec<Arc<Carrier>>,
    /// Workers in the middle of a poll, but for those in `block_in_place`.
    pub(crate) busy: usize,
    /// Tasks that are ready.
    pub(crate) tasks: Vec<Arc<TaskCell>>,
    /// Threads and closures that are ready.
    pub(crate) threads: Vec<Runnable>,
    /// All tasks that have not ended.
    pub(crate) alive: BTreeMap<u32, Weak<TaskCell>>,
    /// The nodes of a simulated network, by the units that run on them.
    pub(crate) lives: BTreeMap<u32, Arc<Life>>,
    /// Tasks that must be destroyed, in this order, before anything else is done.
    pub(crate) doomed: VecDeque<Arc<TaskCell>>,
    /// Carriers that wait for a wake.
    pub(crate) blocked: BTreeSet<u32>,
    pub(crate) pool: Pool,
    pub(crate) clock: u64,
    pub(crate) timers: BTreeMap<(u64, u64), Due>,
    pub(crate) next_timer: u64,
    pub(crate) schedule: Box<dyn Schedule>,
    pub(crate) faults: Faulty,
    pub(crate) trace: Trace,
    pub(crate) current: Option<UnitId>,
    /// The unit that has just let others go first.
    pub(crate) gave_way: Option<UnitId>,
    pub(crate) steps: u64,
    /// When to look next whether the main closure waits in vain, on the clock.
    pub(crate) look_at: u64,
    /// At which step something was last achieved.
    pub(crate) progress: u64,
    pub(crate) evictions: u32,
    pub(crate) closing_jumps: u32,
    pub(crate) found: Option<Found>,
    /// The units that have asked to block in async code, and where.
    pub(crate) refusals: Vec<(Option<UnitId>, &'static Location<'static>)>,
    /// Wakers of the waiters for the end of running work.
    pub(crate) end_wakers: Vec<Waker>,
    /// The thread that watches an open simulation.
    pub(crate) watch: Option<Thread>,
    pub(crate) watching: Option<JoinHandle<()>>,
    /// The thread of the pool that ended last, or is about to: it waits for the one before.
    pub(crate) ended: Option<JoinHandle<()>>,
    /// The thread that it waits for.
    pub(crate) awaited: Option<ThreadId>,
    /// Has the work that was there at the close been dropped?
    pub(crate) swept: bool,
    /// Are timers being fired?
    pub(crate) firing: bool,
}

/// The action when its time has come.
pub(crate) enum Due {
    Wake(Waker),
    /// A fault has held it up.
    Ready(Held),
}

pub(crate) enum Held {
    Task(Arc<TaskCell>),
    Thread(Runnable),
}

/// A thread or a closure that is ready.
pub(crate) enum Runnable {
    Resume(Arc<Carrier>),
    Start(Arc<dyn Job>),
}

impl Runnable {
    pub(crate) fn id(&self) -> UnitId {
        match self {
            Self::Resume(carrier) => carrier.unit(),
            Self::Start(job) => job.id(),
        }
    }
}

/// A lock under which nothing panics.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub(crate) fn new(config: Config, id: RuntimeId) -> Self {
        let state = State {
            strict: false,
            phase: Phase::Running,
            closed: false,
            holder: None,
            epoch: 0,
            next_unit: 0,
            next_carrier: 0,
            carriers: BTreeMap::new(),
            free_workers: Vec::new(),
            busy: 0,
            tasks: Vec::new(),
            threads: Vec::new(),
            alive: BTreeMap::new(),
            lives: BTreeMap::new(),
            doomed: VecDeque::new(),
            blocked: BTreeSet::new(),
            pool: Pool::default(),
            clock: 0,
            timers: BTreeMap::new(),
            next_timer: 0,
            schedule: config.schedule(),
            faults: Faulty::new(&config),
            trace: Trace::new(config.trace_limit),
            current: None,
            gave_way: None,
            steps: 0,
            look_at: nanos(config.stuck_after),
            progress: 0,
            evictions: 0,
            closing_jumps: 0,
            found: None,
            refusals: Vec::new(),
            end_wakers: Vec::new(),
            watch: None,
            watching: None,
            ended: None,
            awaited: None,
            swept: false,
            firing: false,
        };
        Self {
            config,
            id,
            process: Process::this(),
            base: Instant::now(),
            state: Mutex::new(state),
            finished: Condvar::new(),
            joins: Joins::default(),
            extensions: Extensions::new(),
        }
    }

    pub(crate) fn lock(&self) -> Guard<'_> {
        lock(&self.state)
    }

    /// Is this a forked child of the process that the simulation is of? Then its threads are not
    /// there, and its lock may be held for ever.
    pub(crate) fn is_inherited(&self) -> bool {
        !self.process.is_this()
    }

    /// Is a run being ended?
    pub(crate) fn is_ending(&self) -> bool {
        let state = self.lock();
        state.strict && state.phase >= Phase::Evicting
    }

    /// The unit that the calling thread runs.
    pub(crate) fn current_unit(&self, state: &State) -> Option<UnitId> {
        if state.firing {
            None
        } else if state.strict {
            state.current
        } else {
            self.here().map(|carrier| carrier.unit())
        }
    }
}

impl State {
    pub(crate) fn event(&mut self, unit: Option<UnitId>, action: Action) {
        self.trace.push(self.clock, unit, action);
        if matches!(action, Action::Ended | Action::Started(_)) {
            self.progress = self.steps;
        }
        if let (Action::Ended | Action::Destroyed | Action::Lost, Some(unit)) = (action, unit) {
            self.lives.remove(&unit.0);
        }
    }

    /// Records a fault of the run. The first one counts.
    pub(crate) fn find(&mut self, kind: FailureKind) {
        if self.found.is_none() {
            self.found = Some(Found {
                kind,
                waiting: Vec::new(),
            });
        }
    }

    /// A new unit.
    pub(crate) fn unit(
        &mut self,
        kind: UnitKind,
        name: Option<&str>,
        location: Option<&'static Location<'static>>,
        parent: Option<UnitId>,
    ) -> UnitId {
        let id = UnitId(self.next_unit);
        self.next_unit = self.next_unit.wrapping_add(1);
        self.trace.unit(|| Unit {
            id,
            kind,
            name: name.map(str::to_owned),
            location,
            parent,
        });
        self.event(parent, Action::Started(id));
        if let Some(life) = parent.and_then(|parent| self.lives.get(&parent.0)) {
            self.lives.insert(id.0, life.clone());
        }
        id
    }
}

//! Who has the turn: [`Inner`], which hands it on, and [`Carrier`], a thread that may have it.
//!
//! Tasks are polled on worker threads, closures run on threads of their own, and of all these
//! threads one has the **turn**; the others are parked. A thread that waits, in `block_on` or
//! because its poll or closure is over, chooses who is next and hands the turn over. So
//! blocking code needs no change: its `block_on` is where turns change.
//!
//! All state is under one lock. No code of the user's runs under it: futures, closures,
//! wakers and destructors are moved out first.
//!
//! In an *open* simulation, outside of [`Sim::run`](crate::Sim::run), threads that it does not
//! know take part as well. Then a thread that has the turn and blocks on one of those would
//! keep it; a watch takes it away ([`watch`](crate::watch)). What the thread does afterwards
//! runs beside the others, until it waits again. That is no simulation any more, but it is a
//! runtime.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::Location,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering, fence},
    },
    task::Waker,
    thread::{self, JoinHandle, Thread},
    time::Instant,
};

use fourway_core::{
    context::Context,
    implement::{self, InHost, RuntimeId},
};

use crate::{
    builder::Config,
    failure::{FailureKind, Found, Wait, Waiting},
    faults::Faulty,
    host::Hosting,
    offload::{Job, Pool},
    schedule::{Ready, Schedule},
    spawn::TaskCell,
    trace::{Action, Fault, Trace, Unit, UnitId, UnitKind},
};

pub(crate) type Guard<'a> = MutexGuard<'a, State>;

/// What the handles, threads and tasks of a simulation share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) id: RuntimeId,
    /// When the virtual clock began.
    pub(crate) base: Instant,
    state: Mutex<State>,
    /// Signalled when a run is over.
    pub(crate) finished: Condvar,
}

/// How far a simulation has come.
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
    /// Counts hand-overs, for those who watch.
    pub(crate) epoch: u64,
    next_unit: u32,
    next_carrier: u32,
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
    /// Tasks that are to be destroyed, in this order, before anything else is done.
    pub(crate) doomed: VecDeque<Arc<TaskCell>>,
    /// Carriers that wait for a wake.
    pub(crate) blocked: BTreeSet<u32>,
    pub(crate) pool: Pool,
    pub(crate) clock: u64,
    pub(crate) timers: BTreeMap<(u64, u64), Due>,
    next_timer: u64,
    pub(crate) schedule: Box<dyn Schedule>,
    pub(crate) faults: Faulty,
    pub(crate) trace: Trace,
    pub(crate) current: Option<UnitId>,
    pub(crate) steps: u64,
    /// At which step something was last achieved.
    progress: u64,
    evictions: u32,
    closing_jumps: u32,
    pub(crate) found: Option<Found>,
    /// Who has asked to block in async code, and where.
    pub(crate) refusals: Vec<(Option<UnitId>, &'static Location<'static>)>,
    /// Wakers of those who wait for the end of what is running.
    pub(crate) end_wakers: Vec<Waker>,
    /// The thread that watches an open simulation.
    pub(crate) watch: Option<Thread>,
    pub(crate) watching: Option<JoinHandle<()>>,
    /// Threads of the pool that have ended, or are about to.
    ended: Vec<JoinHandle<()>>,
    /// Has what was there when it was closed been dropped?
    swept: bool,
    /// Are timers being fired?
    firing: bool,
}

/// What happens when its time has come.
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

/// What a thread is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Polls tasks.
    Worker,
    /// Runs closures.
    Pool,
    /// Runs the main closure or one given to `Sim::thread`.
    Own,
    /// Started by code that asks its host, and joins it by itself.
    Scoped,
    /// Somebody else's, inside of `block_on`.
    Guest,
}

/// What a thread is to do with its turn.
pub(crate) enum Order {
    Poll(Arc<TaskCell>),
    Destroy(Arc<TaskCell>),
    Run(Arc<dyn Job>),
    Exit,
}

/// A thread that may have the turn.
pub(crate) struct Carrier {
    pub(crate) number: u32,
    pub(crate) role: Role,
    unit: AtomicU32,
    thread: OnceLock<Thread>,
    turn: AtomicBool,
    order: Mutex<Option<Order>>,
    join: Mutex<Option<JoinHandle<()>>>,
    /// It was told that the wait it is in is over, without a result.
    pub(crate) evicted: AtomicBool,
    /// It is handing the turn over: what it runs now must not do so itself.
    handing_over: AtomicBool,
    is_ending: AtomicBool,
    /// Is its poll in `block_in_place`, or has it been?
    pub(crate) in_place: AtomicBool,
    /// Does it hold a slot of the pool?
    pub(crate) slot: AtomicBool,
    /// Where the system describes it.
    stat: OnceLock<PathBuf>,
    /// What it waits for, as far as is known.
    waits: Mutex<Vec<Wait>>,
    /// Where it asked for the simulation last.
    pub(crate) last_seen: Mutex<Option<&'static Location<'static>>>,
}

impl Carrier {
    pub(crate) fn unit(&self) -> UnitId {
        UnitId(self.unit.load(Ordering::Relaxed))
    }

    pub(crate) fn set_unit(&self, unit: UnitId) {
        // Relaxed, as all that is written with the turn or the lock.
        self.unit.store(unit.0, Ordering::Relaxed);
    }

    pub(crate) fn give(&self, order: Order) {
        *lock(&self.order) = Some(order);
    }

    pub(crate) fn take_order(&self) -> Option<Order> {
        let order = lock(&self.order).take();
        if let Some(Order::Exit) = order {
            self.is_ending.store(true, Ordering::Relaxed);
        }
        order
    }

    fn is_told_to_end(&self) -> bool {
        matches!(&*lock(&self.order), Some(Order::Exit)) || self.is_ending.load(Ordering::Relaxed)
    }

    fn wake_up(&self) {
        // Release pairs with the Acquire in `wait_turn`; the flag, not the park token, says
        // whether it was given: code of the user's may have eaten that.
        self.turn.store(true, Ordering::Release);
        // Pairs with the fence in `is_this_thread`: one of the two sees what the other has done.
        fence(Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    pub(crate) fn wait_turn(&self) {
        while !self.turn.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }

    /// As `wait_turn`; `false` if the time is over before.
    pub(crate) fn wait_turn_for(&self, time: std::time::Duration) -> bool {
        let start = Instant::now();
        while !self.turn.swap(false, Ordering::Acquire) {
            let left = time.saturating_sub(start.elapsed());
            if left.is_zero() {
                return false;
            }
            thread::park_timeout(left);
        }
        true
    }

    /// What runs here waits for that.
    pub(crate) fn note(&self, wait: Wait) {
        let mut waits = lock(&self.waits);
        if waits.len() < 16 && !waits.contains(&wait) {
            waits.push(wait);
        }
    }

    pub(crate) fn take_waits(&self) -> Vec<Wait> {
        std::mem::take(&mut lock(&self.waits))
    }

    pub(crate) fn waits(&self) -> Vec<Wait> {
        lock(&self.waits).clone()
    }

    /// Does it use a processor, or wait for one? `false` where the system does not tell.
    pub(crate) fn computes(&self) -> bool {
        let Some(stat) = self.stat.get() else {
            return false;
        };
        // The state comes after the name, which is in brackets and may contain anything.
        std::fs::read(stat).is_ok_and(|text| {
            let after = text.iter().rposition(|byte| *byte == b')');
            let state = after.and_then(|after| text.get(after + 2));
            state == Some(&b'R')
        })
    }

    /// The calling thread is the one of this carrier, which may have been given its turn already.
    pub(crate) fn is_this_thread(&self) {
        let _ = self.thread.set(thread::current());
        fence(Ordering::SeqCst);
        self.note_stat();
    }

    fn note_stat(&self) {
        if cfg!(target_os = "linux") {
            // A link to `PID/task/TID`.
            if let Ok(thread) = std::fs::read_link("/proc/thread-self") {
                let _ = self
                    .stat
                    .set(PathBuf::from("/proc").join(thread).join("stat"));
            }
        }
    }

    pub(crate) fn seen_at(&self, location: &'static Location<'static>) {
        *lock(&self.last_seen) = Some(location);
    }

    /// Tells the thread, which has nothing to do, to end; and waits for that.
    fn exit(&self, wait: bool) {
        self.give(Order::Exit);
        self.wake_up();
        if !wait {
            return;
        }
        let handle = lock(&self.join).take();
        if let Some(handle) = handle {
            if handle.thread().id() != thread::current().id() {
                // Its body contains all panics.
                let _ = handle.join();
            }
        }
    }
}

/// A lock under which nothing panics.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static CURRENT: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// The simulation that a thread takes part in.
#[derive(Clone)]
pub(crate) struct Here {
    pub(crate) inner: Arc<Inner>,
    pub(crate) carrier: Arc<Carrier>,
}

impl Here {
    /// That of the calling thread.
    pub(crate) fn get() -> Option<Self> {
        CURRENT.try_with(|here| here.borrow().clone()).ok()?
    }

    /// The calling thread takes part until the guard is dropped. `in_run`: it does nothing but by
    /// turns.
    pub(crate) fn enter(self, in_run: bool) -> Entered {
        let host = in_run.then(|| implement::enter_host(Arc::new(Hosting(self.inner.clone()))));
        let before = CURRENT.try_with(|here| here.replace(Some(self)));
        Entered {
            before: before.ok().flatten(),
            _host: host,
        }
    }
}

/// Made by [`Here::enter`].
pub(crate) struct Entered {
    before: Option<Here>,
    _host: Option<InHost>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        let _ = CURRENT.try_with(|here| drop(here.replace(before)));
    }
}

/// Is the calling thread about to end, so that there is no telling whose it is?
fn is_ending() -> bool {
    CURRENT.try_with(|_| ()).is_err()
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
            steps: 0,
            progress: 0,
            evictions: 0,
            closing_jumps: 0,
            found: None,
            refusals: Vec::new(),
            end_wakers: Vec::new(),
            watch: None,
            watching: None,
            ended: Vec::new(),
            swept: false,
            firing: false,
        };
        Self {
            config,
            id,
            base: Instant::now(),
            state: Mutex::new(state),
            finished: Condvar::new(),
        }
    }

    pub(crate) fn lock(&self) -> Guard<'_> {
        lock(&self.state)
    }

    /// Is a run being ended?
    pub(crate) fn is_ending(&self) -> bool {
        let state = self.lock();
        state.strict && state.phase >= Phase::Evicting
    }

    /// The calling thread's carrier, if it takes part in this simulation.
    pub(crate) fn here(&self) -> Option<Arc<Carrier>> {
        CURRENT
            .try_with(|here| {
                let here = here.borrow();
                let here = here.as_ref()?;
                std::ptr::eq(&*here.inner, self).then(|| here.carrier.clone())
            })
            .ok()
            .flatten()
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

    /// Somebody uses the simulation on a thread that it does not know.
    pub(crate) fn check_foreign(&self, state: &mut State) {
        if !state.strict || self.config.foreign_threads || state.phase > Phase::Running {
            return;
        }
        if is_ending() || self.here().is_some() {
            return;
        }
        let name = thread::current().name().unwrap_or("unnamed").to_owned();
        state.find(FailureKind::ForeignThread { name });
    }

    // -----------------------------------------------------------------------
    // Threads

    /// A new thread, which waits for its turn. `unit`: what it will run.
    pub(crate) fn start(
        self: &Arc<Self>,
        state: &mut State,
        role: Role,
        unit: UnitId,
        body: impl FnOnce(&Arc<Self>, &Arc<Carrier>) + Send + 'static,
    ) -> std::io::Result<Arc<Carrier>> {
        let carrier = state.carrier(role, unit);
        let here = Here {
            inner: self.clone(),
            carrier: carrier.clone(),
        };
        let what = match role {
            Role::Worker => "worker",
            Role::Pool => "closure",
            Role::Own | Role::Scoped | Role::Guest => "thread",
        };
        let name = fourway_adapt::thread_name(&self.config.thread_name, what);
        let in_run = state.strict;
        let handle = thread::Builder::new().name(name).spawn(move || {
            let Here { inner, carrier } = here.clone();
            carrier.note_stat();
            let _here = here.enter(in_run);
            body(&inner, &carrier);
        })?;
        let _ = carrier.thread.set(handle.thread().clone());
        *lock(&carrier.join) = Some(handle);
        state.carriers.insert(carrier.number, carrier.clone());
        Ok(carrier)
    }

    /// The calling thread, which the simulation does not know, takes part for a time.
    pub(crate) fn guest(&self, state: &mut State) -> Arc<Carrier> {
        let unit = state.unit(UnitKind::Guest, None, None, None);
        let carrier = state.carrier(Role::Guest, unit);
        let _ = carrier.thread.set(thread::current());
        carrier
    }

    // -----------------------------------------------------------------------
    // Turns

    /// The first turn of a run.
    pub(crate) fn begin(&self, state: Guard<'_>, main: &Arc<Carrier>) {
        self.pass(state, main);
    }

    /// Waits until the calling thread has the turn, if it does not have it: it is a guest, or
    /// the turn was taken away from it.
    pub(crate) fn regain<'a>(
        self: &'a Arc<Self>,
        mut state: Guard<'a>,
        me: &Arc<Carrier>,
    ) -> Guard<'a> {
        while state.holder != Some(me.number) {
            state.threads.push(Runnable::Resume(me.clone()));
            self.kick(state);
            me.wait_turn();
            // By now it may have been taken away again.
            state = self.lock();
        }
        state
    }

    /// Gives the turn away, and returns when the calling thread has it again. `ready`: is it
    /// among those that are ready?
    pub(crate) fn switch(self: &Arc<Self>, state: Guard<'_>, me: &Arc<Carrier>, ready: bool) {
        me.handing_over.store(true, Ordering::Relaxed);
        let (state, next) = self.choose(state, ready);
        match next {
            Some(next) if Arc::ptr_eq(&next, me) => drop(state),
            Some(next) => {
                self.pass(state, &next);
                me.wait_turn();
            }
            None => {
                self.rest(state);
                me.wait_turn();
            }
        }
        me.handing_over.store(false, Ordering::Relaxed);
    }

    /// As `switch`, by a thread that does not want it back.
    pub(crate) fn leave(self: &Arc<Self>, state: Guard<'_>, me: &Arc<Carrier>) {
        me.handing_over.store(true, Ordering::Relaxed);
        let (state, next) = self.choose(state, false);
        match next {
            Some(next) => self.pass(state, &next),
            None => self.rest(state),
        }
        me.handing_over.store(false, Ordering::Relaxed);
    }

    fn pass(&self, mut state: Guard<'_>, next: &Arc<Carrier>) {
        state.holder = Some(next.number);
        state.epoch += 1;
        let watch = if state.strict {
            None
        } else {
            state.watch.clone()
        };
        drop(state);
        next.wake_up();
        if let Some(watch) = watch {
            watch.unpark();
        }
    }

    /// Nobody can do anything.
    fn rest(&self, mut state: Guard<'_>) {
        state.holder = None;
        state.epoch += 1;
        let over = state.phase == Phase::Over;
        if !state.strict && state.closed {
            self.retire(state);
        } else {
            drop(state);
        }
        if over {
            self.finished.notify_all();
        }
    }

    /// Something has become ready: if nobody has the turn, somebody gets it.
    pub(crate) fn kick(self: &Arc<Self>, mut state: Guard<'_>) {
        if state.holder.is_some() {
            // Somebody waits for the one who has the turn.
            self.watch(&mut state);
            return;
        }
        if state.phase == Phase::Over {
            return;
        }
        let (state, next) = self.choose(state, false);
        if let Some(next) = next {
            self.pass(state, &next);
        }
    }

    /// Takes the turn away from a thread that keeps it, if there is anybody else.
    pub(crate) fn take_away(self: &Arc<Self>, mut state: Guard<'_>) {
        let worker = state.busy < self.config.workers || !state.free_workers.is_empty();
        let others = !state.threads.is_empty()
            || !state.doomed.is_empty()
            || (worker && !state.tasks.is_empty());
        if others {
            state.holder = None;
            self.kick(state);
        }
    }

    /// An operation of the simulation at which turns may change. `anywhere`: also in the
    /// middle of a poll.
    pub(crate) fn point(self: &Arc<Self>, location: &'static Location<'static>, anywhere: bool) {
        let Some(me) = self.here() else { return };
        me.seen_at(location);
        if me.handing_over.load(Ordering::Relaxed) {
            return;
        }
        let in_poll = me.role == Role::Worker;
        let mut state = self.lock();
        if !state.strict || state.phase != Phase::Running || state.holder != Some(me.number) {
            return;
        }
        if matches!(me.role, Role::Worker | Role::Pool)
            && state.faults.panics()
            && !thread::panicking()
        {
            let current = state.current;
            state.event(current, Action::Fault(Fault::Panic));
            drop(state);
            // Without the panic hook: it is no mistake of anybody's.
            std::panic::resume_unwind(Box::new(String::from(crate::faults::PANIC)));
        }
        if in_poll && !anywhere && self.config.workers == 1 || !self.config.preempt {
            return;
        }
        let worker = state.busy < self.config.workers || !state.free_workers.is_empty();
        if state.threads.is_empty() && (state.tasks.is_empty() || !worker) {
            return;
        }
        let unit = me.unit();
        state.event(Some(unit), Action::Yielded);
        state.threads.push(Runnable::Resume(me.clone()));
        self.switch(state, &me, true);
        let mut state = self.lock();
        state.event(Some(unit), Action::Ran);
    }

    /// Chooses who gets the turn, and gives that thread its order. `None`: there is nobody.
    ///
    /// Timers that are due are fired here, on the calling thread.
    #[allow(
        clippy::too_many_lines,
        reason = "one decision after the other, in their order"
    )]
    fn choose<'a>(
        self: &'a Arc<Self>,
        mut state: Guard<'a>,
        ready: bool,
    ) -> (Guard<'a>, Option<Arc<Carrier>>) {
        loop {
            if state.phase == Phase::Over {
                return (state, None);
            }
            if state.strict {
                state = self.pass_time(state);
                if state.phase == Phase::Running {
                    let step = state.steps;
                    if state.faults.shuts_down(step) {
                        let current = state.current;
                        state.event(current, Action::Fault(Fault::Shutdown));
                        state = self.close_locked(state);
                        continue;
                    }
                    if state.steps - state.progress > self.config.livelock {
                        let steps = state.steps - state.progress;
                        state.find(FailureKind::Livelock { steps });
                    } else if state.steps > self.config.max_steps {
                        state.find(FailureKind::Steps {
                            limit: self.config.max_steps,
                        });
                    }
                }
                if state.found.is_some() && state.phase == Phase::Running {
                    state = self.give_up(state);
                    continue;
                }
            }
            // Not before the threads have been sent home, which would see that they are gone.
            let threads = !state.threads.is_empty() || !state.blocked.is_empty();
            if state.phase != Phase::Evicting || !threads {
                if let Some(cell) = state.doomed.pop_front() {
                    if let Some(worker) = self.worker(&mut state) {
                        worker.give(Order::Destroy(cell));
                        return (state, Some(worker));
                    }
                    // No thread to be had: here, then.
                    drop(state);
                    cell.destroy();
                    drop(cell);
                    state = self.lock();
                    continue;
                }
            }
            let polls = state.busy < self.config.workers;
            let tasks = if polls { state.tasks.len() } else { 0 };
            let threads = state.threads.len();
            let count = tasks + threads;
            if count == 0 {
                if !state.strict {
                    return (state, None);
                }
                if state.phase == Phase::Running && self.config.foreign_threads && state.no_timers()
                {
                    // Whoever wakes somebody goes on from here.
                    return (state, None);
                }
                state = self.nothing_ready(state);
                continue;
            }
            state.steps += 1;
            let index = if count == 1 {
                0
            } else {
                let State {
                    schedule,
                    tasks: task_list,
                    threads: thread_list,
                    current,
                    trace,
                    ..
                } = &mut *state;
                let id = |index: usize| {
                    if index < tasks {
                        task_list[index].id
                    } else {
                        thread_list[index - tasks].id()
                    }
                };
                let list = Ready {
                    ids: &id,
                    len: count,
                    current: *current,
                };
                let index = schedule.choose(&list).min(count - 1);
                let chosen = id(index);
                trace.choice(chosen, ready && *current != Some(chosen));
                index
            };
            if index < tasks {
                let cell = state.tasks.swap_remove(index);
                if let Some(due) = state.slowed() {
                    let id = cell.id;
                    state.hold(id, due, Held::Task(cell));
                    continue;
                }
                let Some(worker) = self.worker(&mut state) else {
                    // The system gives no thread: it is as if the task had been destroyed by
                    // a shutdown.
                    drop(state);
                    cell.destroy();
                    drop(cell);
                    state = self.lock();
                    continue;
                };
                worker.set_unit(cell.id);
                cell.begin();
                state.current = Some(cell.id);
                state.busy += 1;
                worker.give(Order::Poll(cell));
                return (state, Some(worker));
            }
            match state.threads.swap_remove(index - tasks) {
                Runnable::Resume(carrier) => {
                    state.current = Some(carrier.unit());
                    return (state, Some(carrier));
                }
                Runnable::Start(job) => {
                    let id = job.id();
                    if let Some(due) = state.slowed() {
                        state.hold(id, due, Held::Thread(Runnable::Start(job)));
                        continue;
                    }
                    let (back, carrier) = self.carry(state, job);
                    state = back;
                    if let Some(carrier) = carrier {
                        state.current = Some(id);
                        return (state, Some(carrier));
                    }
                }
            }
        }
    }

    /// A worker that has nothing to do.
    fn worker(self: &Arc<Self>, state: &mut State) -> Option<Arc<Carrier>> {
        if let Some(worker) = state.free_workers.pop() {
            return Some(worker);
        }
        let none = UnitId(u32::MAX);
        self.start(state, Role::Worker, none, crate::spawn::work)
            .ok()
    }

    // -----------------------------------------------------------------------
    // Time

    /// Each step takes a moment; and timers that are due are fired.
    fn pass_time<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> Guard<'a> {
        let step = u64::try_from(self.config.step_time.as_nanos()).unwrap_or(u64::MAX);
        state.clock = state.clock.saturating_add(step);
        if state.phase == Phase::Running {
            if let Some(stall) = state.faults.stall() {
                state.event(None, Action::Fault(Fault::Stall));
                state.clock = state.clock.saturating_add(stall);
            }
        }
        self.fire(state)
    }

    fn fire<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> Guard<'a> {
        let now = state.clock;
        if state
            .timers
            .first_key_value()
            .is_none_or(|(key, _)| key.0 > now)
        {
            return state;
        }
        let mut wakers = Vec::new();
        while let Some(first) = state.timers.first_entry() {
            if first.key().0 > now {
                break;
            }
            match first.remove() {
                Due::Wake(waker) => wakers.push(waker),
                Due::Ready(Held::Task(cell)) => state.tasks.push(cell),
                Due::Ready(Held::Thread(runnable)) => state.threads.push(runnable),
            }
        }
        state.progress = state.steps;
        state.firing = true;
        drop(state);
        {
            // As on the timer thread of a real runtime.
            let _mark = implement::enter(Context::Async, Some(self.id));
            wakers.into_iter().for_each(implement::wake);
        }
        let mut state = self.lock();
        state.firing = false;
        state
    }

    /// Nothing can run: the time jumps, or it is over.
    fn nothing_ready<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> Guard<'a> {
        let due = state.timers.first_key_value().map(|(key, _)| key.0);
        let may_jump = match state.phase {
            Phase::Running => true,
            // Somebody may sleep again and again.
            Phase::Closing => state.closing_jumps < 1000,
            Phase::Evicting | Phase::Over => false,
        };
        // The end of time never comes.
        if let Some(due) = due.filter(|due| may_jump && *due < u64::MAX) {
            if state.phase == Phase::Closing {
                state.closing_jumps += 1;
            }
            state.clock = state.clock.max(due);
            state.event(None, Action::Jumped);
            return self.fire(state);
        }
        match state.phase {
            Phase::Running => {
                let (mut state, lost) = self.probe(state);
                state.find(FailureKind::Deadlock { lost });
                state
            }
            Phase::Closing => {
                state.phase = Phase::Evicting;
                state
            }
            Phase::Evicting => {
                // Scoped threads go first, the innermost before the others: whoever has started
                // them joins them, with its turn.
                let blocked = state.blocked.iter();
                let mut blocked: Vec<_> = blocked
                    .filter_map(|number| state.carriers.get(number))
                    .collect();
                blocked.sort_by_key(|carrier| match carrier.role {
                    Role::Scoped => (0, u32::MAX - carrier.number),
                    _ => (1, carrier.number),
                });
                let first = blocked.first().map(|carrier| Arc::clone(carrier));
                match first {
                    Some(carrier) if state.evictions < 10_000 => {
                        state.evictions += 1;
                        state.blocked.remove(&carrier.number);
                        carrier.evicted.store(true, Ordering::Relaxed);
                        state.threads.push(Runnable::Resume(carrier));
                    }
                    _ => {
                        state.phase = Phase::Over;
                        let timers = std::mem::take(&mut state.timers);
                        drop(state);
                        drop(timers);
                        state = self.lock();
                    }
                }
                state
            }
            Phase::Over => state,
        }
    }

    /// Would any of the tasks that wait have gone on, had somebody woken it? They are polled
    /// once more to see.
    fn probe<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> (Guard<'a>, Vec<UnitId>) {
        let alive: Vec<Arc<TaskCell>> = state.alive.values().filter_map(Weak::upgrade).collect();
        let mut lost = Vec::new();
        // What they do now is not part of the run.
        state.closed = true;
        for cell in &alive {
            let before = state.tasks.len() + state.threads.len();
            drop(state);
            let ended = cell.probe();
            state = self.lock();
            if ended || state.tasks.len() + state.threads.len() > before {
                lost.push(cell.id);
            }
        }
        drop(state);
        // The last ones, perhaps.
        drop(alive);
        state = self.lock();
        (state, lost)
    }

    // -----------------------------------------------------------------------
    // The end

    /// A run that has failed: its threads are sent home first, and then its tasks are
    /// destroyed, none of them polled again.
    pub(crate) fn give_up<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> Guard<'a> {
        // Nobody's wait is over because others are destroyed now.
        state.phase = Phase::Evicting;
        let waiting = self.waiting(&state);
        if let Some(found) = &mut state.found {
            found.waiting = waiting.0;
        }
        let kept = waiting.1;
        drop(state);
        drop(kept);
        let mut state = self.close_locked(self.lock());
        state.phase = Phase::Evicting;
        state
    }

    /// Who waits, and for what. The tasks are to be dropped outside of the lock.
    pub(crate) fn waiting(&self, state: &State) -> (Vec<Waiting>, Vec<Arc<TaskCell>>) {
        let mut waiting = Vec::new();
        for number in &state.blocked {
            if let Some(carrier) = state.carriers.get(number) {
                waiting.push(Waiting {
                    unit: carrier.unit(),
                    waits: carrier.waits(),
                    at: *lock(&carrier.last_seen),
                });
            }
        }
        let alive: Vec<Arc<TaskCell>> = state.alive.values().filter_map(Weak::upgrade).collect();
        for cell in &alive {
            waiting.push(Waiting {
                unit: cell.id,
                waits: cell.waits(),
                at: None,
            });
        }
        for job in &state.pool.queue {
            waiting.push(Waiting {
                unit: job.id(),
                waits: vec![Wait::Slot],
                at: None,
            });
        }
        waiting.sort_by_key(|waiting| waiting.unit);
        (waiting, alive)
    }

    /// Accepts nothing more, drops closures that have not started, and has suspended futures
    /// destroyed. Does not wait.
    pub(crate) fn close(self: &Arc<Self>) {
        let state = self.close_locked(self.lock());
        let free = state.holder.is_none();
        if free && (!state.doomed.is_empty() || !state.threads.is_empty()) {
            self.kick(state);
        } else if free {
            self.retire(state);
        }
    }

    pub(crate) fn close_locked<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> Guard<'a> {
        state.closed = true;
        if std::mem::replace(&mut state.swept, true) {
            return state;
        }
        let current = self.current_unit(&state);
        state.event(current, Action::Shutdown);
        let mut jobs: Vec<Arc<dyn Job>> = state.pool.queue.drain(..).collect();
        let mut tasks = std::mem::take(&mut state.tasks);
        let held: Vec<(u64, u64)> = state
            .timers
            .iter()
            .filter(|(_, due)| matches!(due, Due::Ready(_)))
            .map(|(key, _)| *key)
            .collect();
        for key in held {
            match state.timers.remove(&key) {
                Some(Due::Ready(Held::Task(cell))) => tasks.push(cell),
                Some(Due::Ready(Held::Thread(runnable))) => state.threads.push(runnable),
                Some(Due::Wake(_)) | None => {}
            }
        }
        for runnable in std::mem::take(&mut state.threads) {
            match runnable {
                Runnable::Start(job) if job.is_offloaded() => {
                    state.pool.running -= 1;
                    jobs.push(job);
                }
                other => state.threads.push(other),
            }
        }
        state.pool.dropped += jobs.len();
        let alive: Vec<Arc<TaskCell>> = state.alive.values().filter_map(Weak::upgrade).collect();
        let (doomed, running): (Vec<_>, Vec<_>) = alive.into_iter().partition(|cell| cell.doom());
        state.doomed.extend(doomed);
        let wakers = state.take_end_wakers();
        drop(state);
        let handing_over = self
            .here()
            .is_some_and(|me| me.handing_over.load(Ordering::Relaxed));
        // In between two turns there is nobody whom a destructor could block.
        let mark = handing_over.then(|| implement::enter(Context::Async, Some(self.id)));
        drop((tasks, running));
        for job in jobs {
            job.refuse(fourway_core::JoinError::shutdown());
        }
        drop(mark);
        wakers.into_iter().for_each(implement::wake);
        self.lock()
    }

    /// The threads that have nothing to do and never will have end.
    pub(crate) fn retire(&self, mut state: Guard<'_>) {
        if !state.closed {
            return;
        }
        let mut idle = std::mem::take(&mut state.free_workers);
        idle.append(&mut state.pool.idle);
        let watch = state.take_watch();
        drop(state);
        for carrier in idle {
            carrier.exit(false);
        }
        if let Some(watch) = watch {
            watch.unpark();
        }
    }

    /// As `retire`, and waits until those threads are gone. One after the other: what their
    /// thread-locals' destructors do has an order, too.
    pub(crate) fn retire_and_join(&self) {
        let mut state = self.lock();
        let mut idle = std::mem::take(&mut state.free_workers);
        idle.append(&mut state.pool.idle);
        let mut gone: Vec<Arc<Carrier>> = state
            .carriers
            .values()
            .filter(|carrier| carrier.is_told_to_end())
            .cloned()
            .collect();
        gone.extend(idle);
        gone.sort_by_key(|carrier| carrier.number);
        gone.dedup_by_key(|carrier| carrier.number);
        for carrier in &gone {
            state.carriers.remove(&carrier.number);
        }
        let ended = std::mem::take(&mut state.ended);
        let watch = state.take_watch();
        let watching = if state.watch.is_none() {
            state.watching.take()
        } else {
            None
        };
        drop(state);
        for carrier in gone {
            carrier.exit(true);
        }
        for handle in ended {
            let _ = handle.join();
        }
        if let Some(watch) = watch {
            watch.unpark();
        }
        if let Some(watching) = watching {
            let _ = watching.join();
        }
    }

    /// A thread of the pool ends by itself.
    pub(crate) fn forget(&self, state: &mut State, carrier: &Carrier) {
        state.carriers.remove(&carrier.number);
        let handle = lock(&carrier.join).take();
        state.ended.retain(|handle| !handle.is_finished());
        state.ended.extend(handle);
    }

    /// Ends all threads of a run that is over.
    pub(crate) fn end_threads(&self) {
        loop {
            let first = self.lock().carriers.pop_first();
            let Some((_, carrier)) = first else { return };
            carrier.exit(true);
        }
    }
}

impl State {
    pub(crate) fn event(&mut self, unit: Option<UnitId>, action: Action) {
        self.trace.push(self.clock, unit, action);
        if matches!(action, Action::Ended | Action::Started(_)) {
            self.progress = self.steps;
        }
    }

    /// Something is wrong with the run. The first one counts.
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
        id
    }

    pub(crate) fn carrier(&mut self, role: Role, unit: UnitId) -> Arc<Carrier> {
        let number = self.next_carrier;
        self.next_carrier += 1;
        Arc::new(Carrier {
            number,
            role,
            unit: AtomicU32::new(unit.0),
            thread: OnceLock::new(),
            turn: AtomicBool::new(false),
            order: Mutex::new(None),
            join: Mutex::new(None),
            evicted: AtomicBool::new(false),
            handing_over: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            in_place: AtomicBool::new(false),
            slot: AtomicBool::new(false),
            stat: OnceLock::new(),
            waits: Mutex::new(Vec::new()),
            last_seen: Mutex::new(None),
        })
    }

    fn no_timers(&self) -> bool {
        self.timers
            .keys()
            .next()
            .is_none_or(|key| key.0 == u64::MAX)
    }

    /// Has something done at that time. Gives the key under which it is kept.
    pub(crate) fn at(&mut self, time: u64, due: Due) -> (u64, u64) {
        self.next_timer += 1;
        let key = (time, self.next_timer);
        self.timers.insert(key, due);
        key
    }

    fn slowed(&mut self) -> Option<u64> {
        if self.phase == Phase::Running && !self.closed {
            self.faults.slow()
        } else {
            None
        }
    }

    fn hold(&mut self, id: UnitId, time: u64, held: Held) {
        self.event(Some(id), Action::Fault(Fault::Slow));
        let due = self.clock.saturating_add(time);
        self.at(due, Due::Ready(held));
    }

    /// After the end of something: who waits for the end of all, if it is.
    pub(crate) fn take_end_wakers(&mut self) -> Vec<Waker> {
        if self.closed && self.is_done() {
            std::mem::take(&mut self.end_wakers)
        } else {
            Vec::new()
        }
    }

    /// Nobody needs to be watched any more.
    fn take_watch(&mut self) -> Option<Thread> {
        if self.is_done() {
            self.watch.take()
        } else {
            None
        }
    }

    /// Have the threads that run tasks and closures ended?
    pub(crate) fn is_quiet(&self) -> bool {
        let mut carriers = self.carriers.values();
        !carriers.any(|carrier| matches!(carrier.role, Role::Worker | Role::Pool))
    }

    /// Is nothing left that runs?
    pub(crate) fn is_done(&self) -> bool {
        self.alive.is_empty() && self.pool.running + self.pool.lent == 0
    }
}

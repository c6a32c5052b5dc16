//! A thread that may have the turn: [`Carrier`], its role and its orders.

use std::{
    panic::Location,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
    },
    thread::{self, JoinHandle, Thread},
    time::Instant,
};

use crate::{
    failure::Wait,
    foreign,
    here::Here,
    offload::Job,
    spawn::TaskCell,
    state::{Inner, State, lock},
    trace::{UnitId, UnitKind},
};

/// Of so many things at most that somebody waits for it is kept that it does.
pub(crate) const MOST_WAITS: usize = 16;

/// The role of a thread.
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
    /// A foreign thread, inside of `block_on`.
    Guest,
}

/// The order to a thread for its turn.
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
    pub(crate) thread: OnceLock<Thread>,
    turn: AtomicBool,
    order: Mutex<Option<Order>>,
    pub(crate) join: Mutex<Option<JoinHandle<()>>>,
    /// It was told that the wait it is in is over, without a result.
    pub(crate) evicted: AtomicBool,
    /// It is handing the turn over: what it runs now must not do so itself.
    pub(crate) handing_over: AtomicBool,
    is_ending: AtomicBool,
    /// Is its poll in `block_in_place`, or has it been?
    pub(crate) in_place: AtomicBool,
    /// Does it hold a slot of the pool?
    pub(crate) slot: AtomicBool,
    /// Where the system describes it.
    stat: OnceLock<PathBuf>,
    /// Its waits, as far as they are known.
    waits: Mutex<Vec<Wait>>,
    /// When it began its last wait, on the virtual clock. Written under the simulation's lock.
    pub(crate) since: AtomicU64,
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

    pub(crate) fn is_told_to_end(&self) -> bool {
        matches!(&*lock(&self.order), Some(Order::Exit)) || self.is_ending.load(Ordering::Relaxed)
    }

    pub(crate) fn wake_up(&self) {
        // Release pairs with the Acquire in `wait_turn`; the flag, not the park token, says whether
        // it was given: user code may have eaten the token.
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

    /// Notes a wait of the unit that runs here.
    pub(crate) fn note(&self, wait: Wait) {
        let mut waits = lock(&self.waits);
        if waits.len() < MOST_WAITS && !waits.contains(&wait) {
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

    /// The system call in which it waits, in words. `None` where the system does not tell.
    pub(crate) fn call(&self) -> Option<String> {
        foreign::call(self.stat.get()?)
    }

    /// The calling thread belongs to this carrier, which may have been given its turn already.
    pub(crate) fn is_this_thread(&self) {
        let _ = self.thread.set(thread::current());
        fence(Ordering::SeqCst);
        self.note_stat();
    }

    pub(crate) fn note_stat(&self) {
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
    pub(crate) fn exit(&self, wait: bool) {
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

impl Inner {
    /// A new thread, which waits for its turn. `unit`: the unit that it will run.
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
}

impl State {
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
            since: AtomicU64::new(0),
            last_seen: Mutex::new(None),
        })
    }
}

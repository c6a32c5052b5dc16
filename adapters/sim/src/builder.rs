use std::{
    fmt, io,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use fourway_adapt::{fork::ForgetInChild, thread_name, timer::Timers};
use fourway_core::{AnyRuntime, implement};

use crate::{Faults, Schedule, Sim, Strategy, runtime::Shared, schedule::DepthFirst, state::Inner};

/// Configures a [`Sim`]. Made by [`Sim::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    pub(crate) config: Config,
}

type MakeSchedule = Arc<dyn Fn(u64) -> Box<dyn Schedule> + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) seed: u64,
    pub(crate) strategy: Strategy,
    pub(crate) custom: Option<MakeSchedule>,
    pub(crate) search: Option<DepthFirst>,
    pub(crate) faults: Faults,
    pub(crate) workers: usize,
    pub(crate) thread_name: String,
    pub(crate) offload_limit: usize,
    pub(crate) offload_queue: Option<usize>,
    pub(crate) keep_alive: Duration,
    pub(crate) preempt: bool,
    pub(crate) step_time: Duration,
    pub(crate) max_steps: u64,
    pub(crate) livelock: u64,
    pub(crate) stuck_after: Duration,
    pub(crate) trace_limit: usize,
    pub(crate) foreign_threads: bool,
    pub(crate) foreign_limit: Duration,
    pub(crate) deny_leftovers: bool,
    pub(crate) allow_refusals: bool,
    /// Must the panic hook not be called?
    pub(crate) quiet: bool,
}

impl Config {
    pub(crate) fn schedule(&self) -> Box<dyn Schedule> {
        if let Some(custom) = &self.custom {
            return custom(self.seed);
        }
        match &self.search {
            Some(search) => Box::new(search.run()),
            None => self.strategy.schedule(self.seed),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("seed", &self.seed)
            .field("strategy", &self.strategy)
            .field("faults", &self.faults)
            .field("workers", &self.workers)
            .field("offload_limit", &self.offload_limit)
            .finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: Config {
                seed: 0,
                strategy: Strategy::Random,
                custom: None,
                search: None,
                faults: Faults::none(),
                workers: 1,
                thread_name: String::from("sim"),
                offload_limit: 512,
                offload_queue: None,
                keep_alive: Duration::from_secs(10),
                preempt: true,
                step_time: Duration::from_micros(1),
                max_steps: 50_000_000,
                livelock: 100_000,
                stuck_after: Duration::from_secs(100 * 24 * 60 * 60),
                trace_limit: 1_000_000,
                foreign_threads: false,
                foreign_limit: Duration::from_secs(5),
                deny_leftovers: false,
                allow_refusals: false,
                quiet: false,
            },
        }
    }
}

impl Builder {
    /// The source of everything random. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }

    /// How the next turn is chosen. Default: [`Strategy::Random`].
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.config.strategy = strategy;
        self.config.custom = None;
        self.config.search = None;
        self
    }

    /// A strategy of your own: makes the schedule of a run from its seed. In a
    /// [`Check`](crate::Check) it takes the place of its strategies, but for a replay and a
    /// depth-first search.
    pub fn schedule<S: Schedule>(
        mut self,
        make: impl Fn(u64) -> S + Send + Sync + 'static,
    ) -> Self {
        self.config.custom = Some(Arc::new(move |seed| Box::new(make(seed))));
        self
    }

    /// The faults that are put in on purpose. Default: none.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.config.faults = faults;
        self
    }

    /// How many tasks may be in the middle of a poll at a time. Default: 1.
    ///
    /// With more, turns may change also in the middle of a poll, where it spawns, offloads or
    /// blocks in place; with one, only at a [`point`](crate::point), and then for threads
    /// alone.
    pub fn workers(mut self, workers: usize) -> Self {
        self.config.workers = workers;
        self
    }

    /// The prefix of the threads' names. Default: `sim`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.config.thread_name = name.into();
        self
    }

    /// At most this many closures run at a time (OF-5, limits are exact). Default: 512.
    pub fn offload_limit(mut self, closures: usize) -> Self {
        self.config.offload_limit = closures;
        self
    }

    /// At most this many closures wait, as far as
    /// [`try_offload`](fourway_core::Offload::try_offload) is concerned. Default: no bound.
    pub fn offload_queue(mut self, closures: Option<usize>) -> Self {
        self.config.offload_queue = closures;
        self
    }

    /// How long an idle thread is kept outside of a run (OF-6, threads come and go); in one, to its
    /// end. Default: 10 seconds.
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.config.keep_alive = time;
        self
    }

    /// May turns change where closures and threads spawn, offload and begin to block? Default: yes.
    /// If not, they change where code waits, and at a [`point`](crate::point).
    ///
    /// Code that holds a `std` mutex while it spawns blocks other code that needs the mutex, and a
    /// simulation takes that for a fault: see [`foreign_limit`](Self::foreign_limit). With `false`
    /// it does not.
    pub fn preempt(mut self, yes: bool) -> Self {
        self.config.preempt = yes;
        self
    }

    /// How much virtual time each step takes. Default: a microsecond, so that a task that
    /// wakes itself for ever does not keep timers from their turn (TI-4, timers are not starved).
    pub fn step_time(mut self, time: Duration) -> Self {
        self.config.step_time = time;
        self
    }

    /// A run that takes more steps fails. The report says who waits for what, and since when, and
    /// whose wake was lost. Default: 50 million.
    pub fn max_steps(mut self, steps: u64) -> Self {
        self.config.max_steps = steps;
        self
    }

    /// A run fails if, for so many steps, nothing is started, nothing ends, and no timer fires.
    /// Default: 100,000.
    pub fn livelock(mut self, steps: u64) -> Self {
        self.config.livelock = steps;
        self
    }

    /// A run fails in which the main closure has waited for so long, of virtual time, and in vain:
    /// neither it nor any of those for whose end it waits has had a turn, and none of these waits
    /// for a timer. So a deadlock is found that others hide, who wake up again and again, such as a
    /// loop around an `interval`. Default: 100 days.
    ///
    /// It is a limit, as there is for steps, and no proof: somebody else's loop might still wake
    /// one of them, on the hundred and first day. Nor is all known for which somebody waits: not
    /// what it asks for by a waker of the program's own, as a channel and sets of many futures do.
    /// A shorter limit, an hour for instance, finds it with fewer steps, in a program in which
    /// nobody waits for so long.
    pub fn stuck_after(mut self, time: Duration) -> Self {
        self.config.stuck_after = time;
        self
    }

    /// How many events of a run are kept. Default: a million, 40 bytes each.
    pub fn trace_limit(mut self, events: usize) -> Self {
        self.config.trace_limit = events;
        self
    }

    /// May threads take part in a run that the simulation has not started? Default: no; a run in
    /// which such a thread spawns, wakes or blocks fails, because it cannot be replayed.
    ///
    /// With `true` the run cannot be replayed either, but does not fail. Virtual time does not wait
    /// for such threads.
    pub fn foreign_threads(mut self, yes: bool) -> Self {
        self.config.foreign_threads = yes;
        self
    }

    /// A thread that has its turn and does nothing that the simulation sees for so long, of
    /// real time, is taken to be blocked on something that the simulation does not know: a
    /// lock whose holder has no turn, a channel, a socket. The run fails then. A thread that
    /// computes is given twelve times as long, where the system shows that (Linux). Default: 5
    /// seconds.
    pub fn foreign_limit(mut self, time: Duration) -> Self {
        self.config.foreign_limit = time;
        self
    }

    /// Does a run fail if it leaves tasks or closures behind that have not ended? Default: no; they
    /// are destroyed, and [`Run::leftovers`](crate::Run::leftovers) names them.
    pub fn deny_leftovers(mut self, yes: bool) -> Self {
        self.config.deny_leftovers = yes;
        self
    }

    /// May async code ask for `block_on`, as a test of the refusal does? Default: no; such a run
    /// fails, even if the program handles the error (BL-2, no blocking in async code).
    pub fn allow_nested_block_on(mut self, yes: bool) -> Self {
        self.config.allow_refusals = yes;
        self
    }

    pub(crate) fn quiet(mut self) -> Self {
        self.config.quiet = true;
        self
    }

    pub(crate) fn strategy_unless_custom(mut self, strategy: Strategy) -> Self {
        if matches!(strategy, Strategy::Replay(_)) {
            // A shortened schedule, for instance, of a run that had one of the program's own.
            self.config.custom = None;
        }
        self.config.strategy = strategy;
        self
    }

    /// In place of a schedule of the program's own: a search that made no choice would take that
    /// one run for all schedules.
    pub(crate) fn search(mut self, search: Option<DepthFirst>) -> Self {
        self.config.custom = None;
        self.config.search = search;
        self
    }

    /// Makes the simulation. It starts no thread.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`]: no workers, a limit of zero closures, or a NUL byte
    ///   in the threads' name.
    pub fn build(self) -> io::Result<Sim> {
        let config = self.config;
        let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if config.workers == 0 {
            return invalid("a simulation needs at least 1 worker: with 0, no task could ever run");
        }
        if config.offload_limit == 0 {
            return invalid(
                "the offload limit must be at least 1: with 0, no closure could ever run",
            );
        }
        fourway_adapt::check_thread_name(&config.thread_name)?;
        // The registry must be able to make a handle, and the handle must know its number in
        // the registry: tie the knot through a weak reference.
        let home: Arc<OnceLock<Weak<ForgetInChild<Shared>>>> = Arc::default();
        let registration = implement::register({
            let home = home.clone();
            move || {
                let shared = home.get()?.upgrade()?;
                Some(AnyRuntime::new(Sim { shared }))
            }
        });
        let timers = Timers::new(thread_name(&config.thread_name, "timer"));
        let shared = Arc::new(ForgetInChild::new(Shared {
            inner: Arc::new(Inner::new(config, registration.id())),
            timers,
            _registration: registration,
        }));
        let _ = home.set(Arc::downgrade(&shared));
        Ok(Sim { shared })
    }
}

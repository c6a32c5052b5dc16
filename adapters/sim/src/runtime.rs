use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, Location, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use fourway_adapt::{fork::ForgetInChild, timer::Timers};
use fourway_core::{AnyRuntime, implement::Registration};

use crate::{
    Builder,
    carrier::{Order, Role},
    failure::{Failure, FailureKind, Found},
    here::Here,
    state::{Inner, Phase, lock},
    trace::{Action, Trace, UnitId, UnitKind},
};

/// A handle on a simulated runtime.
///
/// A clone is another handle on the same runtime. See the [crate docs](crate).
#[derive(Clone)]
pub struct Sim {
    pub(crate) shared: Arc<ForgetInChild<Shared>>,
}

/// The state that the handles share. Threads and tasks hold `Inner` alone, so that the runtime ends
/// with its last handle.
pub(crate) struct Shared {
    pub(crate) inner: Arc<Inner>,
    /// Outside of a run.
    pub(crate) timers: Timers,
    pub(crate) _registration: Registration,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.inner.close();
    }
}

/// As [`AnyRuntime::new`].
impl From<Sim> for AnyRuntime {
    fn from(sim: Sim) -> Self {
        Self::new(sim)
    }
}

impl Sim {
    /// A simulation with the default settings, and with all randomness drawn from `seed`.
    ///
    /// # Panics
    ///
    /// Never: the defaults are valid.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let built = Self::builder().seed(seed).build();
        built.expect("the defaults are valid")
    }

    /// Configures a simulation.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The seed: for a program that is drawn from it as well, such as a property test.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.inner().config.seed
    }

    /// The time of the system: of the world outside, with a date. In a run it begins at some
    /// moment of the year 2027, the same one each time, and goes with the virtual clock, but for
    /// a [drift](crate::Faults::drift); outside of one it is [`SystemTime::now`].
    ///
    /// For programs that take their wall clock as an argument.
    #[must_use]
    pub fn system_time(&self) -> SystemTime {
        let inner = self.inner();
        if inner.is_inherited() {
            return SystemTime::now();
        }
        let mut state = inner.lock();
        if !state.strict {
            return SystemTime::now();
        }
        let clock = state.clock;
        let passed = Duration::from_nanos(state.faults.drifted(clock));
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + passed
    }

    /// Simulates `main`, and gives its output.
    ///
    /// It runs on a thread of its own, and may block: by `block_on`, and by `.wait()` on anything
    /// that it has started. When it returns the run is over: the remaining work is destroyed, in a
    /// fixed order, and all threads have ended.
    ///
    /// # Panics
    ///
    /// If the run [fails](FailureKind), with the whole report.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{BlockOn, Spawner, Timer};
    /// use fourway_sim::Sim;
    /// use std::time::Duration;
    ///
    /// let day = Duration::from_secs(24 * 60 * 60);
    /// let passed = Sim::new(1).run(move |rt| {
    ///     let start = rt.now();
    ///     let inner = rt.clone();
    ///     rt.block_on(rt.spawn(async move { inner.sleep(day).await })).unwrap();
    ///     rt.now() - start
    /// });
    /// assert!(passed >= day); // a moment later, in fact
    /// ```
    pub fn run<F, T>(self, main: F) -> T
    where
        F: FnOnce(Self) -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.try_run(main) {
            Ok(run) => run.output,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// As [`run`](Self::run), with an error in place of the panic; and with the trace.
    ///
    /// # Errors
    ///
    /// The fault of the run.
    ///
    /// # Panics
    ///
    /// If the simulation has been used before, or was built in a parent of this process, or if the
    /// system gives no thread.
    pub fn try_run<F, T>(self, main: F) -> Result<Run<T>, Box<Failure>>
    where
        F: FnOnce(Self) -> T + Send + 'static,
        T: Send + 'static,
    {
        let inner = self.inner().clone();
        assert!(
            !inner.is_inherited(),
            "a simulation is run in the process that has built it, and not in a forked child"
        );
        let result: Arc<Mutex<Option<Ended<T>>>> = Arc::default();
        let mut state = inner.lock();
        assert!(
            !state.strict && state.carriers.is_empty() && state.alive.is_empty(),
            "a simulation can be run once, and not after it was used as an open one"
        );
        state.strict = true;
        #[cfg(feature = "net")]
        crate::net::Network::begin(&inner);
        let unit = state.unit(UnitKind::Main, None, None, None);
        let handle = self.clone();
        let put = result.clone();
        let started = inner.start(&mut state, Role::Own, unit, move |inner, me| {
            me.wait_turn();
            inner.lock().event(Some(unit), Action::Ran);
            // Unwind safety: the caller gets the panic.
            let output = catch_unwind(AssertUnwindSafe(|| main(handle)));
            let mut state = inner.lock();
            state.event(Some(unit), Action::Ended);
            let ended = match output {
                Ok(output) => {
                    let mut left: Vec<UnitId> = state.alive.keys().map(|id| UnitId(*id)).collect();
                    left.extend(state.pool.queue.iter().map(|job| job.id()));
                    for carrier in state.carriers.values() {
                        if carrier.role != Role::Worker && state.blocked.contains(&carrier.number) {
                            left.push(carrier.unit());
                        }
                    }
                    left.sort_unstable();
                    left.dedup();
                    if inner.config.deny_leftovers && !left.is_empty() {
                        state.find(FailureKind::Leftovers {
                            units: left.clone(),
                        });
                    }
                    Ended::Output(output, left)
                }
                Err(payload) => {
                    state.find(FailureKind::Panic {
                        message: message(&*payload),
                    });
                    Ended::Panic(payload)
                }
            };
            *lock(&put) = Some(ended);
            let first = state.refusals.first().copied();
            if let Some((unit, at)) = first.filter(|_| !inner.config.allow_refusals) {
                state.find(FailureKind::NestedBlockOn { unit, at });
            }
            let state = if state.phase == Phase::Running && state.found.is_some() {
                inner.give_up(state)
            } else {
                state.phase = state.phase.max(Phase::Closing);
                inner.close_locked(state)
            };
            inner.leave(state, me);
            me.wait_turn();
            debug_assert!(matches!(me.take_order(), Some(Order::Exit)), "it is over");
        });
        let carrier = started.expect("the system gives a thread for the main closure");
        state.current = Some(unit);
        inner.begin(state, &carrier);
        let whole = inner.wait_for_end();
        if whole {
            inner.end_threads();
        }
        let mut state = inner.lock();
        let trace = std::mem::take(&mut state.trace);
        let found = state.found.take();
        let steps = state.steps;
        let time = Duration::from_nanos(state.clock);
        drop(state);
        let ended = lock(&result).take();
        if let Some(Found { kind, waiting }) = found {
            return Err(Box::new(Failure {
                kind,
                seed: inner.config.seed,
                strategy: inner.config.strategy.clone(),
                trace,
                waiting,
                steps,
                shortened: None,
                command: None,
                files: Vec::new(),
            }));
        }
        match ended {
            Some(Ended::Output(output, leftovers)) => Ok(Run {
                output,
                trace,
                steps,
                time,
                leftovers,
            }),
            Some(Ended::Panic(payload)) => std::panic::resume_unwind(payload),
            None => unreachable!("the main closure has ended, or something was found"),
        }
    }

    #[inline]
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.shared.inner
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.shared.timers
    }
}

enum Ended<T> {
    Output(T, Vec<UnitId>),
    Panic(Box<dyn Any + Send>),
}

/// A run that went well.
#[derive(Debug)]
#[non_exhaustive]
pub struct Run<T> {
    /// The output of the main closure.
    pub output: T,
    /// The events.
    pub trace: Trace,
    /// The steps that were taken: polls, closures started, threads resumed.
    pub steps: u64,
    /// The virtual time that has passed.
    pub time: Duration,
    /// Tasks and closures that had not ended when the main closure returned.
    pub leftovers: Vec<UnitId>,
}

impl Inner {
    /// Waits until a run is over. `false` if it was given up, and its threads are left alone.
    fn wait_for_end(&self) -> bool {
        let mut state = self.lock();
        let mut seen = (state.epoch, state.steps);
        // For how long nothing has happened. Not by the clock alone: a process that is stopped for a
        // while has not waited for anything meanwhile, and goes on with all threads at once.
        let mut quiet = Duration::ZERO;
        while state.phase != Phase::Over {
            let limit = self.config.foreign_limit;
            let look = limit / 4 + Duration::from_millis(1);
            let from = Instant::now();
            let waited = self.finished.wait_timeout(state, look);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if (state.epoch, state.steps) != seen {
                seen = (state.epoch, state.steps);
                quiet = Duration::ZERO;
                continue;
            }
            quiet += from.elapsed().min(look);
            if state.phase == Phase::Over || quiet < limit {
                continue;
            }
            let holder = state.holder.and_then(|holder| state.carriers.get(&holder));
            let computes = holder.is_some_and(|holder| holder.computes());
            if computes && quiet < limit * 12 {
                continue;
            }
            // That thread cannot be interrupted, and no other may run beside it. All are left where
            // they are.
            let unit = holder.map(|holder| holder.unit());
            let at = holder.and_then(|holder| *lock(&holder.last_seen));
            let call = holder.and_then(|holder| holder.call());
            let (waiting, kept) = self.waiting(&state);
            if state.found.is_none() {
                state.found = Some(Found {
                    kind: FailureKind::ForeignBlock { unit, at, call },
                    waiting,
                });
            }
            state.phase = Phase::Over;
            drop(state);
            drop(kept);
            return false;
        }
        true
    }
}

/// The text of a panic.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| String::from("it panicked with a payload that is not a string"))
}

/// A point at which turns may change, in a closure, a thread or, in the middle of a poll, in a
/// task. It is for code that calls no operation of the runtime where the steps of another unit
/// might come in between.
///
/// Outside of a run it does nothing. In the middle of a poll it lets closures and threads go
/// first; other tasks too, if there are several
/// [workers](crate::Builder::workers).
#[track_caller]
pub fn point() {
    let location = Location::caller();
    if let Some(here) = Here::get() {
        here.inner.point(location, true);
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("config", &self.inner().config)
            .finish_non_exhaustive()
    }
}

/// Users put handles into structs of their own and share them.
const _: fn() = || {
    fn check<T: Send + Sync + Unpin + Clone + fmt::Debug + 'static>() {}
    check::<Sim>();
};

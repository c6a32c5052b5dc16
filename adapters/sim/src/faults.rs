//! What is made to go wrong on purpose: [`Faults`].

use std::time::Duration;

use crate::{builder::Config, random::Random};

/// What the panic of a [fault](Faults::panic) says.
pub const PANIC: &str = "a panic put in by the simulation";

/// What is made to go wrong on purpose; nothing, by default.
///
/// What goes wrong when is drawn from the seed, apart from the schedule. Chances are given in
/// thousandths.
///
/// # Examples
///
/// Cancels every task that is called `reader`, or begins so, at some await or other:
///
/// ```
/// use fourway_sim::{Faults, Sim};
///
/// let sim = Sim::builder().faults(Faults::none().cancel(100, ["reader"]));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Faults {
    slow: u32,
    slow_by: Duration,
    no_thread: u32,
    cancel: u32,
    cancel_names: Vec<String>,
    panic: u32,
    stall: u32,
    stall_by: Duration,
    shutdown: u32,
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// Of a thousand times that a task goes on, or a closure starts, so many are late by up to
    /// `by`.
    pub fn slow(mut self, chance: u32, by: Duration) -> Self {
        self.slow = chance;
        self.slow_by = by;
        self
    }

    /// Of a thousand threads that closures need, so many fail to start (OF-6).
    pub fn no_thread(mut self, chance: u32) -> Self {
        self.no_thread = chance;
        self
    }

    /// Of a thousand awaits of the tasks with these names, or with names that begin so, so many
    /// end in a cancellation: for code that is meant to be cancel safe. An empty name stands
    /// for all tasks, those without names included.
    pub fn cancel<S: Into<String>>(
        mut self,
        chance: u32,
        names: impl IntoIterator<Item = S>,
    ) -> Self {
        self.cancel = chance;
        self.cancel_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Of a thousand operations of tasks and closures (to spawn, to offload, to block, a
    /// [`point`](crate::point)), so many panic, with the text [`PANIC`].
    pub fn panic(mut self, chance: u32) -> Self {
        self.panic = chance;
        self
    }

    /// Of a thousand steps, so many are followed by a jump of the clock, by up to `by`: as if
    /// the machine had been suspended.
    pub fn stall(mut self, chance: u32, by: Duration) -> Self {
        self.stall = chance;
        self.stall_by = by;
        self
    }

    /// Of a thousand runs, so many are shut down somewhere in their first thousand steps.
    pub fn shutdown(mut self, chance: u32) -> Self {
        self.shutdown = chance;
        self
    }
}

/// The faults of one run.
#[derive(Debug)]
pub(crate) struct Faulty {
    faults: Faults,
    random: Random,
    shuts_down_at: Option<u64>,
}

impl Faulty {
    pub(crate) fn new(config: &Config) -> Self {
        let faults = config.faults.clone();
        let mut random = Random::new(config.seed, 1);
        let shuts_down_at = random
            .per_mille(faults.shutdown)
            .then(|| random.below(1000) as u64);
        Self {
            faults,
            random,
            shuts_down_at,
        }
    }

    fn up_to(&mut self, by: Duration) -> u64 {
        let by = usize::try_from(by.as_nanos()).unwrap_or(usize::MAX - 1);
        self.random.below(by + 1) as u64
    }

    pub(crate) fn slow(&mut self) -> Option<u64> {
        let is = self.random_if(self.faults.slow);
        is.then(|| self.up_to(self.faults.slow_by))
    }

    fn random_if(&mut self, chance: u32) -> bool {
        // Nothing is drawn for what never happens, so that it costs nothing.
        self.random.per_mille(chance)
    }

    pub(crate) fn no_thread(&mut self) -> bool {
        self.random_if(self.faults.no_thread)
    }

    pub(crate) fn may_cancel(&self, name: Option<&str>) -> bool {
        let name = name.unwrap_or_default();
        let names = &self.faults.cancel_names;
        self.faults.cancel > 0 && names.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    pub(crate) fn cancels(&mut self) -> bool {
        self.random_if(self.faults.cancel)
    }

    pub(crate) fn panics(&mut self) -> bool {
        self.random_if(self.faults.panic)
    }

    pub(crate) fn stall(&mut self) -> Option<u64> {
        let is = self.random_if(self.faults.stall);
        is.then(|| self.up_to(self.faults.stall_by))
    }

    pub(crate) fn shuts_down(&mut self, step: u64) -> bool {
        let now = self.shuts_down_at.is_some_and(|at| step >= at);
        if now {
            self.shuts_down_at = None;
        }
        now
    }
}

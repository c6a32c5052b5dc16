//! Faults that are put in on purpose: [`Faults`].

use std::time::Duration;

use crate::{builder::Config, random::Random};

/// The message of a [fault](Faults::panic)'s panic.
pub const PANIC: &str = "a panic put in by the simulation";

/// Faults that are put in on purpose; none, by default.
///
/// The faults and their times are drawn from the seed, apart from the schedule. Chances are given
/// in thousandths.
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
    jitter: Duration,
    drift: u32,
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

    /// Of a thousand threads that closures need, so many fail to start (OF-6, threads come and go).
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

    /// Each timer fires late, by up to `by`, as on a machine that is busy; never early (TI-1, never
    /// early). So timers with one deadline fire in any order.
    pub fn jitter(mut self, by: Duration) -> Self {
        self.jitter = by;
        self
    }

    /// The [system's time](crate::Sim::system_time) goes by up to so many millionths faster or
    /// slower than the clock of the timers; how many is drawn anew for each hour. 50 is usual for a
    /// quartz, 500 is as much as time servers correct.
    ///
    /// # Panics
    ///
    /// If it is a million or more: the time would stand still, or go back.
    pub fn drift(mut self, millionths: u32) -> Self {
        assert!(millionths < 1_000_000, "a clock that does not go back");
        self.drift = millionths;
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
    /// Apart from the others, so that timers change nothing in what else goes wrong.
    jitter: Random,
    drift: Drift,
}

impl Faulty {
    pub(crate) fn new(config: &Config) -> Self {
        let faults = config.faults.clone();
        let mut random = Random::new(config.seed, 1);
        let shuts_down_at = random
            .per_mille(faults.shutdown)
            .then(|| random.below(1000) as u64);
        Self {
            drift: Drift::new(config.seed, faults.drift),
            faults,
            random,
            shuts_down_at,
            jitter: Random::new(config.seed, 3),
        }
    }

    fn up_to(&mut self, by: Duration) -> u64 {
        up_to(&mut self.random, by)
    }

    /// By how much the next timer is late.
    pub(crate) fn jitter(&mut self) -> u64 {
        if self.faults.jitter.is_zero() {
            return 0;
        }
        up_to(&mut self.jitter, self.faults.jitter)
    }

    /// The time on the system's clock, for a time on that of the timers.
    pub(crate) fn drifted(&mut self, clock: u64) -> u64 {
        self.drift.at(clock)
    }

    pub(crate) fn slow(&mut self) -> Option<u64> {
        let is = self.random_if(self.faults.slow);
        is.then(|| self.up_to(self.faults.slow_by))
    }

    fn random_if(&mut self, chance: u32) -> bool {
        // Nothing is drawn for a fault that never happens, so that it costs nothing.
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

fn up_to(random: &mut Random, by: Duration) -> u64 {
    let by = usize::try_from(by.as_nanos()).unwrap_or(usize::MAX - 1);
    random.below(by.min(usize::MAX - 1) + 1) as u64
}

/// A clock that goes too fast in one hour and too slowly in the next one.
#[derive(Debug)]
struct Drift {
    most: u32,
    random: Random,
    /// When this hour began, by the clock of the timers and by this one; and how many millionths it
    /// goes too fast.
    hour: (u64, u64, i64),
}

impl Drift {
    const HOUR: u64 = 3_600_000_000_000;

    fn new(seed: u64, most: u32) -> Self {
        let mut drift = Self {
            most,
            random: Random::new(seed, 4),
            hour: (0, 0, 0),
        };
        drift.hour.2 = drift.rate();
        drift
    }

    fn rate(&mut self) -> i64 {
        let most = i64::from(self.most);
        self.random.below(2 * self.most as usize + 1) as i64 - most
    }

    /// The clock of the timers never goes back.
    fn at(&mut self, clock: u64) -> u64 {
        if self.most == 0 {
            return clock;
        }
        loop {
            let (began, read, rate) = self.hour;
            let passed = clock.saturating_sub(began);
            let more = |passed: u64| {
                let by = i128::from(passed) * i128::from(1_000_000 + rate) / 1_000_000;
                u64::try_from(by).unwrap_or(u64::MAX)
            };
            if passed < Self::HOUR {
                return read.saturating_add(more(passed));
            }
            self.hour = (
                began + Self::HOUR,
                read.saturating_add(more(Self::HOUR)),
                self.rate(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_drifts_within_bounds_and_never_back() {
        let mut drift = Drift::new(7, 500);
        let (mut before, mut fast, mut slow) = (0, false, false);
        for minute in 1..=600 {
            let clock = minute * Drift::HOUR / 60;
            let now = drift.at(clock);
            assert!(now > before && now.abs_diff(clock) <= clock / 2000);
            fast |= now - before > Drift::HOUR / 60;
            slow |= now - before < Drift::HOUR / 60;
            before = now;
        }
        assert!(fast && slow);
    }
}

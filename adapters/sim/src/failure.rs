//! The fault of a run: [`Failure`].

use std::{fmt, net::SocketAddr, panic::Location, path::PathBuf, time::Duration};

use crate::{
    Strategy,
    trace::{Trace, UnitId},
};

/// The target of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// The end of a task or closure.
    Join(UnitId),
    /// A moment on the virtual clock, counted from the beginning of the run.
    Timer(Duration),
    /// A slot of the pool.
    Slot,
    /// What this socket of the simulated network does not have yet: data, room for data, a
    /// connection or a datagram. Of one that connects across a partition, the other's address.
    Socket(SocketAddr),
}

/// A unit that waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Waiting {
    /// The unit.
    pub unit: UnitId,
    /// Its waits, as far as the simulation knows: empty if it is a waker of the program's own, of a
    /// channel for instance.
    pub waits: Vec<Wait>,
    /// Since when, on the virtual clock, counted from the beginning of the run: since its last turn.
    /// `None`: it is not known, or it is ready.
    pub since: Option<Duration>,
    /// The thread's last line at which it asked the simulation for something.
    pub at: Option<&'static Location<'static>>,
}

/// A finding during a run.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) kind: FailureKind,
    pub(crate) waiting: Vec<Waiting>,
}

/// The kind of a run's fault.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FailureKind {
    /// The main closure panicked.
    Panic {
        /// Its message.
        message: String,
    },
    /// Nothing can run, and no timer is due.
    Deadlock {
        /// Tasks that would have gone on if they had been woken: their wakes were lost.
        lost: Vec<UnitId>,
    },
    /// The main closure waits in vain, while others wake up again and again: see
    /// [`Builder::stuck_after`](crate::Builder::stuck_after).
    Stuck {
        /// Since when, on the virtual clock.
        since: Duration,
        /// Tasks that would have gone on, had somebody woken them.
        lost: Vec<UnitId>,
    },
    /// For so many steps nothing was achieved.
    Livelock {
        /// How many.
        steps: u64,
    },
    /// The run is longer than it may be.
    Steps {
        /// How long it may be.
        limit: u64,
        /// Tasks that would have gone on, had somebody woken them.
        lost: Vec<UnitId>,
    },
    /// A thread waits for something that the simulation does not know.
    ///
    /// The report names the unit, the line at which it was started, the last line at which it asked
    /// the simulation for something, and, on Linux, the system call in which its thread waits. The
    /// line of the wait itself it cannot name: a thread alone can unwind its stack, and it would
    /// have to be interrupted for that wherever it is. A debugger can, with a long
    /// [`foreign_limit`](crate::Builder::foreign_limit); the threads have the names of
    /// [`Builder::thread_name`](crate::Builder::thread_name). A [`point`](crate::point) before a
    /// suspect makes its line the last one seen.
    ForeignBlock {
        /// The unit that it runs.
        unit: Option<UnitId>,
        /// The last line at which it asked the simulation for something.
        at: Option<&'static Location<'static>>,
        /// The system call in which it waits, in words. `None` where the system does not tell.
        call: Option<String>,
    },
    /// A thread that the simulation has not started took part.
    ForeignThread {
        /// The thread's name.
        name: String,
    },
    /// Async code asked for `block_on`.
    NestedBlockOn {
        /// The unit that asked.
        unit: Option<UnitId>,
        /// Where it asked.
        at: &'static Location<'static>,
    },
    /// Tasks or closures were left that had not ended.
    Leftovers {
        /// The units.
        units: Vec<UnitId>,
    },
    /// Two runs of one seed differ.
    NonDeterminism {
        /// The number of the first event that differs.
        event: usize,
        /// The event in the first run.
        first: String,
        /// And in the second.
        second: String,
    },
}

impl FailureKind {
    /// Is it the same mistake, as far as one can tell?
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Panic { message: a }, Self::Panic { message: b }) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// A run that has failed, with all that is needed to understand it and to replay it.
///
/// `Display` is the whole report.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The fault.
    pub kind: FailureKind,
    /// The seed.
    pub seed: u64,
    /// The strategy.
    pub strategy: Strategy,
    /// The events up to the failure, and since.
    pub trace: Trace,
    /// The waiters at the time of the failure.
    pub waiting: Vec<Waiting>,
    /// The steps that were taken.
    pub steps: u64,
    /// A run with fewer preemptions that fails in the same way, if one was looked for and
    /// found.
    pub shortened: Option<Shortened>,
    pub(crate) command: Option<String>,
    pub(crate) files: Vec<PathBuf>,
}

/// A run with fewer preemptions that fails in the same way.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shortened {
    /// How often a unit was put off for another although it could have gone on.
    pub preemptions: u64,
    /// How often there were several to choose from.
    pub choices: u64,
    /// The events.
    pub trace: Trace,
    /// For [`Strategy::Replay`].
    pub schedule: Vec<UnitId>,
}

impl Failure {
    /// The value of [`FOURWAY_SIM`](crate::Check) that replays the run.
    #[must_use]
    pub fn replay(&self) -> String {
        let strategy = match &self.strategy {
            // The seed does not say which path it was.
            Strategy::DepthFirst => Strategy::Replay(self.trace.choices().to_vec()),
            strategy => strategy.clone(),
        };
        let (seed, strategy) = (self.seed, strategy.name());
        format!("{seed}:{strategy}:{:08x}", self.trace.hash() >> 32)
    }

    /// The variables that replay it.
    fn variables(&self) -> String {
        let twice = match self.kind {
            FailureKind::NonDeterminism { .. } => "FOURWAY_SIM_TWICE=1 ",
            _ => "",
        };
        format!("{twice}FOURWAY_SIM={}", self.replay())
    }

    /// The trace of the shortened run, or else of this run.
    pub(crate) fn shortest_trace(&self) -> &Trace {
        let shortened = self.shortened.as_ref();
        shortened.map_or(&self.trace, |shortened| &shortened.trace)
    }

    fn what(&self) -> String {
        let name = |unit: &Option<UnitId>| {
            unit.map_or_else(|| String::from("a thread"), |unit| self.trace.name_of(unit))
        };
        match &self.kind {
            FailureKind::Panic { message } => format!("panic: {message}"),
            FailureKind::Deadlock { lost } if lost.is_empty() => {
                "deadlock: nothing can run, and no timer is due".into()
            }
            FailureKind::Deadlock { lost } => {
                let names = self.names(lost);
                format!(
                    "lost wake: nothing can run, but {names} would have gone on, had somebody woken it"
                )
            }
            FailureKind::Livelock { steps } => format!(
                "livelock: in {steps} steps nothing was started, nothing ended, and no timer fired"
            ),
            FailureKind::Steps { limit, lost } => {
                format!(
                    "the run is longer than {limit} steps: see `Builder::max_steps`{}",
                    self.lost(lost)
                )
            }
            FailureKind::Stuck { since, lost } => {
                format!(
                    "stuck: main waits since {since:?} for what does not go on, while others wake up \
                     again and again: see `Builder::stuck_after`{}",
                    self.lost(lost)
                )
            }
            FailureKind::ForeignBlock { unit, at, call } => {
                let place = at.map_or_else(String::new, |at| format!(" since {at}"));
                let call = call.as_ref().map_or_else(String::new, |call| {
                    format!(". On this system its thread is in {call}")
                });
                format!(
                    "foreign wait: {} has its turn and has done nothing the simulation sees{place}. \
                     It waits for something that the simulation does not know: a lock whose holder \
                     has no turn, a channel, a socket{call}",
                    name(unit)
                )
            }
            FailureKind::ForeignThread { name } => format!(
                "foreign thread: the thread `{name}`, which the simulation has not started, took \
                 part. Use `Sim::thread` in its place, or allow it: `Builder::foreign_threads`"
            ),
            FailureKind::NestedBlockOn { unit, at } => {
                format!(
                    "`block_on` in async code: {} asked for it at {at}",
                    name(unit)
                )
            }
            FailureKind::Leftovers { units } => {
                let names: Vec<String> =
                    units.iter().map(|unit| self.trace.name_of(*unit)).collect();
                format!("left at the end: {}", names.join(", "))
            }
            FailureKind::NonDeterminism {
                event,
                first,
                second,
            } => format!(
                "not deterministic: two runs of the seed differ from event {event} on\n  \
                 first run:  {first}\n  second run: {second}"
            ),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the simulation failed: {}", self.what())?;
        for waiting in &self.waiting {
            write!(f, "  {} waits", self.trace.name_of(waiting.unit))?;
            let mut known = waiting.waits.iter();
            match known.next() {
                None => f.write_str(" for a waker of its own to be called")?,
                Some(first) => {
                    write!(f, " {}", self.wait(first))?;
                    for other in known {
                        write!(f, ", or {}", self.wait(other))?;
                    }
                }
            }
            if let Some(since) = waiting.since {
                write!(f, ", since {since:?}")?;
            }
            match waiting.at {
                Some(at) => writeln!(f, "; last seen at {at}")?,
                None => writeln!(f)?,
            }
        }
        let trace = self.shortest_trace();
        let events = trace.events();
        let last = events.len().saturating_sub(24);
        if !events.is_empty() {
            let which = if self.shortened.is_some() {
                "of the shortened run"
            } else {
                "of the run"
            };
            writeln!(f, "the last of {} events {which}:", trace.count())?;
            for event in &events[last..] {
                writeln!(f, "  {}", trace.describe(event))?;
            }
        }
        writeln!(
            f,
            "seed {}, schedule {}: {}, {}, {}",
            self.seed,
            self.strategy.name(),
            count(self.steps, "step"),
            count(self.trace.choice_count(), "choice"),
            count(self.trace.preemptions(), "preemption"),
        )?;
        if let Some(shortened) = &self.shortened {
            let strategy = Strategy::Replay(shortened.schedule.clone()).name();
            writeln!(
                f,
                "shortened: the same failure with {} in {}: FOURWAY_SIM={}:{strategy}",
                count(shortened.preemptions, "preemption"),
                count(shortened.choices, "choice"),
                self.seed
            )?;
        }
        for file in &self.files {
            writeln!(f, "written: {}", file.display())?;
        }
        match &self.command {
            Some(command) => write!(f, "replay: {} {command}", self.variables()),
            None => write!(f, "replay: {}", self.variables()),
        }
    }
}

impl Failure {
    fn names(&self, units: &[UnitId]) -> String {
        let names = units.iter().map(|unit| self.trace.name_of(*unit));
        names.collect::<Vec<_>>().join(", and ")
    }

    /// What is said besides of tasks that would have gone on.
    fn lost(&self, units: &[UnitId]) -> String {
        if units.is_empty() {
            return String::new();
        }
        let names = self.names(units);
        format!(". A wake is lost: {names} would have gone on, had somebody woken it")
    }

    fn wait(&self, wait: &Wait) -> String {
        match wait {
            Wait::Join(unit) => format!("for {}", self.trace.name_of(*unit)),
            Wait::Timer(time) => format!("until {time:?}"),
            Wait::Slot => "for a slot of the pool".into(),
            Wait::Socket(address) => format!("for its socket {address}"),
        }
    }
}

impl std::error::Error for Failure {}

/// `1 step`, `2 steps`.
fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

//! The events of a run: [`Trace`].

use std::{fmt, fmt::Write as _, panic::Location, time::Duration};

/// The number of a task, a closure or a thread of a simulation.
///
/// They are given out in the order of the starts, so that they are the same in each run of a seed,
/// and in each build of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub(crate) u32);

impl UnitId {
    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The kind of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnitKind {
    /// The closure given to [`Sim::run`](crate::Sim::run).
    Main,
    /// A spawned future.
    Task,
    /// An offloaded closure.
    Closure,
    /// A thread, started by [`Sim::thread`](crate::Sim::thread).
    Thread,
    /// A thread that the simulation has not started, inside of `block_on`.
    Guest,
}

/// A task, a closure or a thread of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unit {
    /// Its number.
    pub id: UnitId,
    /// Its kind.
    pub kind: UnitKind,
    /// Its name, if it was given one.
    pub name: Option<String>,
    /// Where it was started.
    pub location: Option<&'static Location<'static>>,
    /// The unit that has started it.
    pub parent: Option<UnitId>,
}

/// ``task 4 `indexer` (src/main.rs:4:35)``.
impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            UnitKind::Main => return f.write_str("main"),
            UnitKind::Task => "task",
            UnitKind::Closure => "closure",
            UnitKind::Thread => "thread",
            UnitKind::Guest => "foreign thread",
        };
        write!(f, "{kind} {}", self.id)?;
        if let Some(name) = &self.name {
            // A line of a report is one line, and does nothing to a terminal.
            f.write_str(" `")?;
            for c in name.chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    f.write_char(c)?;
                }
            }
            f.write_str("`")?;
        }
        if let Some(location) = self.location {
            write!(f, " ({location})")?;
        }
        Ok(())
    }
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// It started another one.
    Started(UnitId),
    /// It began to run, or went on.
    Ran,
    /// It waits.
    Waits,
    /// It gave way to others and is ready to go on.
    Yielded,
    /// It ended.
    Ended,
    /// It was destroyed unfinished.
    Destroyed,
    /// It could never be woken again, and was destroyed (WA-3, lost tasks are destroyed).
    Lost,
    /// It woke another one.
    Woke(UnitId),
    /// It asked for another one to be cancelled.
    Cancelled(UnitId),
    /// Its slot in the pool was lent to others.
    Lent,
    /// It has a slot again.
    TookBack,
    /// The time jumped to the next timer.
    Jumped,
    /// A fault was put in: see [`Fault`].
    Fault(Fault),
    /// It asked for `block_on` in async code, and was refused (BL-2, no blocking in async code).
    Refused,
    /// The runtime was shut down.
    Shutdown,
}

/// A fault that was put in on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A task or closure that was ready started late.
    Slow,
    /// A thread failed to start.
    NoThread,
    /// A task was cancelled at an await.
    Cancel,
    /// A panic.
    Panic,
    /// The clock stood still, and jumped.
    Stall,
    /// The runtime was shut down in the middle.
    Shutdown,
}

/// One event of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When, on the virtual clock, since the beginning of the run.
    pub at: Duration,
    /// The unit that did it, or to which it happened; `None`: the clock, or a thread that the
    /// simulation does not know.
    pub unit: Option<UnitId>,
    /// The action.
    pub action: Action,
}

/// The events of a run, in order.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    events: Vec<Event>,
    units: Vec<Unit>,
    choices: Vec<UnitId>,
    hash: u64,
    count: u64,
    choices_made: u64,
    preemptions: u64,
    limit: usize,
}

impl Trace {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            limit,
            ..Self::default()
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, at: u64, unit: Option<UnitId>, action: Action) {
        let (code, other) = code(action);
        let unit_number = unit.map_or(u32::MAX, |unit| unit.0);
        self.mix(at);
        self.mix((u64::from(unit_number) << 32) | u64::from(other));
        self.mix(code);
        self.count += 1;
        if self.events.len() < self.limit {
            self.events.push(Event {
                at: Duration::from_nanos(at),
                unit,
                action,
            });
        }
    }

    #[inline]
    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }

    pub(crate) fn unit(&mut self, unit: impl FnOnce() -> Unit) {
        if self.units.len() < self.limit {
            self.units.push(unit());
        }
    }

    pub(crate) fn choice(&mut self, chosen: UnitId, preempted: bool) {
        self.choices_made += 1;
        self.preemptions += u64::from(preempted);
        if self.choices.len() < self.limit {
            self.choices.push(chosen);
        }
    }

    /// The events, in order: the first million of them, or as many as
    /// [`Builder::trace_limit`](crate::Builder::trace_limit) says.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// All tasks, closures and threads, in the order of their numbers.
    #[must_use]
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: UnitId) -> Option<&Unit> {
        let at = self.units.binary_search_by_key(&id, |unit| unit.id);
        self.units.get(at.ok()?)
    }

    /// The chosen units, each time that there were several.
    #[must_use]
    pub fn choices(&self) -> &[UnitId] {
        &self.choices
    }

    /// How many choices there were.
    #[must_use]
    pub fn choice_count(&self) -> u64 {
        self.choices_made
    }

    /// How often another unit was chosen although the running one could have gone on.
    #[must_use]
    pub fn preemptions(&self) -> u64 {
        self.preemptions
    }

    /// How many events there were, those that are not kept included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// A number made of all events. The same program with the same seed has the same one, on
    /// any machine and in any build; so another one says that the program has changed, or
    /// depends on something other than the seed.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Where two traces differ first.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<usize> {
        let both = self.events.iter().zip(&other.events);
        let differs = both.map(|(a, b)| a != b).position(|differs| differs);
        differs.or_else(|| {
            let (a, b) = (self.events.len(), other.events.len());
            (a != b || self.hash != other.hash).then_some(a.min(b))
        })
    }

    pub(crate) fn name_of(&self, id: UnitId) -> String {
        self.get(id)
            .map_or_else(|| format!("number {id}"), ToString::to_string)
    }

    /// An event in words.
    #[must_use]
    pub fn describe(&self, event: &Event) -> String {
        let who = event
            .unit
            .map_or_else(|| "the clock".into(), |id| self.name_of(id));
        let what = match event.action {
            Action::Started(other) => format!("starts {}", self.name_of(other)),
            Action::Ran => "runs".into(),
            Action::Waits => "waits".into(),
            Action::Yielded => "gives way".into(),
            Action::Ended => "ends".into(),
            Action::Destroyed => "is destroyed".into(),
            Action::Lost => "is destroyed: nobody could wake it any more".into(),
            Action::Woke(other) => format!("wakes {}", self.name_of(other)),
            Action::Cancelled(other) => format!("cancels {}", self.name_of(other)),
            Action::Lent => "lends its slot".into(),
            Action::TookBack => "has a slot again".into(),
            Action::Jumped => "jumps to the next timer".into(),
            Action::Fault(fault) => format!("FAULT: {fault}"),
            Action::Refused => "asks to block in async code, and is refused".into(),
            Action::Shutdown => "shuts the runtime down".into(),
        };
        format!("{:>14} {who} {what}", format!("{:?}", event.at))
    }
}

fn code(action: Action) -> (u64, u32) {
    match action {
        Action::Started(other) => (1, other.0),
        Action::Ran => (2, 0),
        Action::Waits => (3, 0),
        Action::Yielded => (4, 0),
        Action::Ended => (5, 0),
        Action::Destroyed => (6, 0),
        Action::Lost => (7, 0),
        Action::Woke(other) => (8, other.0),
        Action::Cancelled(other) => (9, other.0),
        Action::Lent => (10, 0),
        Action::TookBack => (11, 0),
        Action::Jumped => (12, 0),
        Action::Fault(fault) => (13, fault as u32),
        Action::Refused => (14, 0),
        Action::Shutdown => (15, 0),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slow => "starts late",
            Self::NoThread => "a thread does not start",
            Self::Cancel => "is cancelled at an await",
            Self::Panic => "panics",
            Self::Stall => "the clock stood still, and jumped",
            Self::Shutdown => "the runtime is shut down",
        })
    }
}

/// One event a line.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.events {
            writeln!(f, "{}", self.describe(event))?;
        }
        let left_out = self.count - self.events.len() as u64;
        if left_out > 0 {
            writeln!(f, "and {left_out} events more")?;
        }
        Ok(())
    }
}

//! What an engine can do: [`Capabilities`].

use std::fmt;

/// One thing that an engine can do, or cannot.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
#[repr(u8)]
pub enum Capability {
    /// Jobs survive the death of every process that uses the engine.
    Durable,
    /// Several processes may use it at once.
    Processes,
    /// Jobs survive the death of any one server.
    Replicated,
    /// A job may be submitted for later.
    Delay,
    /// Jobs of a higher priority come first.
    Priority,
    /// A unique key is taken by one job at a time.
    Unique,
    /// A job that waits can be cancelled, and never runs.
    CancelQueued,
    /// The worker of a job that runs learns that it is to end.
    CancelRunning,
    /// Jobs can be listed and counted by state and kind.
    List,
    /// What a job says of its progress is seen by others.
    Progress,
    /// A job that has ended is forgotten when its time is up.
    Retention,
}

impl Capability {
    /// All there are.
    pub const ALL: [Self; 11] = [
        Self::Durable,
        Self::Processes,
        Self::Replicated,
        Self::Delay,
        Self::Priority,
        Self::Unique,
        Self::CancelQueued,
        Self::CancelRunning,
        Self::List,
        Self::Progress,
        Self::Retention,
    ];

    /// The name that reports and [`Display`](fmt::Display) have.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Processes => "processes",
            Self::Replicated => "replicated",
            Self::Delay => "delay",
            Self::Priority => "priority",
            Self::Unique => "unique",
            Self::CancelQueued => "cancel-queued",
            Self::CancelRunning => "cancel-running",
            Self::List => "list",
            Self::Progress => "progress",
            Self::Retention => "retention",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of [`Capability`]s: what an engine declares.
///
/// The acceptance suite holds it to both sides: what is declared has to work, and what is not
/// has to be answered with the error or the answer that the boundary names for it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u16);

impl Capabilities {
    /// None at all: jobs are submitted, run and end.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// What the boundary was made for, apart from surviving anything.
    #[must_use]
    pub fn in_process() -> Self {
        use Capability::{
            CancelQueued, CancelRunning, Delay, List, Priority, Progress, Retention, Unique,
        };
        [
            Delay,
            Priority,
            Unique,
            CancelQueued,
            CancelRunning,
            List,
            Progress,
            Retention,
        ]
        .into_iter()
        .fold(Self::none(), Self::with)
    }

    /// And this one.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    /// But for this one.
    #[must_use]
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability as u8))
    }

    /// It is declared.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u8 != 0
    }

    /// Those that are declared.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL
            .into_iter()
            .filter(move |one| self.has(*one))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

//! The capabilities of an engine: [`Capabilities`].

use std::fmt;

use crate::NewJob;

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
    /// The worker of a running job learns that it must end.
    CancelRunning,
    /// Jobs can be listed and counted by state and kind.
    List,
    /// Clients see the progress that a job reports.
    Progress,
    /// A job that has ended is forgotten when its time is up. An engine without this keeps jobs for as
    /// long as it likes, and refuses a time other than the [default](crate::NewJob::KEEP).
    Retention,
    /// A job that has ended without an output can be run again.
    Retry,
}

impl Capability {
    /// All capabilities.
    pub const ALL: [Self; 12] = [
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
        Self::Retry,
    ];

    /// The name that reports and [`Display`](fmt::Display) show.
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
            Self::Retry => "retry",
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
/// The acceptance suite checks both sides: a declared capability must work, and a request for an
/// undeclared one must get the error or the answer that the boundary defines for it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u16);

impl Capabilities {
    /// No capability: jobs are submitted, run and end.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// All capabilities except `Durable`, `Processes` and `Replicated`.
    #[must_use]
    pub fn in_process() -> Self {
        use Capability::{
            CancelQueued, CancelRunning, Delay, List, Priority, Progress, Retention, Retry, Unique,
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
            Retry,
        ]
        .into_iter()
        .fold(Self::none(), Self::with)
    }

    /// Adds this capability.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    /// Removes this capability.
    #[must_use]
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability as u8))
    }

    /// Whether the capability is declared.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u8 != 0
    }

    /// For engines: a capability that the job needs and that is not declared. The engine refuses the job
    /// with [`EngineError::unsupported`](crate::EngineError::unsupported).
    #[must_use]
    pub fn lacking_for(self, job: &NewJob) -> Option<Capability> {
        [
            (Capability::Delay, !job.delay.is_zero()),
            (Capability::Priority, job.priority != 0),
            (Capability::Unique, job.unique.is_some()),
            (Capability::Retention, job.keep != NewJob::KEEP),
        ]
        .into_iter()
        .find_map(|(needs, so)| (so && !self.has(needs)).then_some(needs))
    }

    /// The declared capabilities.
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

//! One case of the suite: [`Case`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Capabilities;

/// One case of the suite.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Case {
    /// The rule it holds a runtime to and an ordinal, for good: `JO-2.1`.
    pub id: &'static str,
    /// What must be so, in a few words.
    pub title: &'static str,
    /// Why it matters; where it was learnt from.
    pub why: &'static str,
    /// How much of the contract it belongs to.
    pub level: Level,
    /// What the runtime must be able to do for the case to make sense.
    pub needs: &'static [Capability],
    /// The version of the suite that brought it.
    pub since: &'static str,
    /// Runs the case on a fresh runtime; panics if the rule is broken.
    pub run: fn(),
}

impl Case {
    /// The rule the case holds a runtime to: `JO-2` for `JO-2.1`.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        self.id.split_once('.').map_or(self.id, |(rule, _)| rule)
    }

    /// The capability that the case needs and `has` lacks, if there is one.
    #[must_use]
    pub fn lacks(&self, has: Capabilities) -> Option<Capability> {
        self.needs.iter().copied().find(|need| !need.is_in(has))
    }
}

/// How much of the contract a case belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Level {
    /// What every runtime must do; nothing may be skipped.
    Core,
    /// What a runtime must do if it declares the capability.
    Extended,
    /// Many rounds with a seed, for races that are rarely seen.
    Stress,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Core => "core",
            Self::Extended => "extended",
            Self::Stress => "stress",
        })
    }
}

/// A field of [`Capabilities`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Capability {
    /// [`Capabilities::multi_threaded`].
    MultiThreaded,
    /// [`Capabilities::block_in_place`].
    BlockInPlace,
    /// [`Capabilities::shutdown`].
    Shutdown,
    /// [`Capabilities::lost_tasks`].
    LostTasks,
    /// [`Capabilities::spreads_wakes`].
    SpreadsWakes,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::MultiThreaded,
        Self::BlockInPlace,
        Self::Shutdown,
        Self::LostTasks,
        Self::SpreadsWakes,
    ];

    /// Is it declared?
    #[must_use]
    pub fn is_in(self, capabilities: Capabilities) -> bool {
        match self {
            Self::MultiThreaded => capabilities.multi_threaded,
            Self::BlockInPlace => capabilities.block_in_place,
            Self::Shutdown => capabilities.shutdown,
            Self::LostTasks => capabilities.lost_tasks,
            Self::SpreadsWakes => capabilities.spreads_wakes,
        }
    }

    /// Its name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MultiThreaded => "multi-threaded",
            Self::BlockInPlace => "block-in-place",
            Self::Shutdown => "shutdown",
            Self::LostTasks => "lost-tasks",
            Self::SpreadsWakes => "spreads-wakes",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

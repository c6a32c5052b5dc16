//! One case of the suite: [`Case`].

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::Capabilities;

/// One case of the suite.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Case {
    /// The rule that the case checks, and an ordinal that never changes: `JO-2.1`.
    pub id: &'static str,
    /// What must hold, in a few words.
    pub title: &'static str,
    /// Why it matters, and its source.
    pub why: &'static str,
    /// The level of the contract to which it belongs.
    pub level: Level,
    /// All capabilities that the runtime must have for the case.
    pub needs: &'static [Capability],
    /// The runtime must have at least one of these, if the list is not empty.
    pub needs_any: &'static [Capability],
    /// Capabilities that the runtime must not have: the case checks what happens without them.
    pub without: &'static [Capability],
    /// Does it need Unix, for forks for example? Elsewhere it is not applicable.
    pub unix: bool,
    /// The version of the suite that added it.
    pub since: &'static str,
    pub(crate) body: Body,
}

impl Case {
    /// Runs the case on a fresh runtime of its subject.
    ///
    /// # Panics
    ///
    /// If the rule is broken.
    pub fn run(&self) {
        (self.body.0)();
    }

    /// The rule that the case checks: `JO-2` for `JO-2.1`.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        self.id.split_once('.').map_or(self.id, |(rule, _)| rule)
    }

    /// Why the case does not apply to a subject with the capabilities `has`; `None` if it applies.
    #[must_use]
    pub fn unsupported(&self, has: Capabilities) -> Option<String> {
        if self.unix && !cfg!(unix) {
            return Some("only Unix has what it is about".to_owned());
        }
        let present = |capability: &&Capability| capability.is_in(has);
        let absent = |capability: &&Capability| !capability.is_in(has);
        if let Some(lacking) = self.needs.iter().find(absent) {
            return Some(format!("the subject does not declare `{lacking}`"));
        }
        if !self.needs_any.is_empty() && self.needs_any.iter().all(|one| absent(&one)) {
            let names: Vec<String> = self
                .needs_any
                .iter()
                .map(|one| format!("`{one}`"))
                .collect();
            return Some(format!("the subject declares none of {}", names.join(", ")));
        }
        self.without
            .iter()
            .find(present)
            .map(|capability| format!("only where `{capability}` is declared absent"))
    }

    /// Its requirements on a runtime, in words: `[shutdown]`, `[lost-tasks or shutdown]`, `[without
    /// shutdown]`; empty if there are none.
    #[must_use]
    pub fn requirements(&self) -> String {
        let mut parts: Vec<String> = self.needs.iter().map(Capability::to_string).collect();
        if !self.needs_any.is_empty() {
            let names: Vec<&str> = self.needs_any.iter().map(|one| one.name()).collect();
            parts.push(names.join(" or "));
        }
        parts.extend(self.without.iter().map(|one| format!("without {one}")));
        if parts.is_empty() {
            String::new()
        } else {
            format!("[{}]", parts.join(", "))
        }
    }

    /// Does it require the capability, or its absence?
    #[must_use]
    pub fn is_about(&self, capability: Capability) -> bool {
        [self.needs, self.needs_any, self.without]
            .iter()
            .any(|list| list.contains(&capability))
    }
}

/// The body of a case, with its subject.
#[derive(Clone)]
pub(crate) struct Body(Arc<dyn Fn() + Send + Sync>);

impl Body {
    pub(crate) fn new(body: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(body))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body(..)")
    }
}

/// The level of the contract to which a case belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Level {
    /// Every runtime must pass it; no case may be skipped.
    Core,
    /// A runtime must pass it if it declares the capability. Nurseries belong here, too.
    Extended,
    /// Many rounds with a seed, for rare races.
    Stress,
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Core, Self::Extended, Self::Stress];

    /// Its name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Extended => "extended",
            Self::Stress => "stress",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A field of [`Capabilities`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

    /// The rule for a runtime without it.
    #[must_use]
    pub fn without(self) -> &'static str {
        match self {
            Self::MultiThreaded => "no two tasks are polled at a time",
            Self::BlockInPlace => "in a task, `block_in_place` gives `is_unsupported`",
            Self::Shutdown => "`shutdown` gives `is_not_owned`",
            Self::LostTasks => {
                "a detached task that nobody can wake any more is kept, until the shutdown at most"
            }
            Self::SpreadsWakes => {
                "a task may wait for the one that woke or spawned it, until the end of that poll"
            }
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

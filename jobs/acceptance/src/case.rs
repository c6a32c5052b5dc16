//! One case of the suite: [`Case`].

use fourway_jobs_engine::{Capabilities, Capability};

use crate::{
    clock,
    entry::{Entry, Harm},
    scene::Scene,
};

/// One case of the suite.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Case {
    /// The rule that the case checks, and an ordinal that never changes: `EN-2.1`.
    pub id: &'static str,
    /// What must hold, in a few words.
    pub title: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// All capabilities that the engine must declare for the case.
    pub needs: &'static [Capability],
    /// The capabilities that the engine must not declare: the case checks what happens without
    /// them.
    pub without: &'static [Capability],
    /// It signals processes, as only Unix can.
    pub unix: bool,
    /// The harm that the case does to the engine's server.
    pub harm: Option<Harm>,
    /// A process has a clock that is wrong.
    pub clock: bool,
    /// The engine uses a clock other than the process's, see [`Entry::clock_elsewhere`].
    pub clock_elsewhere: bool,
    pub(crate) body: fn(&Scene<'_>),
}

impl Case {
    /// Why the case does not apply to an engine with these capabilities; `None` if it applies.
    #[must_use]
    pub fn unsupported(&self, has: Capabilities, entry: &Entry) -> Option<String> {
        let harms = || entry.harms.iter().chain(&entry.harms_not_here);
        if let Some(harm) = self.harm.filter(|harm| !harms().any(|one| one == harm)) {
            return Some(format!("{} is nothing that it can suffer", harm.name()));
        }
        if self.clock_elsewhere && !entry.clock_elsewhere {
            return Some("the engine asks the clock of the one machine that it is for".to_owned());
        }
        if let Some(lacking) = self.needs.iter().find(|one| !has.has(**one)) {
            return Some(format!("the engine does not declare `{lacking}`"));
        }
        let there = self.without.iter().find(|one| has.has(**one))?;
        Some(format!("only where `{there}` is declared absent"))
    }

    /// Why the case cannot be had on this machine; `None` if it can.
    #[must_use]
    pub fn not_here(&self, entry: &Entry) -> Option<String> {
        if self.unix && !cfg!(unix) {
            return Some("only Unix has signals".to_owned());
        }
        if let Some(harm) = self.harm.filter(|harm| !entry.harms.contains(harm)) {
            return Some(format!("{} cannot be had here", harm.name()));
        }
        (self.clock && clock::library().is_none())
            .then(|| "a wrong clock cannot be had here: libfaketime makes it".to_owned())
    }
}

/// All cases, in the contract's order.
#[must_use]
pub fn cases() -> Vec<Case> {
    crate::cases::all()
}

/// The cases of a file.
macro_rules! table {
    ($($id:literal, $title:literal, $why:literal, $body:path
        $(, needs [$($needs:ident),*])? $(, without [$($without:ident),*])? $(, unix $unix:literal)? $(, harm $harm:ident)?
        $(, clock $clock:literal)? $(, clock_elsewhere $elsewhere:literal)?;)*) => {
        vec![$(crate::case::Case {
            id: $id,
            title: $title,
            why: $why,
            needs: &[$($(fourway_jobs_engine::Capability::$needs),*)?],
            without: &[$($(fourway_jobs_engine::Capability::$without),*)?],
            unix: false $(|| $unix)?,
            harm: None $(.or(Some(crate::entry::Harm::$harm)))?,
            clock: false $(|| $clock)?,
            clock_elsewhere: false $(|| $elsewhere)?,
            body: $body,
        }),*]
    };
}
pub(crate) use table;

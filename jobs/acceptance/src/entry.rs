//! An engine under test: [`Entry`].

use std::{fmt, sync::Arc, time::Duration};

use fourway_core::AnyRuntime;
use fourway_jobs_engine::Engine;
use fourway_suite::KnownFailure;

/// Where jobs are kept while a case runs. Dropping it removes them.
pub trait Place: Send + Sync {
    /// An engine on this place: each call gives another one, or another handle.
    fn open(&self, rt: &AnyRuntime) -> Arc<dyn Engine>;

    /// The address that [`Entry::elsewhere`] needs in another process. Only engines that declare
    /// [`Processes`](fourway_jobs_engine::Capability::Processes) are asked.
    fn address(&self) -> Option<String> {
        None
    }
}

/// A [`Place`] with a server of its own, which may be harmed.
pub trait Harmed: Place {
    /// Begins to harm it; returns when it has.
    fn begin(&self, harm: Harm);

    /// Ends the harm; returns when the server would answer again.
    fn end(&self, harm: Harm);
}

/// A harm that is done to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Harm {
    /// It is killed, and started again with what its disk has.
    Killed,
    /// Connections to it end, and no new one is possible.
    Cut,
    /// Its disk has no room left.
    FullDisk,
    /// It stands still: connections stay open without answers.
    Stopped,
}

impl Harm {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Killed => "a server that is killed",
            Self::Cut => "a connection that is cut",
            Self::FullDisk => "a full disk",
            Self::Stopped => "a server that stands still",
        }
    }
}

/// An engine under test.
#[derive(Clone)]
pub struct Entry {
    pub(crate) name: &'static str,
    pub(crate) place: Arc<dyn Fn() -> Box<dyn Place> + Send + Sync>,
    pub(crate) elsewhere: Option<Elsewhere>,
    pub(crate) harmed: Option<HarmedPlace>,
    pub(crate) harms: Vec<Harm>,
    pub(crate) harms_not_here: Vec<Harm>,
    pub(crate) clock_elsewhere: bool,
    pub(crate) known: Vec<KnownFailure>,
    pub(crate) ages: Duration,
}

type HarmedPlace = Arc<dyn Fn(Harm) -> Box<dyn Harmed> + Send + Sync>;
type Elsewhere = Arc<dyn Fn(&AnyRuntime, &str) -> Arc<dyn Engine> + Send + Sync>;

impl Entry {
    /// An engine of that name. Each call of the closure gives a place without jobs.
    pub fn new(
        name: &'static str,
        place: impl Fn() -> Box<dyn Place> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            place: Arc::new(place),
            elsewhere: None,
            harmed: None,
            harms: Vec::new(),
            harms_not_here: Vec::new(),
            clock_elsewhere: false,
            known: Vec::new(),
            ages: Duration::from_secs(60),
        }
    }

    /// How another process opens an engine on a place, by its [address](Place::address).
    #[must_use]
    pub fn elsewhere(
        mut self,
        open: impl Fn(&AnyRuntime, &str) -> Arc<dyn Engine> + Send + Sync + 'static,
    ) -> Self {
        self.elsewhere = Some(Arc::new(open));
        self
    }

    /// A place with a server of its own, to which these harms can be done on this machine. Without
    /// it, cases about servers are left out.
    #[must_use]
    pub fn harmed(
        mut self,
        harms: impl IntoIterator<Item = Harm>,
        place: impl Fn(Harm) -> Box<dyn Harmed> + Send + Sync + 'static,
    ) -> Self {
        self.harms = harms.into_iter().collect();
        self.harmed = Some(Arc::new(place));
        self
    }

    /// Harms that it can suffer, and that cannot be done to it on this machine. Reports tell their cases
    /// apart from those that do not apply.
    #[must_use]
    pub fn not_harmed_here(mut self, harms: impl IntoIterator<Item = Harm>) -> Self {
        self.harms_not_here = harms.into_iter().collect();
        self
    }

    /// The engine uses its server's clock, so a process with a wrong clock has no effect. Without
    /// it, the case about such processes is left out.
    #[must_use]
    pub fn clock_elsewhere(mut self) -> Self {
        self.clock_elsewhere = true;
        self
    }

    /// A case that the engine is known to fail. If the case passes, the run fails.
    #[must_use]
    pub fn known_failure(mut self, case: &'static str, reason: &'static str) -> Self {
        self.known.push((case, reason).into());
        self
    }

    /// How long a case waits for what must happen before it fails. A minute by default: long
    /// enough for a machine that is busy with something else.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.ages = patience;
        self
    }

    /// Its name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

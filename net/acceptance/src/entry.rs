//! A network under test: [`Entry`].

use std::{fmt, sync::Arc, time::Duration};

use fourway_core::AnyRuntime;
use fourway_suite::KnownFailure;

use crate::{network::Network, sockets::Sockets};

/// A network under test.
#[derive(Clone)]
pub struct Entry {
    pub(crate) name: &'static str,
    pub(crate) network: Arc<dyn Fn() -> Box<dyn Network> + Send + Sync>,
    pub(crate) known: Vec<KnownFailure>,
    pub(crate) patience: Duration,
}

impl Entry {
    /// A network of that name. Each call of the closure gives a new one on a new runtime, as cases
    /// shut runtimes down.
    pub fn new(
        name: &'static str,
        network: impl Fn() -> Box<dyn Network> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            network: Arc::new(network),
            known: Vec::new(),
            patience: Duration::from_secs(60),
        }
    }

    /// [`Sockets`] on a runtime: each call of the closure gives a new runtime.
    pub fn runtime(
        name: &'static str,
        runtime: impl Fn() -> AnyRuntime + Send + Sync + 'static,
    ) -> Self {
        Self::new(name, move || Box::new(Sockets::new(runtime())))
    }

    /// A case that the network is known to fail. If the case passes, the run fails.
    #[must_use]
    pub fn known_failure(mut self, case: &'static str, reason: &'static str) -> Self {
        self.known.push((case, reason).into());
        self
    }

    /// How long a case waits for what must happen before it fails. A minute by default: long
    /// enough for a machine that is busy with something else.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
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

//! The input of a case: [`Setup`], with which it builds its runtime.

use std::fmt;

use fourway_core::Runtime;

use crate::{Capabilities, Config, Subject, execute::Doors, nursery::Nurseries};

/// Builds runtimes for a case, and gives their capabilities.
///
/// Cases are generic over it. Most are compiled once, in this crate, for
/// [`Erased`](crate::erased::Erased). Cases about the runtime's own types are compiled
/// for each type, for [`Native`]: see [`cases`](crate::cases()).
pub(crate) trait Setup: Copy + Send + Sync + 'static {
    type Runtime: Runtime;

    /// A fresh runtime.
    fn build_as(self, config: &Config) -> Self::Runtime;

    /// The subject's declared capabilities.
    fn capabilities(self) -> Capabilities;

    /// Names of threads that stay, as the subject declares.
    fn process_threads(self) -> &'static [&'static str];

    /// The nurseries for the cases about nurseries.
    fn nurseries(self) -> &'static dyn Nurseries;

    /// The implementation for the cases about executing work.
    fn doors(self) -> &'static dyn Doors;

    /// A fresh runtime with the default config.
    fn build(self) -> Self::Runtime {
        self.build_as(&Config::default())
    }

    /// A fresh runtime with a changed config.
    fn build_with(self, change: impl FnOnce(&mut Config)) -> Self::Runtime {
        let mut config = Config::default();
        change(&mut config);
        self.build_as(&config)
    }
}

/// A subject's runtimes as they are. Subjects that share a type of runtime share this
/// type too, and with it the code of the cases.
pub(crate) struct Native<R> {
    build: fn(&Config) -> R,
    capabilities: fn() -> Capabilities,
    process_threads: fn() -> &'static [&'static str],
    nurseries: fn() -> &'static dyn Nurseries,
    doors: fn() -> &'static dyn Doors,
}

impl<R> Native<R> {
    pub(crate) fn of<S: Subject<Runtime = R>>() -> Self {
        Self {
            build: S::build,
            capabilities: S::capabilities,
            process_threads: S::process_threads,
            nurseries: S::nurseries,
            doors: S::doors,
        }
    }
}

impl<R: Runtime> Setup for Native<R> {
    type Runtime = R;

    fn build_as(self, config: &Config) -> R {
        (self.build)(config)
    }

    fn capabilities(self) -> Capabilities {
        (self.capabilities)()
    }

    fn process_threads(self) -> &'static [&'static str] {
        (self.process_threads)()
    }

    fn nurseries(self) -> &'static dyn Nurseries {
        (self.nurseries)()
    }

    fn doors(self) -> &'static dyn Doors {
        (self.doors)()
    }
}

// Derived impls would require `R: Copy`.
impl<R> Copy for Native<R> {}

impl<R> Clone for Native<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> fmt::Debug for Native<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Native").finish_non_exhaustive()
    }
}

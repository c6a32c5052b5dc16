use std::fmt;

use fourway_core::Runtime;

use super::{
    block_on::DynBlockOn, offload::DynOffload, shutdown::DynShutdown, spawn::DynSpawner,
    timer::DynTimer,
};
use crate::{Capabilities, Config, Subject, execute::Doors, nursery::Nurseries, setup::Setup};

/// A subject's runtimes, all of one type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Erased {
    build: fn(&Config) -> ErasedRuntime,
    capabilities: fn() -> Capabilities,
    process_threads: fn() -> &'static [&'static str],
    nurseries: fn() -> &'static dyn Nurseries,
    doors: fn() -> &'static dyn Doors,
}

impl Erased {
    pub(crate) fn of<S: Subject>() -> Self {
        Self {
            build: |config| ErasedRuntime(Box::new(S::build(config))),
            capabilities: S::capabilities,
            process_threads: S::process_threads,
            nurseries: S::nurseries,
            doors: S::doors,
        }
    }
}

impl Setup for Erased {
    type Runtime = ErasedRuntime;

    fn build_as(self, config: &Config) -> ErasedRuntime {
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

/// One handle on a subject's runtime.
pub(crate) struct ErasedRuntime(pub(super) Box<dyn DynRuntime>);

/// A [`Runtime`] without generics.
pub(super) trait DynRuntime:
    DynSpawner + DynBlockOn + DynOffload + DynTimer + DynShutdown + fmt::Debug + Send + Sync
{
    fn clone_dyn(&self) -> Box<dyn DynRuntime>;
}

impl<R: Runtime> DynRuntime for R {
    fn clone_dyn(&self) -> Box<dyn DynRuntime> {
        Box::new(self.clone())
    }
}

impl Clone for ErasedRuntime {
    fn clone(&self) -> Self {
        Self(self.0.clone_dyn())
    }
}

impl fmt::Debug for ErasedRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

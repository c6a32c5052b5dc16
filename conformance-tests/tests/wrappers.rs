//! The wrappers of the core, and `Traced` of `fourway-interop`, tested against the whole contract:
//! a wrapper keeps it.
//!
//! Over the std-thread runtime, which has all capabilities: so a method that a wrapper does not
//! pass on, such as shutdown or `block_in_place`, shows.

use fourway_conformance::{Config, Subject, conformance_main};
use fourway_core::{
    AnyRuntime, Compose, ParkHooks,
    layer::{Parked, Propagate},
};
use fourway_interop::tracing::Traced;
use fourway_std_thread::StdThread;

fn threads(config: &Config) -> StdThread {
    StdThread::builder()
        .worker_threads(config.workers)
        .offload_limit(config.offload_limit)
        .offload_queue(config.offload_queue)
        .keep_alive(config.keep_alive)
        .build()
        .expect("a valid config")
}

macro_rules! subject {
    ($subject:ident, $name:literal, $runtime:ty, $build:expr) => {
        struct $subject;

        impl Subject for $subject {
            type Runtime = $runtime;
            const NAME: &'static str = $name;

            fn build(config: &Config) -> Self::Runtime {
                let build: fn(&Config) -> $runtime = $build;
                build(config)
            }
        }
    };
}

// Two runtimes, so that work for the wrong one shows.
subject!(
    Composed,
    "compose",
    Compose<StdThread, StdThread>,
    |config| Compose::new(threads(config), threads(config))
);
// Each layer, as its own type.
subject!(
    Layered,
    "layers",
    Traced<Parked<Propagate<StdThread>>>,
    |config| Traced::new(Parked::new(
        Propagate::new(threads(config)),
        ParkHooks::new(|| (), |()| ())
    ))
);
// The outermost and the innermost are erased.
subject!(Stacked, "stacked", AnyRuntime, |config| AnyRuntime::new(
    Propagate::new(Compose::new(
        AnyRuntime::new(threads(config)),
        threads(config)
    ))
));

conformance_main!(Composed, Layered, Stacked; recorded in "../docs/conformance/wrappers.json");

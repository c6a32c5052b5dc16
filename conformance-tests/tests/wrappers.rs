//! The wrappers of the core, held to the whole contract: a wrapper keeps it.

use std::thread;

use fourway_adapt::{self as adapt, Adapter, BoxFuture, Execute};
use fourway_conformance::{Capabilities, Config, Subject, conformance_main};
use fourway_core::{AnyRuntime, Compose, layer::Propagate};

/// A thread for each task: about the simplest executor there is.
#[derive(Clone, Debug)]
struct ThreadEach;

impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        thread::spawn(move || adapt::run(future));
    }
}

fn ten_lines(config: &Config) -> Adapter<ThreadEach> {
    Adapter::builder(ThreadEach)
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

            fn capabilities() -> Capabilities {
                Capabilities::default()
                    .block_in_place(false)
                    .shutdown(false)
                    // Nor does a thread that waits for a wake know that none can come.
                    .lost_tasks(false)
            }

            fn build(config: &Config) -> Self::Runtime {
                let build: fn(&Config) -> $runtime = $build;
                build(config)
            }
        }
    };
}

subject!(Erased, "any", AnyRuntime, |config| AnyRuntime::new(
    ten_lines(config)
));
// Two runtimes, so that what is handed to the wrong one shows.
subject!(
    Composed,
    "compose",
    Compose<Adapter<ThreadEach>, Adapter<ThreadEach>>,
    |config| Compose::new(ten_lines(config), ten_lines(config))
);
subject!(
    Propagating,
    "propagate",
    Propagate<Adapter<ThreadEach>>,
    |config| Propagate::new(ten_lines(config))
);
// All of them at once.
subject!(Stacked, "stacked", AnyRuntime, |config| AnyRuntime::new(
    Propagate::new(Compose::new(
        AnyRuntime::new(ten_lines(config)),
        ten_lines(config)
    ))
));

conformance_main!(Erased, Composed, Propagating, Stacked; recorded in "../docs/conformance/wrappers.json");

//! The ten-line adapter, tested against the contract.

use std::thread;

use fourway_adapt::{self as adapt, Adapter, BoxFuture, Execute};
use fourway_conformance::{Capabilities, Config, Subject, conformance_main};

/// A thread for each task: about the simplest possible executor.
#[derive(Clone)]
struct ThreadEach;

impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        thread::spawn(move || adapt::run(future));
    }
}

struct TenLines;

impl Subject for TenLines {
    type Runtime = Adapter<ThreadEach>;
    const NAME: &'static str = "ten-lines";

    fn capabilities() -> Capabilities {
        // The executor belongs to the implementer, not to the adapter.
        Capabilities::default()
            .block_in_place(false)
            .shutdown(false)
            // A thread that waits for a wake does not know that none can come.
            .lost_tasks(false)
    }

    fn build(config: &Config) -> Self::Runtime {
        Adapter::builder(ThreadEach)
            .offload_limit(config.offload_limit)
            .offload_queue(config.offload_queue)
            .keep_alive(config.keep_alive)
            .build()
            .expect("a valid config")
    }
}

conformance_main!(TenLines; recorded in "../docs/conformance/ten-lines.json");

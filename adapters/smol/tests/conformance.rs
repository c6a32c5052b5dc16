//! smol, held to the contract: its global executor, and an executor of its own
//! with two workers and with one.

use std::env;

use fourway_conformance::{Capabilities, Config, Subject, conformance_main};
use fourway_smol::{Builder, Smol};

fn builder(config: &Config) -> Builder {
    Smol::builder()
        .offload_limit(config.offload_limit)
        .offload_queue(config.offload_queue)
        .keep_alive(config.keep_alive)
}

fn own(config: &Config, workers: usize) -> Smol {
    builder(config)
        .worker_threads(workers)
        .build()
        .expect("a valid config")
}

struct Global;

impl Subject for Global {
    type Runtime = Smol;
    const NAME: &'static str = "smol-global";

    fn capabilities() -> Capabilities {
        // As smol itself decides.
        let threads = env::var("SMOL_THREADS").ok().and_then(|n| n.parse().ok());
        Capabilities::default()
            .multi_threaded(threads.unwrap_or(1) > 1)
            .block_in_place(false)
            .shutdown(false)
            .lost_tasks(false)
    }

    fn build(config: &Config) -> Smol {
        // The pool is configured; the tasks are on the one global executor.
        builder(config)
            .global_executor()
            .build()
            .expect("a valid config")
    }
}

/// It serves the timers of all runtimes, and all other users of `async-io`.
const REACTOR: &[&str] = &["async-io"];

struct Own;

impl Subject for Own {
    type Runtime = Smol;
    const NAME: &'static str = "smol";

    fn capabilities() -> Capabilities {
        // smol's executor lists its tasks.
        Capabilities::default().lost_tasks(false)
    }

    fn process_threads() -> &'static [&'static str] {
        REACTOR
    }

    fn build(config: &Config) -> Smol {
        own(config, config.workers)
    }
}

struct OneThread;

impl Subject for OneThread {
    type Runtime = Smol;
    const NAME: &'static str = "smol-1";

    fn capabilities() -> Capabilities {
        Capabilities::default()
            .multi_threaded(false)
            .lost_tasks(false)
    }

    fn process_threads() -> &'static [&'static str] {
        REACTOR
    }

    fn build(config: &Config) -> Smol {
        own(config, 1)
    }
}

conformance_main!(Global, Own, OneThread; recorded in "../../docs/conformance/smol.json");

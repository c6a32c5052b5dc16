//! Tokio, held to the contract: both flavours, owned and through a foreign handle.

use std::mem;

use fourway_conformance::{Capabilities, Config, Subject, conformance_main};
use fourway_tokio::{Builder, Tokio};
use tokio::runtime::{self, Handle};

fn configured(builder: Builder, config: &Config) -> Tokio {
    match config.foreign_threads {
        Some(threads) => builder.handle(foreign(threads)),
        None => builder,
    }
    .offload_limit(config.offload_limit)
    .offload_queue(config.offload_queue)
    .keep_alive(config.keep_alive)
    .build()
    .expect("a valid config")
}

/// The handle of a runtime that is not fourway's, goes on for as long as the process, and
/// has that many threads for closures.
fn foreign(threads: usize) -> Handle {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(threads)
        .enable_all()
        .build()
        .expect("threads can be started");
    let handle = runtime.handle().clone();
    // To drop it would end it under the subject, whose handle does not own it.
    mem::forget(runtime);
    handle
}

struct MultiThread;

impl Subject for MultiThread {
    type Runtime = Tokio;
    const NAME: &'static str = "tokio-multi-thread";

    fn capabilities() -> Capabilities {
        Capabilities::default()
            .lost_tasks(false)
            .spreads_wakes(false)
    }

    fn build(config: &Config) -> Tokio {
        configured(Tokio::builder().worker_threads(config.workers), config)
    }
}

struct CurrentThread;

impl Subject for CurrentThread {
    type Runtime = Tokio;
    const NAME: &'static str = "tokio-current-thread";

    fn capabilities() -> Capabilities {
        Capabilities::default()
            .lost_tasks(false)
            .multi_threaded(false)
            .block_in_place(false)
    }

    fn build(config: &Config) -> Tokio {
        configured(Tokio::builder().current_thread(), config)
    }
}

conformance_main!(MultiThread, CurrentThread; recorded in "../../docs/conformance/tokio.json");

//! The std-thread runtime, held to the contract, with two workers and with one.

use fourway_conformance::{Capabilities, Config, Subject, conformance_main};
use fourway_std_thread::StdThread;

fn build(config: &Config, workers: usize) -> StdThread {
    StdThread::builder()
        .worker_threads(workers)
        .offload_limit(config.offload_limit)
        .offload_queue(config.offload_queue)
        .keep_alive(config.keep_alive)
        .build()
        .expect("a valid config")
}

struct Threads;

impl Subject for Threads {
    type Runtime = StdThread;
    const NAME: &'static str = "std-thread";

    fn build(config: &Config) -> StdThread {
        build(config, config.workers)
    }
}

struct OneThread;

impl Subject for OneThread {
    type Runtime = StdThread;
    const NAME: &'static str = "std-thread-1";

    fn capabilities() -> Capabilities {
        Capabilities::default().multi_threaded(false)
    }

    fn build(config: &Config) -> StdThread {
        build(config, 1)
    }
}

conformance_main!(Threads, OneThread; recorded in "../../docs/conformance/std-thread.json");

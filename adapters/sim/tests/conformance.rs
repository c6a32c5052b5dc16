//! The simulated runtime, held to the contract as an open one: the suite's own threads take part,
//! and the time is the real one. `docs/DESIGN.md` says why no other is to be had, and what it would
//! save. `runs.rs` has the tests of runs.

use fourway_conformance::{Capabilities, Config, Subject, conformance_main};
use fourway_sim::Sim;

fn build(config: &Config, workers: usize) -> Sim {
    Sim::builder()
        .seed(1)
        .workers(workers)
        .offload_limit(config.offload_limit)
        .offload_queue(config.offload_queue)
        .keep_alive(config.keep_alive)
        .build()
        .expect("a valid config")
}

struct Several;

impl Subject for Several {
    type Runtime = Sim;
    const NAME: &'static str = "sim";

    fn build(config: &Config) -> Sim {
        build(config, config.workers)
    }
}

struct One;

impl Subject for One {
    type Runtime = Sim;
    const NAME: &'static str = "sim-1";

    fn capabilities() -> Capabilities {
        Capabilities::default().multi_threaded(false)
    }

    fn build(config: &Config) -> Sim {
        build(config, 1)
    }
}

conformance_main!(Several, One; recorded in "../../docs/conformance/sim.json");

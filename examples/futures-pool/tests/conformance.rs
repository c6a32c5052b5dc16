//! The pool, held to the contract.
//!
//! With one thread, it fails the same cases as with two. That run is left out, as each known
//! failure waits to the end of its time limit.

use fourway_adapt::Adapter;
use fourway_conformance::KnownFailure;
use fourway_conformance::{Capabilities, Config, Subject, conformance_main};
use futures_executor::ThreadPool;
use futures_pool::FuturesPool;

struct Pool;

impl Subject for Pool {
    type Runtime = Adapter<FuturesPool>;
    const NAME: &'static str = "futures-pool";

    fn capabilities() -> Capabilities {
        Capabilities::default()
            // The adapter does not know the pool's threads, nor how to end them.
            .block_in_place(false)
            .shutdown(false)
            // A suspended task and its waker own each other in the pool.
            .lost_tasks(false)
    }

    fn known_failures() -> &'static [KnownFailure] {
        const {
            &[
                repolls("SP-1.7"),
                repolls("BL-4.4"),
                repolls("TI-4.2"),
                repolls("FA-1.2"),
                repolls("FA-1.6"),
            ]
        }
    }

    fn build(config: &Config) -> Self::Runtime {
        let pool = ThreadPool::builder().pool_size(config.workers).create();
        Adapter::builder(FuturesPool(pool.expect("threads can be started")))
            .offload_limit(config.offload_limit)
            .offload_queue(config.offload_queue)
            .keep_alive(config.keep_alive)
            .build()
            .expect("a valid config")
    }
}

/// One cause for all of them.
const fn repolls(id: &'static str) -> KnownFailure {
    KnownFailure {
        id,
        reason: "futures-executor 0.3: a task that is woken while it is polled is polled again \
                 at once, before all others (`Task::run` in thread_pool.rs); as many of them as \
                 the pool has threads starve the rest",
        link: "https://github.com/fourway-rs/fourway/blob/main/examples/futures-pool/README.md\
               #known-failures",
    }
}

conformance_main!(Pool; recorded in "../../docs/conformance/futures-pool.json");

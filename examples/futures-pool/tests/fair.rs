//! The known failures of `conformance.rs` can be avoided: the same pool, with a task queued anew
//! for each poll.
//!
//! `async_task` keeps the task; the pool gets a single poll of it. So a task that is woken while it
//! is polled goes to the end of the pool's queue, like any other.

use async_task::Runnable;
use fourway_adapt::{Adapter, BoxFuture, Execute};
use fourway_conformance::{Capabilities, Config, Subject, conformance_main};
use futures_executor::ThreadPool;

/// The executor: a handle on a thread pool that gives each task its turn.
#[derive(Clone)]
struct FairPool(ThreadPool);

impl Execute for FairPool {
    fn execute(&self, future: BoxFuture) {
        let pool = self.0.clone();
        let schedule = move |runnable: Runnable| {
            pool.spawn_ok(async move {
                runnable.run();
            });
        };
        let (runnable, task) = async_task::spawn(future, schedule);
        task.detach();
        runnable.schedule();
    }
}

struct Fair;

impl Subject for Fair {
    type Runtime = Adapter<FairPool>;
    const NAME: &'static str = "futures-pool-fair";

    fn capabilities() -> Capabilities {
        Capabilities::default()
            .block_in_place(false)
            .shutdown(false)
            .lost_tasks(false)
    }

    fn build(config: &Config) -> Self::Runtime {
        let pool = ThreadPool::builder().pool_size(config.workers).create();
        Adapter::builder(FairPool(pool.expect("threads can be started")))
            .offload_limit(config.offload_limit)
            .offload_queue(config.offload_queue)
            .keep_alive(config.keep_alive)
            .build()
            .expect("a valid config")
    }
}

conformance_main!(Fair; recorded in "../../docs/conformance/futures-pool-fair.json");

//! apalis, with its backend in memory.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use apalis_core::{
    backend::memory::{MemorySink, MemoryStorage, MemoryStorageError},
    task::Task,
    worker::{builder::WorkerBuilder, context::WorkerContext},
};
use futures_channel::mpsc::{UnboundedSender, unbounded};
use futures_util::{SinkExt, StreamExt, lock::Mutex};
use tokio::runtime::Handle;

/// Submits this many empty jobs from this thread, beside the worker, until all have run.
///
/// The worker runs them in its own task: with a Tokio task for each, 200,000 jobs had not
/// ended after 40 seconds.
pub(crate) fn do_nothing(runtime: &Handle, jobs: u32) {
    let (sender, receiver) = unbounded();
    // A separate sink beside the worker's: a shared sink panics when both use it at once.
    let mut sink = sink(sender.clone());
    let storage = MemoryStorage::new_with(self::sink(sender), receiver.boxed());
    let ran = Arc::new(AtomicU32::new(0));
    let job = move |_: u32, worker: WorkerContext| {
        // Relaxed: a count only; the jobs write no data.
        if ran.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
            worker.stop().expect("it runs");
        }
        std::future::ready(())
    };
    let worker = WorkerBuilder::new("bench").backend(storage);
    let worker = runtime.spawn(worker.build(job).run());
    runtime.block_on(async {
        for number in 0..jobs {
            let task = Task::new(number);
            sink.feed(task).await.expect("the worker takes it");
        }
        worker.await.expect("no panics").expect("no errors");
    });
}

fn sink(sender: UnboundedSender<Task<u32>>) -> MemorySink<u32> {
    let sender = sender.sink_map_err(MemoryStorageError::from);
    MemorySink::new(Arc::new(Mutex::new(Box::new(sender))))
}

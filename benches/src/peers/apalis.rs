//! apalis, with its backend in memory.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use apalis_core::{
    backend::memory::{MemorySink, MemoryStorage, MemoryStorageError},
    task::Task,
    worker::{builder::WorkerBuilder, context::WorkerContext, ext::parallelize::ParallelizeExt},
};
use futures_channel::mpsc::{UnboundedSender, unbounded};
use futures_util::{SinkExt, StreamExt, lock::Mutex};
use tokio::runtime::Handle;

/// How a worker runs its jobs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Jobs {
    /// In its own task.
    InOneTask,
    /// Each in a task.
    InTasks,
}

/// Submits so many jobs that do nothing, from this thread, beside the worker; until all have run.
pub(crate) fn do_nothing(runtime: &Handle, how: Jobs, jobs: u32) {
    let (sender, receiver) = unbounded();
    // A sink of its own beside the worker's: one that both use panics when they meet.
    let mut sink = sink(sender.clone());
    let storage = MemoryStorage::new_with(self::sink(sender), receiver.boxed());
    let ran = Arc::new(AtomicU32::new(0));
    let job = move |_: u32, worker: WorkerContext| {
        // Relaxed: a count. What the jobs do is nothing.
        if ran.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
            worker.stop().expect("it runs");
        }
        std::future::ready(())
    };
    let worker = WorkerBuilder::new("bench").backend(storage);
    let worker = match how {
        Jobs::InOneTask => runtime.spawn(worker.build(job).run()),
        Jobs::InTasks => runtime.spawn(worker.parallelize(tokio::spawn).build(job).run()),
    };
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

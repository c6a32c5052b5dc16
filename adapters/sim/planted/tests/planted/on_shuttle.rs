//! Shuttle's world: a runtime with the simulation's methods on shuttle's threads and tasks.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use shuttle::{
    Config, FailurePersistence, MaxSteps, Runner,
    scheduler::{PctScheduler, RandomScheduler, Scheduler},
};

use crate::parts::Shared;

/// How shuttle chooses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Strategy {
    Random,
    Pct(usize),
}

/// The number of the first schedule that fails, counted from 1, of so many.
pub(crate) fn find(program: fn(Shuttle), strategy: Strategy, limit: u64) -> Option<u64> {
    const SEED: u64 = 0;
    let schedules = limit as usize;
    match strategy {
        Strategy::Random => run(program, RandomScheduler::new_from_seed(SEED, schedules)),
        Strategy::Pct(depth) => run(program, PctScheduler::new_from_seed(SEED, depth, schedules)),
    }
}

fn run(program: fn(Shuttle), scheduler: impl Scheduler + 'static) -> Option<u64> {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    // As many as make a livelock in the simulation.
    config.max_steps = MaxSteps::FailAfter(100_000);
    let runs = Arc::new(AtomicU64::new(0));
    let counts = runs.clone();
    let runner = Runner::new(scheduler, config);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        runner.run(move || {
            counts.fetch_add(1, Relaxed);
            program(Shuttle);
        })
    }));
    ran.is_err().then(|| runs.load(Relaxed))
}

pub(crate) mod world {
    pub(crate) use super::{Shuttle as Rt, point};
    pub(crate) use shuttle::future::yield_now;
}

/// A point at which another thread may go on. (To yield would lower the priority under PCT.)
pub(crate) fn point() {
    shuttle::sync::atomic::AtomicBool::new(false).load(Relaxed);
}

#[derive(Clone)]
pub(crate) struct Shuttle;

impl Shuttle {
    pub(crate) fn spawn<F>(&self, future: F) -> Joined<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let (joined, output) = Joined::new();
        let task = async move {
            let result = future.await;
            output.change(|output| *output = Some(result));
        };
        drop(shuttle::future::spawn(task));
        joined
    }

    pub(crate) fn thread<F, T>(&self, f: F) -> Joined<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (joined, output) = Joined::new();
        drop(shuttle::thread::spawn(move || {
            let result = f();
            output.change(|output| *output = Some(result));
        }));
        joined
    }

    pub(crate) fn offload<F, T>(&self, f: F) -> Joined<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.thread(f)
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        shuttle::future::block_on(future)
    }
}

/// The output of a task, a thread or a closure.
pub(crate) struct Joined<T>(Pin<Box<dyn Future<Output = T> + Send>>);

impl<T: Send + 'static> Joined<T> {
    fn new() -> (Self, Shared<Option<T>>) {
        let output = Shared::new(None);
        let waits = output.clone();
        (
            Self(Box::pin(async move { waits.wait(Option::take).await })),
            output,
        )
    }

    pub(crate) fn wait(self) -> Result<T, Infallible> {
        shuttle::future::block_on(self)
    }
}

impl<T> Future for Joined<T> {
    type Output = Result<T, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

#[path = "both.rs"]
pub(crate) mod both;

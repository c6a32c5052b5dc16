//! A manager with single jobs, on every runtime.

mod cancelling;
mod clocks;
mod dependencies;
mod ending;
mod failing;
mod harm;
mod queueing;
mod submitting;
mod unique;
mod watching;

use std::time::Duration;

use fourway_core::AnyRuntime;
use fourway_jobs::{JobManager, Retry};

fn manager(rt: &AnyRuntime) -> JobManager {
    JobManager::builder(rt).concurrency(4).build()
}

fn soon(attempts: u32) -> Retry {
    Retry::attempts(attempts).pause(Duration::from_millis(1))
}

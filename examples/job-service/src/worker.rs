//! A worker without a service: it runs the jobs of a store, from any submitter.

use std::{error::Error, time::Duration};

use fourway::tokio::Tokio;
use fourway_core::{AnyRuntime, BlockOn};
use fourway_jobs_engine::JobClient;

use crate::{
    kinds::{self, Working},
    signals::Signals,
    store::Store,
    timetable::Timetable,
    work::{Root, Toolbox},
};

/// How a worker is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder that all work stays below.
    pub root: Root,
    /// Where the jobs are.
    pub store: Store,
    /// How they run.
    pub working: Working,
    /// The recurring work.
    pub timetable: Timetable,
    /// How long jobs have to end after SIGTERM.
    pub drain: Duration,
}

/// Works until SIGTERM or an interrupt, and then until its jobs have ended or were given back;
/// `false` if a job still runs. A second interrupt ends it at once.
///
/// # Errors
///
/// If the store cannot be opened, or is a process's memory.
pub fn run(options: Options) -> Result<bool, Box<dyn Error>> {
    let rt = Tokio::builder().build()?;
    let any = AnyRuntime::new(rt.clone());
    rt.block_on(async {
        let Some(engine) = options.store.open(&any).await? else {
            return Err(
                "jobs in memory are their own process's: give the `--store` of a service".into(),
            );
        };
        let toolbox = Toolbox::new(any.clone(), options.root);
        let client = JobClient::new(&any, engine.clone());
        let timetable = options.timetable.kept(&client)?;
        // Before it reports that it works.
        let signals = Signals::caught();
        let worker = options.working.start(&any, engine, &toolbox);
        println!("working as {}", worker.name());
        signals.asked_to_end().await;
        tracing::info!(deadline = ?options.drain, "draining");
        timetable.close().await;
        Ok(kinds::drain(worker, options.drain).await)
    })
}

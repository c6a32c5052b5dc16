//! What all handlers share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use fourway_core::{AnyRuntime, cancel::CancellationToken};
use fourway_jobs::JobManager;

use super::{Options, history::History, metrics::Metrics, view::millis};
use crate::work::Toolbox;

pub(super) type Shared = Arc<App>;

pub(super) struct App {
    pub(super) rt: AnyRuntime,
    pub(super) jobs: JobManager,
    pub(super) toolbox: Toolbox,
    pub(super) metrics: Metrics,
    pub(super) history: History,
    /// Tells this run of the service from others.
    pub(super) boot: String,
    /// For how long `POST /run` waits.
    pub(super) wait: Duration,
    /// It accepts no more jobs.
    draining: AtomicBool,
    /// All jobs have ended, and so are streams to.
    pub(super) closing: CancellationToken,
}

impl App {
    pub(super) fn new(rt: AnyRuntime, jobs: JobManager, options: &Options) -> Shared {
        Arc::new(Self {
            toolbox: Toolbox::new(rt.clone(), options.root.clone()),
            metrics: Metrics::new(jobs.clone()),
            history: History::default(),
            boot: format!("{:x}", millis(SystemTime::now())),
            wait: options.wait,
            draining: AtomicBool::new(false),
            closing: CancellationToken::new(),
            rt,
            jobs,
        })
    }

    pub(super) fn drain(&self) {
        // Pairs with nothing: the manager itself refuses jobs.
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// After how many seconds there may be room in the queue, by how many jobs ended lately.
    pub(super) fn retry_after(&self) -> u64 {
        let waiting = self.jobs.overview().counts.queued as f64;
        let rate = self.history.rate().max(0.1);
        // At most a minute: what was slow may be quick from now on.
        (waiting / rate / 10.0).ceil().clamp(1.0, 60.0) as u64
    }
}

//! The state that all handlers share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use fourway_core::{AnyRuntime, cancel::CancellationToken};

use super::{Options, history::History, jobs::Jobs, metrics::Metrics, view::millis};
use crate::work::Toolbox;

pub(super) type Shared = Arc<App>;

pub(super) struct App {
    pub(super) rt: AnyRuntime,
    pub(super) jobs: Jobs,
    pub(super) toolbox: Toolbox,
    pub(super) metrics: Metrics,
    pub(super) history: History,
    /// Distinguishes this run of the service from others.
    pub(super) boot: String,
    /// For how long `POST /run` waits.
    pub(super) wait: Duration,
    /// How long a request may take to arrive.
    pub(super) time_limit: Duration,
    /// It accepts no more jobs.
    draining: AtomicBool,
    /// All jobs have ended, and streams must end, too.
    pub(super) closing: CancellationToken,
}

impl App {
    pub(super) fn new(rt: AnyRuntime, jobs: Jobs, toolbox: Toolbox, options: &Options) -> Shared {
        Arc::new(Self {
            toolbox,
            metrics: Metrics::new(jobs.clone()),
            history: History::default(),
            boot: format!("{:x}", millis(SystemTime::now())),
            wait: options.wait,
            time_limit: options.request_timeout,
            draining: AtomicBool::new(false),
            closing: CancellationToken::new(),
            rt,
            jobs,
        })
    }

    pub(super) fn drain(&self) {
        // Relaxed: the manager itself refuses jobs, and a store keeps the jobs that it still takes.
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// After how many seconds there may be room in the queue, by how many jobs ended lately.
    pub(super) fn retry_after(&self) -> u64 {
        let waiting = self.jobs.now().counts.queued as f64;
        let rate = self.history.rate().max(0.1);
        // At most a minute: the speed may change.
        (waiting / rate / 10.0).ceil().clamp(1.0, 60.0) as u64
    }
}

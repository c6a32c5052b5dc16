//! Where jobs are kept while a test runs: names of their own on a server, or on three.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fourway_core::{AnyRuntime, Call, Timer};
use fourway_jobs_engine::{Engine, next_id};
use fourway_jobs_nats::NatsEngine;

/// The lease of the suite's workers. A worker that dies while it fetches has not sent its own lease
/// yet: its job comes back after this time.
const LEASE: Duration = Duration::from_secs(3);

/// Unique names. They are removed when this is dropped.
pub(crate) struct Names {
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) replicas: usize,
    pub(crate) timeout: Duration,
    keep: bool,
    opened: Mutex<Option<NatsEngine>>,
}

impl Names {
    pub(crate) fn on(url: String, replicas: usize) -> Self {
        Self {
            url,
            prefix: format!("test-{}", next_id()),
            replicas,
            timeout: Duration::from_secs(5),
            keep: false,
            opened: Mutex::default(),
        }
    }

    /// Until the server goes.
    pub(crate) fn keep(mut self) -> Self {
        self.keep = true;
        self
    }

    pub(crate) fn open_now(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
        let engine = open(rt, &self.url, &self.prefix, self.replicas, self.timeout);
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.get_or_insert_with(|| engine.clone());
        Arc::new(engine)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let opened = self
            .opened
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = opened.take().filter(|_| !self.keep) {
            // The server may be gone, and the names with it.
            let _ = fourway_testing::run(&fourway_testing::any(), engine.remove_all());
        }
    }
}

/// Three servers that were just started have no leader yet. No event tells when they have one, so
/// this repeats the request until then.
pub(crate) fn open(
    rt: &AnyRuntime,
    url: &str,
    prefix: &str,
    replicas: usize,
    timeout: Duration,
) -> NatsEngine {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let builder = NatsEngine::builder(rt, url)
            .prefix(prefix)
            .replicas(replicas)
            .lease(LEASE)
            .timeout(timeout);
        match builder.open().wait() {
            Ok(engine) => return engine,
            Err(error) => assert!(error.is_unavailable() && Instant::now() < end, "{error}"),
        }
        fourway_testing::run(rt, rt.sleep(Duration::from_millis(50)));
    }
}

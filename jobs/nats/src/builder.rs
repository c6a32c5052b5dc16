//! How an engine is opened: [`NatsBuilder`].

use std::{fmt, time::Duration};

use fourway_core::{AnyRuntime, BoxCall, Call, Runtime};
use fourway_jobs_engine::EngineError;

use crate::{NatsEngine, names::checked_prefix, store::Store, tokio_side::Side};

/// A century stands for ever: points in time so far away still exist.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// How a [`NatsEngine`] is opened.
#[must_use = "an engine is opened with `open`"]
pub struct NatsBuilder {
    pub(crate) runtime: AnyRuntime,
    pub(crate) settings: Settings,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) servers: String,
    pub(crate) prefix: String,
    pub(crate) replicas: usize,
    pub(crate) lease: Duration,
    pub(crate) timeout: Duration,
    pub(crate) sweep_every: Duration,
    /// How long a mark stays where a job was: longer than any submission of it may be on its way.
    /// Only tests change it.
    pub(crate) marks: Duration,
}

impl NatsBuilder {
    pub(crate) fn new<R: Runtime>(runtime: &R, servers: String) -> Self {
        Self {
            runtime: AnyRuntime::new(runtime.clone()),
            settings: Settings {
                servers,
                prefix: "fourway-jobs".to_owned(),
                replicas: 1,
                lease: Duration::from_secs(30),
                timeout: Duration::from_secs(5),
                sweep_every: Duration::from_secs(300),
                marks: Duration::from_secs(3600),
            },
        }
    }

    /// The prefix of the names of the stream and the buckets: engines with another prefix
    /// have other jobs. `fourway-jobs` by default; letters, digits, `-` and `_`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.prefix = prefix.into();
        self
    }

    /// How many servers of the cluster keep each job, if the stream and the buckets do not exist
    /// yet: 1, 3 or 5. 1 by default. With 3, jobs survive the loss of any one server; with 1 they
    /// are available again when their server is.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.settings.replicas = replicas;
        self
    }

    /// The cheapest lease: workers that use it
    /// ([`WorkerBuilder::lease`](fourway_jobs_engine::WorkerBuilder::lease)) need not send it to
    /// the server with each job. Half a minute by default, as for workers. A job whose worker died
    /// while it fetched comes back after the same time.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease.max(Duration::from_millis(100));
        self
    }

    /// For how long one request to the server may take until it is
    /// [unavailable](EngineError::is_unavailable). Five seconds by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout.min(LONGEST);
        self
    }

    /// How often one of the processes looks for jobs that must be forgotten, to free their space. A
    /// query finds such a job no more, even before its space is freed. Five minutes by default.
    pub fn sweep_every(mut self, every: Duration) -> Self {
        self.settings.sweep_every = every.clamp(Duration::from_millis(100), LONGEST);
        self
    }

    /// Connects, and creates the stream and the buckets if they do not exist.
    ///
    /// # Errors
    ///
    /// [Unavailable](EngineError::is_unavailable) if no server can be reached, or it has no
    /// JetStream; invalid if the prefix cannot be one, or the cluster has fewer servers than
    /// replicas.
    pub fn open(self) -> BoxCall<Result<NatsEngine, EngineError>> {
        let Self { runtime, settings } = self;
        let call = runtime.call_with(async move || {
            checked_prefix(&settings.prefix)?;
            let side = Side::start()?;
            let open = Store::open(side.handle().clone(), settings);
            let store = side.while_wanted(open).await?;
            Ok(NatsEngine::new(side, store))
        });
        call.boxed()
    }
}

impl fmt::Debug for NatsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the servers, which may come with a password.
        f.debug_struct("NatsBuilder")
            .field("prefix", &self.settings.prefix)
            .field("replicas", &self.settings.replicas)
            .field("lease", &self.settings.lease)
            .field("timeout", &self.settings.timeout)
            .field("sweep_every", &self.settings.sweep_every)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fourway_jobs_engine::{Engine, NewJob, next_id};
    use fourway_servers::nats_url;
    use fourway_testing::{any, run};

    use super::*;

    #[test]
    fn times_may_be_endless() {
        let Some(url) = nats_url() else {
            return;
        };
        let rt = any();
        let engine = NatsEngine::builder(&rt, url)
            .prefix(format!("test-{}", next_id()))
            .timeout(Duration::MAX)
            .sweep_every(Duration::MAX)
            .open()
            .wait()
            .unwrap();
        let job = NewJob::new("plain", 1, *b"");
        let id = job.id;
        run(&rt, engine.submit(vec![job])).unwrap();
        assert!(run(&rt, engine.status(id)).unwrap().is_some());
        run(&rt, engine.maintain()).unwrap();
        run(&rt, engine.remove_all()).unwrap();
    }
}

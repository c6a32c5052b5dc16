//! `GET /metrics`: metrics for Prometheus and similar systems.

use std::{fmt, time::Duration};

use fourway_jobs::{Counts, JobState};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text::encode},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::jobs::Jobs;

/// The format of [`Metrics::text`].
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    waited: Histogram,
    latency: Histogram,
    missed: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: String,
    route: String,
}

/// From 100 microseconds to 100 seconds, three for each power of ten.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 10_f64.powf(1.0 / 3.0), 19))
}

impl Metrics {
    pub(super) fn new(jobs: Jobs) -> Self {
        let mut registry = Registry::with_prefix("job_service");
        let this = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(seconds),
            waited: seconds(),
            latency: seconds(),
            missed: Counter::default(),
            registry: Registry::default(),
        };
        let requests = this.requests.clone();
        registry.register("http_requests", "Requests answered", requests);
        let durations = this.durations.clone();
        registry.register("http_request_seconds", "Time to the answer", durations);
        let waited = this.waited.clone();
        let help = "Time from the submission of a job to the start of an attempt";
        registry.register("job_wait_seconds", help, waited);
        let latency = this.latency.clone();
        let help = "Time from the submission of a job to its end";
        registry.register("job_latency_seconds", help, latency);
        let missed = this.missed.clone();
        let help = "Jobs' events that the two above have missed";
        registry.register("events_missed", help, missed);
        registry.register_collector(Box::new(All(jobs)));
        Self { registry, ..this }
    }

    pub(super) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        // A made-up method must not make a metric.
        let method = match method {
            "GET" | "POST" | "DELETE" | "HEAD" | "OPTIONS" | "PUT" | "PATCH" => method,
            _ => "other",
        };
        let request = Request {
            method: method.to_owned(),
            route: route.to_owned(),
            status,
        };
        self.requests.get_or_create(&request).inc();
        let route = Route {
            method: request.method,
            route: request.route,
        };
        let duration = self.durations.get_or_create(&route);
        duration.observe(took.as_secs_f64());
    }

    pub(super) fn started(&self, waited: Duration) {
        self.waited.observe(waited.as_secs_f64());
    }

    pub(super) fn ended(&self, latency: Duration) {
        self.latency.observe(latency.as_secs_f64());
    }

    pub(super) fn missed(&self, events: u64) {
        self.missed.inc_by(events);
    }

    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The counts of the jobs, at the time of the scrape.
struct All(Jobs);

impl fmt::Debug for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("All")
    }
}

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = self.0.now();
        let mut jobs = encoder.encode_descriptor(
            "jobs",
            "Jobs that are known, by queue and state",
            None,
            MetricType::Gauge,
        )?;
        for queue in &now.classes {
            for state in JobState::ALL {
                let labels = [("queue", queue.name.as_str()), ("state", state.name())];
                let count = i64::try_from(queue.counts.of(state)).unwrap_or(i64::MAX);
                jobs.encode_family(&labels)?.encode_gauge(&count)?;
            }
        }
        let mut paused = encoder.encode_descriptor(
            "queue_paused",
            "Whether a queue starts no jobs",
            None,
            MetricType::Gauge,
        )?;
        for queue in &now.classes {
            let labels = [("queue", queue.name.as_str())];
            let is_paused = i64::from(queue.paused || now.paused);
            paused.encode_family(&labels)?.encode_gauge(&is_paused)?;
        }
        if now.classes.is_empty() {
            // By a store, which knows no queues.
            let help = "Jobs that the store keeps, by state";
            let mut kept = encoder.encode_descriptor("jobs_kept", help, None, MetricType::Gauge)?;
            for state in JobState::ALL {
                let count = i64::try_from(now.counts.of(state)).unwrap_or(i64::MAX);
                let labels = [("state", state.name())];
                kept.encode_family(&labels)?.encode_gauge(&count)?;
            }
        }
        let help = "Jobs that this process has accepted; a run of a schedule counts in each process that has the schedule";
        let mut submitted =
            encoder.encode_descriptor("jobs_submitted", help, None, MetricType::Counter)?;
        submitted.encode_counter::<NoLabelSet, u64, f64>(&now.here.submitted, None)?;
        let help = "Jobs that this process has ended, by how";
        let mut ended = encoder.encode_descriptor("jobs_ended", help, None, MetricType::Counter)?;
        for state in ended_states() {
            let count = Counts::of(&now.here.ended, state);
            let labels = [("state", state.name())];
            ended
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, u64, f64>(&count, None)?;
        }
        Ok(())
    }
}

pub(super) fn ended_states() -> impl Iterator<Item = JobState> {
    JobState::ALL
        .into_iter()
        .filter(|state| state.is_finished())
}

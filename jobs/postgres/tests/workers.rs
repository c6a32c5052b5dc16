//! Workers on each runtime, and while their server is killed.

#![cfg(unix)]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use fourway_core::{AnyRuntime, Call};
use fourway_jobs_acceptance::works_on;
use fourway_jobs_engine::{
    BoxError, Engine, Handlers, JobClient, JobId, JobKind, KindJob, Worker, next_id,
};
use fourway_jobs_postgres::PostgresEngine;
use fourway_servers::{Postgres, or_not_run, postgres_url};
use fourway_testing::{Gate, any, eventually, run};

struct Count;

impl JobKind for Count {
    const NAME: &'static str = "count";
    type Args = u32;
    type Output = u32;
}

const FREE: u32 = 25;

/// How often each job has run.
#[derive(Clone, Default)]
struct Effects(Arc<Mutex<HashMap<JobId, u32>>>);

impl Effects {
    /// Those from [`FREE`] on wait for the gate.
    fn handlers_behind(&self, gate: Gate) -> Handlers {
        let effects = self.clone();
        Handlers::new().on(Count, move |job, n| {
            let (effects, gate) = (effects.clone(), gate.clone());
            async move {
                if n >= FREE {
                    gate.pass().await;
                }
                *effects.0.lock().unwrap().entry(job.id()).or_default() += 1;
                Ok::<_, BoxError>(n + 1)
            }
        })
    }
}

fn open(rt: &AnyRuntime, url: &str) -> Arc<PostgresEngine> {
    let schema = format!("workers_{}", next_id().to_string().to_lowercase());
    let open = PostgresEngine::builder(rt, url).schema(schema);
    Arc::new(open.open().wait().unwrap())
}

/// The client's own runtime stays hidden.
#[test]
fn on_every_runtime() {
    let Some(url) = postgres_url() else {
        return;
    };
    for (_, rt) in fourway_testing::runtimes() {
        works_on(&rt, open(&rt, &url));
    }
}

#[test]
fn a_server_is_killed_while_jobs_run() {
    let Some(mut server) = or_not_run(Postgres::start()) else {
        return;
    };
    let rt = any();
    let engine: Arc<dyn Engine> = open(&rt, &server.url());
    let (effects, gate) = (Effects::default(), Gate::default());
    let client = JobClient::new(&rt, engine.clone());
    let jobs = (0..300).map(|n| KindJob::new(Count, n));
    let jobs = client.submit_all(jobs).wait().unwrap();
    let worker = Worker::builder(&rt, engine.clone())
        .handlers(effects.handlers_behind(gate.clone()))
        .concurrency(2)
        .start();
    eventually("some have run", || worker.status().settled > 20);
    server.kill().unwrap();
    // Not before: all could have ended.
    gate.open();
    server.start_again().unwrap();
    // Meanwhile a request is refused, or waits for the server.
    eventually("all have ended", || {
        run(&rt, engine.counts()).is_ok_and(|counts| counts.completed == 300)
    });
    for (n, job) in (0..).zip(jobs) {
        assert_eq!(run(&rt, job.output()).unwrap(), n + 1);
    }
    assert_eq!(effects.0.lock().unwrap().len(), 300);
}

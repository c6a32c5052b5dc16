//! Where jobs are kept while a test runs: names of their own on a server, or on three.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fourway_core::{AnyRuntime, Call};
use fourway_jobs_acceptance::{Entry, Place};
use fourway_jobs_engine::{Engine, next_id};
use fourway_jobs_nats::NatsEngine;
use fourway_servers::{NatsCluster, nats_url, or_not_run};

/// On the server that tests share.
pub(crate) fn nats() -> Entry {
    Entry::new("nats", || {
        Box::new(Names::on(nats_url().expect("it was there before"), 1))
    })
    .elsewhere(elsewhere)
}

/// On three servers, each job on all of them.
pub(crate) fn nats_cluster() -> Entry {
    static CLUSTER: Mutex<Option<NatsCluster>> = Mutex::new(None);
    Entry::new("nats-cluster", || {
        let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster =
            cluster.get_or_insert_with(|| or_not_run(NatsCluster::start()).expect("installed"));
        Box::new(Names::on(cluster.url(), 3))
    })
    .elsewhere(elsewhere)
}

/// Names that nobody else uses. They are removed when this is dropped.
pub(crate) struct Names {
    pub(crate) url: String,
    pub(crate) prefix: String,
    replicas: usize,
    keep: bool,
}

impl Names {
    pub(crate) fn on(url: String, replicas: usize) -> Self {
        Self {
            url,
            prefix: format!("test-{}", next_id()),
            replicas,
            keep: false,
        }
    }

    /// Until the server goes.
    pub(crate) fn keep(mut self) -> Self {
        self.keep = true;
        self
    }

    pub(crate) fn open_now(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
        open(rt, &self.url, &self.prefix, self.replicas)
    }
}

impl Place for Names {
    fn open(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
        self.open_now(rt)
    }

    fn address(&self) -> Option<String> {
        Some(format!("{} {} {}", self.url, self.prefix, self.replicas))
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // The server may be gone, and the names with it.
        let rt = fourway_testing::any();
        let open = NatsEngine::builder(&rt, &*self.url).prefix(&*self.prefix);
        if let Ok(engine) = open.open().wait() {
            let _ = fourway_testing::run(&rt, engine.remove_all());
        }
    }
}

fn elsewhere(rt: &AnyRuntime, address: &str) -> Arc<dyn Engine> {
    let mut parts = address.split(' ');
    let mut part = || parts.next().expect("three parts");
    let (url, prefix, replicas) = (part(), part(), part());
    open(rt, url, prefix, replicas.parse().expect("a number"))
}

/// Three servers that were just started have no leader yet.
fn open(rt: &AnyRuntime, url: &str, prefix: &str, replicas: usize) -> Arc<dyn Engine> {
    let open = || {
        let builder = NatsEngine::builder(rt, url)
            .prefix(prefix)
            .replicas(replicas);
        builder.open().wait()
    };
    let mut tries = 0;
    loop {
        match open() {
            Ok(engine) => return Arc::new(engine),
            Err(error) if error.is_unavailable() && tries < 100 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(200));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

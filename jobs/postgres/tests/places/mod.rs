//! Where jobs are kept while a test runs: schemas of one database.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::sync::Arc;

use fourway_core::{AnyRuntime, Call};
use fourway_jobs_acceptance::{Entry, Place};
use fourway_jobs_engine::{Engine, next_id};
use fourway_jobs_postgres::PostgresEngine;
use fourway_testing::any;

/// `None` if there is no server and tests are to go without.
pub(crate) fn postgres() -> Option<Entry> {
    // Children are told where their engine is.
    let child = std::env::var_os("FOURWAY_JOBS_ACCEPTANCE_CHILD").is_some();
    let server = if child {
        String::new()
    } else {
        fourway_servers::postgres_url()?
    };
    Some(Entry::new("postgres", move || Box::new(Schema::of(&server))).elsewhere(open))
}

pub(crate) struct Schema {
    url: String,
}

impl Schema {
    pub(crate) fn of(server: &str) -> Self {
        let name = next_id().to_string().to_lowercase();
        let url = format!("{server}?schema=test_{name}");
        Self { url }
    }
}

impl Place for Schema {
    fn open(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
        open(rt, &self.url)
    }

    fn address(&self) -> Option<String> {
        Some(self.url.clone())
    }
}

pub(crate) fn open(rt: &AnyRuntime, url: &str) -> Arc<dyn Engine> {
    Arc::new(PostgresEngine::open(rt, url).wait().expect("an engine"))
}

pub(crate) fn server() -> Option<(AnyRuntime, String)> {
    Some((any(), fourway_servers::postgres_url()?))
}

//! Where the project's own engines keep jobs while a case runs.

use std::sync::{Arc, OnceLock};

use fourway_core::{AnyRuntime, Call};
use fourway_jobs_acceptance::Place;
use fourway_jobs_engine::{Engine, MemoryEngine};
use fourway_jobs_sqlite::SqliteEngine;
use tempfile::TempDir;

#[derive(Default)]
pub(crate) struct InMemory(OnceLock<Arc<MemoryEngine>>);

impl Place for InMemory {
    fn open(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
        let engine = self.0.get_or_init(|| Arc::new(MemoryEngine::new(rt)));
        engine.clone()
    }
}

pub(crate) struct File(TempDir);

impl File {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }
}

impl Place for File {
    fn open(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
        open(rt, &self.address().expect("it has one"))
    }

    fn address(&self) -> Option<String> {
        let path = self.0.path().join("jobs.db");
        Some(path.to_str().expect("a path in UTF-8").to_owned())
    }
}

/// Without waiting for the disk: the cases kill processes, not the machine.
pub(crate) fn open(rt: &AnyRuntime, path: &str) -> Arc<dyn Engine> {
    let open = SqliteEngine::builder(rt, path).relaxed(true).open();
    Arc::new(open.wait().expect("a file of jobs"))
}

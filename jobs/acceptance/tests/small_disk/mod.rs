//! A file of jobs on a disk that can be filled: [`harming`].

use std::sync::Arc;

use fourway_core::AnyRuntime;
use fourway_jobs_acceptance::{Entry, Harm, Harmed, Place, is_child};
use fourway_jobs_engine::Engine;
use fourway_servers::SmallDisk;
use tempfile::TempDir;

use crate::places;

/// The engine on files, with a full disk in one case where the machine allows it.
pub(crate) fn harming(entry: Entry) -> Entry {
    // The suite's processes harm nothing.
    if is_child() || !SmallDisk::is_possible_or_not_run() {
        return entry.not_harmed_here([Harm::FullDisk]);
    }
    entry.harmed([Harm::FullDisk], |_| Box::new(SmallFile::new()))
}

struct SmallFile {
    disk: SmallDisk,
    _folder: TempDir,
}

impl SmallFile {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = SmallDisk::mount(&folder.path().join("disk"), 16);
        Self {
            disk: disk.expect("it could be mounted a moment ago"),
            _folder: folder,
        }
    }
}

impl Place for SmallFile {
    fn open(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
        let path = self.disk.path().join("jobs.db");
        places::open(rt, path.to_str().expect("a path in UTF-8"))
    }
}

impl Harmed for SmallFile {
    fn begin(&self, _: Harm) {
        self.disk.fill().expect("it can be filled");
    }

    fn end(&self, _: Harm) {
        self.disk.free().expect("it was full");
    }
}

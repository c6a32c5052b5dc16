//! A runtime under test: [`Subject`].

use std::time::Duration;

use fourway_core::{Runtime, Shutdown};

use crate::{
    execute::{self, Doors},
    nursery::{FOURWAY, Nurseries},
};

/// A runtime under test.
pub trait Subject: 'static {
    /// The runtime's handle.
    type Runtime: Runtime + Shutdown;

    /// A short name for reports, unique among the subjects of one binary.
    const NAME: &'static str;

    /// The version of the adapter, for reports.
    const VERSION: Option<&'static str> = None;

    /// The runtime's capabilities beyond the basics. A capability that is not declared must give
    /// its documented error; there are cases for that, too.
    fn capabilities() -> Capabilities {
        Capabilities::default()
    }

    /// Cases that the runtime is known to fail, each with the reason and a link. They are run and
    /// reported as known failures. If one passes, the run fails.
    fn known_failures() -> &'static [KnownFailure] {
        &[]
    }

    /// Names of threads that belong to the process and not to the runtime, and therefore do
    /// not end with it, although they serve its timers. An exception to SH-1, orderly
    /// shutdown: on smol, `async-io` has such a thread.
    fn process_threads() -> &'static [&'static str] {
        &[]
    }

    /// The nurseries for the cases about nurseries: those of `fourway-nursery`, unless you test
    /// your own.
    fn nurseries() -> &'static dyn Nurseries {
        &FOURWAY
    }

    /// The implementation for the cases about executing work: `fourway-execute`, unless you test
    /// your own.
    fn doors() -> &'static dyn Doors {
        &execute::FOURWAY
    }

    /// Builds a fresh runtime for one case.
    fn build(config: &Config) -> Self::Runtime;
}

/// A case that a subject is known to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFailure {
    /// The case: `JO-2.1`.
    pub id: &'static str,
    /// Why.
    pub reason: &'static str,
    /// The address of its issue (`https://..`).
    pub link: &'static str,
}

/// The configuration of a case's runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Threads that run tasks. A runtime that has only one may ignore more.
    pub workers: usize,
    /// The offload pool's limit.
    pub offload_limit: usize,
    /// The offload queue's bound, if any.
    pub offload_queue: Option<usize>,
    /// How long idle offload threads are kept.
    pub keep_alive: Duration,
    /// How many threads a foreign pool has from which the runtime takes its threads, such as
    /// Tokio's for a foreign `Handle`. A runtime that starts its own threads ignores it.
    pub foreign_threads: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 2,
            offload_limit: 64,
            offload_queue: None,
            keep_alive: Duration::from_secs(10),
            foreign_threads: None,
        }
    }
}

/// The capabilities of a runtime beyond the basics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Tasks run on more than one thread, if the config asks for it. If not, no two of
    /// them are ever polled at the same time.
    pub multi_threaded: bool,
    /// `block_in_place` works inside a task. If not, it must return an error
    /// that is unsupported.
    pub block_in_place: bool,
    /// `shutdown` works. If not, it must return an error that is not owned.
    pub shutdown: bool,
    /// A detached task that cannot be woken any more is destroyed at once (WA-3, lost tasks are
    /// destroyed). Executors with a list of their tasks, such as Tokio's and smol's, keep it; then
    /// it must be destroyed at shutdown at the latest.
    pub lost_tasks: bool,
    /// A task that is woken or spawned by a task which then keeps its thread busy
    /// runs on another thread. (On Tokio it waits in the busy worker's LIFO slot,
    /// from where no other worker can take it: tokio 4941.) If not, it waits for the end of that
    /// poll and no longer. It need not wait: without the capability both are allowed.
    pub spreads_wakes: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            multi_threaded: true,
            block_in_place: true,
            shutdown: true,
            lost_tasks: true,
            spreads_wakes: true,
        }
    }
}

impl Capabilities {
    /// Sets [`multi_threaded`](Self::multi_threaded).
    #[must_use]
    pub fn multi_threaded(mut self, yes: bool) -> Self {
        self.multi_threaded = yes;
        self
    }

    /// Sets [`block_in_place`](Self::block_in_place).
    #[must_use]
    pub fn block_in_place(mut self, yes: bool) -> Self {
        self.block_in_place = yes;
        self
    }

    /// Sets [`shutdown`](Self::shutdown).
    #[must_use]
    pub fn shutdown(mut self, yes: bool) -> Self {
        self.shutdown = yes;
        self
    }

    /// Sets [`lost_tasks`](Self::lost_tasks).
    #[must_use]
    pub fn lost_tasks(mut self, yes: bool) -> Self {
        self.lost_tasks = yes;
        self
    }

    /// Sets [`spreads_wakes`](Self::spreads_wakes).
    #[must_use]
    pub fn spreads_wakes(mut self, yes: bool) -> Self {
        self.spreads_wakes = yes;
        self
    }
}

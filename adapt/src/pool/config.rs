//! How a pool is set up, and where its threads come from.

use std::{fmt, io, sync::Arc, time::Duration};

use super::{Inner, Owner, Pool, State, Worker, blocked::Serving};
use crate::{
    ThreadGroup,
    fork::{self, ForgetInChild, Process},
    sync::{Condvar, Mutex, atomic::AtomicBool, thread},
};
use fourway_core::implement::{self, RuntimeId};

/// Configures a [`Pool`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PoolBuilder {
    pub(super) limit: usize,
    pub(super) queue_bound: Option<usize>,
    pub(super) keep_alive: Duration,
    pub(super) eager: usize,
    pub(super) runtime: Option<RuntimeId>,
    pub(super) process: Process,
}

impl Default for PoolBuilder {
    fn default() -> Self {
        Self {
            limit: 512,
            queue_bound: None,
            keep_alive: Duration::from_secs(10),
            eager: thread::available_parallelism().map_or(2, |n| n.get().max(2)),
            runtime: None,
            process: Process::this(),
        }
    }
}

impl PoolBuilder {
    /// At most this many closures run at a time ([limits are exact](fourway_core::contract#OF-5)).
    /// Default: 512.
    pub fn limit(mut self, closures: usize) -> Self {
        self.limit = closures;
        self
    }

    /// At most this many closures wait, as far as
    /// [`try_offload`](fourway_core::Offload::try_offload) is concerned. Default: no
    /// bound.
    pub fn queue_bound(mut self, closures: Option<usize>) -> Self {
        self.queue_bound = closures;
        self
    }

    /// How long an idle thread is kept ([threads come and go](fourway_core::contract#OF-6)).
    /// Default: 10 seconds.
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.keep_alive = time;
        self
    }

    /// Up to this many threads are started without first making sure that the
    /// others are blocked. Default: the number of cores, at least 2.
    pub fn eager(mut self, threads: usize) -> Self {
        self.eager = threads;
        self
    }

    /// The runtime of these closures, for [`implement::runtime_id`].
    pub fn runtime(mut self, id: Option<RuntimeId>) -> Self {
        self.runtime = id;
        self
    }

    /// The process of the threads. Default: this one. For any other process, the pool refuses all
    /// closures as [`is_forked`](fourway_core::JoinError::is_forked).
    pub fn process(mut self, process: Process) -> Self {
        self.process = process;
        self
    }

    /// Makes the pool. It starts no thread before the first closure.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if the limit is zero ([limits are
    /// exact](fourway_core::contract#OF-5)).
    pub fn build(self, threads: impl Threads) -> io::Result<Pool> {
        if self.limit == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the offload limit must be at least 1: with 0, no closure could ever run",
            ));
        }
        fork::watch();
        // A thread that waits in sync code lends its slot of a pool.
        implement::install_kit(&implement::Kit {
            drive: crate::park::drive_erased,
            lend: super::lend::lend_erased,
        });
        let inner = Arc::new(Inner {
            process: self.process,
            submitters: super::Submitters::default(),
            state: super::Apart(Mutex::new(State::default())),
            ended: Condvar::new(),
            looking: AtomicBool::new(false),
            serving: Serving::default(),
            warden: super::Warden::default(),
            config: self,
            source: ForgetInChild::new(Box::new(threads)),
            extra: ThreadGroup::new(),
        });
        Ok(Pool {
            owner: Arc::new(Owner {
                inner: ForgetInChild::new(inner),
            }),
        })
    }
}

/// Where a pool's threads come from.
pub trait Threads: Send + Sync + 'static {
    /// Runs `worker` on a thread that may block, without blocking here.
    ///
    /// If the worker is dropped instead of run, the pool notices.
    ///
    /// # Errors
    ///
    /// If no thread is available. The pool reports it to the joiners of its closures, unless other
    /// threads are left to run them.
    fn start(&self, worker: Worker) -> io::Result<()>;

    /// As [`start`](Self::start), on a thread that does not have to wait for others to end. The
    /// pool asks for one when closures lend their slots: their threads are parked, and may be all
    /// that the source is willing to run. It also asks for one when a thread from
    /// [`start`](Self::start) does [not come](Self::may_be_late).
    ///
    /// By default a [thread of the standard library](Worker::run_on_extra_thread), for whose end
    /// the pool waits. A source whose threads provide something to closures provides it here as
    /// well.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    fn start_extra(&self, worker: Worker) -> io::Result<()> {
        worker.run_on_extra_thread(None, |life| life())
    }

    /// Can a thread from [`start`](Self::start) fail to come for as long as others of
    /// the source's threads are busy? Then the pool replaces one that has not come after
    /// [`LATE`](super::LATE) by one from [`start_extra`](Self::start_extra); the late
    /// one's worker ends as soon as it is run (OF-4, nested offload never starves).
    ///
    /// Default: `true`, which is right for any source. `false` spares a timer for each
    /// thread that is started.
    fn may_be_late(&self) -> bool {
        true
    }

    /// Calls `f` on a thread that is not from this source, in the environment of the source's
    /// threads: a thread that waits for a closure runs it there (WT-1, waiting from sync code). If
    /// that environment is not available, it does not call `f`, and one of the source's threads
    /// runs the closure.
    ///
    /// Must not panic. By default it just calls `f`.
    fn surround(&self, f: &mut dyn FnMut()) {
        f();
    }

    /// Waits for the threads themselves to end, once all workers have. Not for those of
    /// [`Worker::run_on_extra_thread`].
    fn join(&self) {}
}

/// Threads of the standard library, with a name and a stack size.
pub struct StdThreads {
    name: String,
    stack_size: Option<usize>,
    around: Option<Around>,
    started: ThreadGroup,
}

type Around = Arc<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

impl StdThreads {
    /// Threads called `name`. Systems show the first 15 bytes.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            stack_size: None,
            around: None,
            started: ThreadGroup::new(),
        }
    }

    /// Runs on each thread. It must call its argument, the thread's whole life, once. Must not
    /// panic.
    #[must_use]
    pub fn around(mut self, f: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static) -> Self {
        self.around = Some(Arc::new(f));
        self
    }

    /// The size of the threads' stacks, in bytes. Default: the standard
    /// library's.
    #[must_use]
    pub fn stack_size(mut self, bytes: Option<usize>) -> Self {
        self.stack_size = bytes;
        self
    }
}

impl fmt::Debug for StdThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdThreads")
            .field("name", &self.name)
            .field("stack_size", &self.stack_size)
            .finish_non_exhaustive()
    }
}

impl Threads for StdThreads {
    fn start(&self, worker: Worker) -> io::Result<()> {
        let around = self.around.clone();
        let life = worker.into_life(move |life| match around {
            Some(around) => around(life),
            None => life(),
        });
        self.started.spawn(self.name.clone(), self.stack_size, life)
    }

    fn start_extra(&self, worker: Worker) -> io::Result<()> {
        self.start(worker)
    }

    /// Closures may rely on a chosen stack size, and on what `around` has done on their thread:
    /// then no other thread will do.
    fn surround(&self, f: &mut dyn FnMut()) {
        if self.stack_size.is_none() && self.around.is_none() {
            f();
        }
    }

    /// Each worker has a thread of its own.
    fn may_be_late(&self) -> bool {
        false
    }

    fn join(&self) {
        self.started.join();
    }
}

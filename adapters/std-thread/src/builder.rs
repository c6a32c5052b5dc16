use std::{
    io,
    sync::{Arc, OnceLock, Weak},
    thread,
    time::Duration,
};

use fourway_adapt::{
    ThreadHooks, check_stack_size, check_thread_name, check_worker_threads,
    fork::ForgetInChild,
    pool::{PoolBuilder, StdThreads},
    thread_name,
    timer::Timers,
};
use fourway_core::{
    AnyRuntime,
    implement::{self, Extensions},
};

use crate::{
    StdThread,
    executor::{self, Executor},
    runtime::Shared,
};

/// Configures a [`StdThread`]. Made by [`StdThread::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    worker_threads: Option<usize>,
    thread_name: String,
    thread_stack_size: Option<usize>,
    offload_limit: usize,
    offload_queue: Option<usize>,
    compute_limit: Option<usize>,
    keep_alive: Duration,
    hooks: ThreadHooks,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            worker_threads: None,
            thread_name: String::from("fourway"),
            thread_stack_size: None,
            offload_limit: 512,
            offload_queue: None,
            compute_limit: None,
            keep_alive: Duration::from_secs(10),
            hooks: ThreadHooks::default(),
        }
    }
}

impl Builder {
    /// How many threads run tasks. Default: the number of cores.
    pub fn worker_threads(mut self, threads: usize) -> Self {
        self.worker_threads = Some(threads);
        self
    }

    /// The prefix of the threads' names. Default: `fourway`.
    ///
    /// Workers are called `NAME-0`, `NAME-1`, …, offload threads `NAME-offload`, those that compute
    /// `NAME-compute`, the timer thread `NAME-timer`. Linux keeps 15 bytes: a longer `NAME` is cut,
    /// and its suffix is not.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// The size of the stacks of workers and offload threads, in bytes.
    /// Default: the standard library's, 2 MiB.
    ///
    /// A size below 64 KiB is refused by [`build`](Self::build).
    ///
    /// With a chosen size, closures run on the offload threads alone: a thread that waits for one
    /// does not run it itself.
    pub fn thread_stack_size(mut self, bytes: usize) -> Self {
        self.thread_stack_size = Some(bytes);
        self
    }

    /// At most this many closures run at a time ([limits are exact](fourway_core::contract#OF-5)).
    /// Default: 512.
    pub fn offload_limit(mut self, closures: usize) -> Self {
        self.offload_limit = closures;
        self
    }

    /// At most this many closures wait, as far as
    /// [`try_offload`](fourway_core::Offload::try_offload) is concerned.
    /// Default: no bound.
    pub fn offload_queue(mut self, closures: Option<usize>) -> Self {
        self.offload_queue = closures;
        self
    }

    /// At most this many closures of [`compute`](StdThread::compute) run at a time.
    /// Default: the number of processors.
    pub fn compute_limit(mut self, closures: usize) -> Self {
        self.compute_limit = Some(closures);
        self
    }

    /// How long an idle offload thread is kept ([threads come and
    /// go](fourway_core::contract#OF-6)). Default: 10 seconds.
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.keep_alive = time;
        self
    }

    /// Calls `hook` on each worker and offload thread when it starts, before it does
    /// anything else. Default: nothing.
    ///
    /// With a hook, closures run on the offload threads alone: a thread that waits for one does not
    /// run it itself.
    ///
    /// A panic in it is reported by the panic hook, and the thread goes on.
    pub fn on_thread_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.hooks = self.hooks.on_start(hook);
        self
    }

    /// Calls `hook` on each worker and offload thread when it is about to end. Default:
    /// nothing.
    ///
    /// Closures then run where they do with an [`on_thread_start`](Self::on_thread_start).
    ///
    /// A panic in it is reported by the panic hook.
    pub fn on_thread_stop(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.hooks = self.hooks.on_stop(hook);
        self
    }

    /// Starts the worker threads and returns a handle on the runtime.
    ///
    /// # Errors
    ///
    /// * [`io::ErrorKind::InvalidInput`]: no workers or more than 65,535, a limit of zero closures,
    ///   a NUL byte in the threads' name, or stacks below 64 KiB.
    /// * The system's error if it cannot start a worker thread. Those that were started end again.
    pub fn build(self) -> io::Result<StdThread> {
        let workers = self.worker_threads.unwrap_or_else(processors);
        check_worker_threads(workers)?;
        if self.compute_limit == Some(0) {
            return Err(invalid(
                "the limit on closures that compute must be at least 1: with 0, none could ever \
                 run",
            ));
        }
        check_thread_name(&self.thread_name)?;
        check_stack_size(self.thread_stack_size)?;
        // The registry must be able to make a handle, and the handle must know
        // its number in the registry: tie the knot through a weak reference.
        let home: Arc<OnceLock<Weak<ForgetInChild<Shared>>>> = Arc::default();
        let registration = implement::register({
            let home = home.clone();
            move || {
                let shared = home.get()?.upgrade()?;
                Some(AnyRuntime::new(StdThread { shared }))
            }
        });
        let threads = |what: &str| {
            let hooks = self.hooks.clone();
            let threads = StdThreads::new(thread_name(&self.thread_name, what))
                .stack_size(self.thread_stack_size);
            if hooks.are_none() {
                threads
            } else {
                threads.around(move |life| hooks.around(life))
            }
        };
        let pool = PoolBuilder::default()
            .keep_alive(self.keep_alive)
            .runtime(Some(registration.id()));
        let compute = pool
            .clone()
            .limit(self.compute_limit.unwrap_or_else(processors))
            .build(threads("compute"))?;
        let pool = pool
            .limit(self.offload_limit)
            .queue_bound(self.offload_queue)
            .build(threads("offload"))?;
        let executor = Executor::new(executor::Config {
            runtime: registration.id(),
            thread_name: self.thread_name.clone(),
            stack_size: self.thread_stack_size,
            workers,
            hooks: self.hooks,
        });
        let extensions = Extensions::new();
        #[cfg(feature = "reactor")]
        extensions.get_or_insert_with(|| crate::reactor::Reactor::new(executor.clone()));
        let shared = Arc::new(ForgetInChild::new(Shared {
            executor,
            pool,
            compute,
            timers: Timers::new(thread_name(&self.thread_name, "timer")),
            extensions,
            registration,
        }));
        let _ = home.set(Arc::downgrade(&shared));
        // On failure `shared` is dropped, and the workers that were started end.
        shared.executor.start()?;
        Ok(StdThread { shared })
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

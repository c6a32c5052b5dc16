use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use fourway_adapt::{
    check_stack_size, check_thread_name, check_worker_threads, discard, thread_name,
};
use tokio::runtime::{Handle, Runtime};

use crate::{
    Tokio,
    offload::Chosen,
    probe,
    runtime::{self, Offloading},
    shutdown::{DriverThread, ThreadCount},
};

/// Configures a new Tokio runtime. Made by [`Tokio::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    current_thread: bool,
    worker_threads: Option<usize>,
    thread_name: String,
    threads: Chosen,
    keep_alive: Option<Duration>,
    offload: Offloading,
    handle: Option<Handle>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            current_thread: false,
            worker_threads: None,
            thread_name: String::from("fourway-tokio"),
            threads: Chosen::default(),
            keep_alive: None,
            offload: Offloading::default(),
            handle: None,
        }
    }
}

impl Builder {
    /// One thread for all tasks, in place of a pool of workers. The thread is
    /// the runtime's own and drives it all the time, so that the contract holds
    /// as on the other flavour, but for `block_in_place` in a task.
    pub fn current_thread(mut self) -> Self {
        self.current_thread = true;
        self
    }

    /// How many threads run tasks. Default: the number of cores. With
    /// [`current_thread`](Self::current_thread) it is one, whatever this says.
    pub fn worker_threads(mut self, threads: usize) -> Self {
        self.worker_threads = Some(threads);
        self
    }

    /// The prefix of the threads' names. Default: `fourway-tokio`.
    ///
    /// Workers are called `NAME-0`, `NAME-1`, …, the threads of Tokio's pool, on which
    /// closures run, `NAME-offload`. Linux keeps 15 bytes: a longer `NAME` is cut, and its suffix
    /// is not. Tokio names threads when it starts them, and gives work to the first one that is
    /// ready. So a closure that is offloaded while the workers are starting may be on a thread with
    /// a worker's name, and the worker on one with the pool's. In `block_in_place` a thread of its
    /// pool goes on as a worker, and neither changes its name.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// The size of the threads' stacks, in bytes. Default: the standard
    /// library's, 2 MiB.
    ///
    /// A size below 64 KiB is refused when the runtime is built.
    ///
    /// With a chosen size, closures run on the runtime's threads alone: a thread that waits for one
    /// does not run it itself.
    pub fn thread_stack_size(mut self, bytes: usize) -> Self {
        self.threads.stack_size = Some(bytes);
        self
    }

    /// At most this many closures run at a time ([limits are exact](fourway_core::contract#OF-5)).
    /// Default: 512.
    ///
    /// The limit is fourway's. Tokio's own, on `spawn_blocking`, is set above
    /// it, so that raw uses find room as well.
    pub fn offload_limit(mut self, closures: usize) -> Self {
        self.offload.limit = closures;
        self
    }

    /// At most this many closures wait, as far as
    /// [`try_offload`](fourway_core::Offload::try_offload) is concerned.
    /// Default: no bound.
    pub fn offload_queue(mut self, closures: Option<usize>) -> Self {
        self.offload.queue = closures;
        self
    }

    /// How long an idle blocking thread is kept ([threads come and
    /// go](fourway_core::contract#OF-6)). Default: 10 seconds; over a [`handle`](Self::handle) or a
    /// runtime that was taken over, 100 milliseconds in the offload pool, and after that as long as
    /// the runtime keeps it.
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.keep_alive = Some(time);
        self
    }

    /// Calls `hook` on each worker, on each thread of Tokio's pool, on the thread that drives a
    /// [`current_thread`](Self::current_thread) runtime and on each thread that stands in for one
    /// whose closure is parked (`fourway-extra`), when it starts, before it does anything else.
    /// Default: nothing.
    ///
    /// With a hook, closures run on the runtime's threads alone: a thread that waits for one does
    /// not run it itself.
    ///
    /// A panic in it is reported by the panic hook, and the thread goes on.
    pub fn on_thread_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.threads.hooks = self.threads.hooks.on_start(hook);
        self
    }

    /// Calls `hook` on each of these threads when it is about to end. Default: nothing.
    ///
    /// Closures then run where they do with an [`on_thread_start`](Self::on_thread_start).
    ///
    /// A panic in it is reported by the panic hook.
    pub fn on_thread_stop(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.threads.hooks = self.threads.hooks.on_stop(hook);
        self
    }

    /// Uses a runtime that other code owns, instead of starting one.
    ///
    /// As [`Tokio::from_handle`], but with an offload pool of its own, to which the
    /// `offload_` methods and [`keep_alive`](Self::keep_alive) apply. The pool goes with the last handle,
    /// once all its closures have begun, or with the runtime. The settings for threads and
    /// flavour belong to the runtime, and are ignored here.
    pub fn handle(mut self, handle: Handle) -> Self {
        self.handle = Some(handle);
        self
    }

    /// Starts the runtime and returns a handle that owns it; or one that does not,
    /// after [`handle`](Self::handle).
    ///
    /// # Errors
    ///
    /// * [`io::ErrorKind::InvalidInput`]: no workers or more than 65,535, an offload limit of zero,
    ///   a NUL byte in the threads' name, or stacks below 64 KiB.
    /// * The system's error if it cannot start the threads. If a worker after the first has
    ///   none, this does not return: see the [limits](crate#limits).
    pub fn build(mut self) -> io::Result<Tokio> {
        if let Some(workers) = self.worker_threads {
            check_worker_threads(workers)?;
        }
        self.check()?;
        if let Some(handle) = self.handle {
            self.offload.keep_alive = self.keep_alive.unwrap_or(runtime::LINGER);
            return runtime::attach(&handle, self.offload);
        }
        self.offload.threads = self.threads.clone();
        self.offload.keep_alive = self.keep_alive.unwrap_or(Duration::from_secs(10));
        let mut native = if self.current_thread {
            tokio::runtime::Builder::new_current_thread()
        } else {
            tokio::runtime::Builder::new_multi_thread()
        };
        if let Some(threads) = self.worker_threads {
            native.worker_threads(threads);
        }
        if let Some(bytes) = self.threads.stack_size {
            native.thread_stack_size(bytes);
        }
        let threads = Arc::new(ThreadCount::new());
        let names = Arc::new(Names::default());
        native
            .thread_name_fn({
                let (prefix, names) = (self.thread_name.clone(), names.clone());
                move || names.next(&prefix)
            })
            .thread_keep_alive(self.offload.keep_alive)
            .max_blocking_threads(blocking_threads(self.offload.limit))
            .on_thread_start({
                let (threads, hooks) = (threads.clone(), self.threads.hooks.clone());
                move || {
                    threads.started();
                    hooks.started();
                }
            })
            .on_thread_stop({
                let (threads, hooks) = (threads.clone(), self.threads.hooks.clone());
                move || {
                    hooks.stopping();
                    threads.stopped();
                }
            })
            // Only workers park, and only between polls: see `probe`.
            .on_thread_park(probe::this_is_a_worker)
            // Time, and I/O if Tokio was compiled with it: a user of `tokio::net`, or of a crate on
            // top of it, has its feature on.
            .enable_all();
        let native = start(&mut native)?;
        names.all_workers_started();
        let driver = DriverThread {
            name: self.thread_name,
            chosen: self.threads,
        };
        runtime::own(native, driver, self.offload, Some(threads))
    }

    /// Takes a runtime over, as [`Tokio::from_runtime`] does, instead of starting one.
    ///
    /// The `offload_` methods and [`keep_alive`](Self::keep_alive) apply to its offload pool. The
    /// other settings apply to the thread that drives a current-thread runtime, and to no other
    /// thread: those belong to the runtime. A [`handle`](Self::handle) is ignored.
    ///
    /// # Errors
    ///
    /// * [`io::ErrorKind::InvalidInput`]: an offload limit of zero, a NUL byte in the threads'
    ///   name, or stacks below 64 KiB.
    /// * The system's error if the driving thread cannot be started.
    ///
    /// The runtime is then shut down in the background.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_tokio::Tokio;
    ///
    /// let native = tokio::runtime::Runtime::new()?;
    /// let rt = Tokio::builder().offload_limit(4).build_from_runtime(native)?;
    /// # drop(rt);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn build_from_runtime(mut self, runtime: Runtime) -> io::Result<Tokio> {
        if let Err(error) = self.check() {
            // To drop it would wait, and panic in async code.
            runtime.shutdown_background();
            return Err(error);
        }
        self.offload.keep_alive = self.keep_alive.unwrap_or(runtime::LINGER);
        let driver = DriverThread {
            name: self.thread_name,
            chosen: self.threads,
        };
        runtime::own(runtime, driver, self.offload, None)
    }

    fn check(&self) -> io::Result<()> {
        check_thread_name(&self.thread_name)?;
        check_stack_size(self.threads.stack_size)?;
        self.offload.check()
    }
}

/// Starts a runtime. If there is no thread for a worker, Tokio does not say so, but panics. If a
/// worker before it has one, Tokio then waits for that, without having told it to end.
fn start(native: &mut tokio::runtime::Builder) -> io::Result<Runtime> {
    // Unwind safety: what a panic leaves behind is not used again.
    let started = catch_unwind(AssertUnwindSafe(|| native.build()));
    started.unwrap_or_else(|payload| {
        let text = (payload.downcast_ref::<String>().map(String::as_str))
            .or_else(|| payload.downcast_ref::<&str>().copied());
        let error = io::Error::other(text.unwrap_or("Tokio cannot start its threads").to_owned());
        discard(payload);
        Err(error)
    })
}

/// Tokio's own limit, above that on closures. Tokio adds the number of workers, so that it must not
/// be the largest number.
fn blocking_threads(closures: usize) -> usize {
    closures.saturating_add(16).clamp(512, usize::MAX / 2)
}

/// Tells workers from the threads of Tokio's pool, which it names in the same way: workers are
/// the threads that it starts while it is built.
#[derive(Default)]
struct Names {
    workers: AtomicUsize,
    are_started: AtomicBool,
}

impl Names {
    /// The name of the next thread, called by the thread that starts it. It pairs with nothing: one
    /// thread starts all workers and then says so, and a thread that has a pool thread started got
    /// the runtime from that thread.
    fn next(&self, prefix: &str) -> String {
        if self.are_started.load(Ordering::Relaxed) {
            return thread_name(prefix, "offload");
        }
        thread_name(prefix, self.workers.fetch_add(1, Ordering::Relaxed))
    }

    fn all_workers_started(&self) {
        self.are_started.store(true, Ordering::Relaxed);
    }
}

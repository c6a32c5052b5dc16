use std::{
    env, io,
    sync::{Arc, OnceLock, Weak},
    thread,
    time::Duration,
};

use fourway_adapt::{
    ThreadHooks, check_stack_size, check_thread_name, check_worker_threads,
    fork::ForgetInChild,
    pool::{PoolBuilder, StdThreads},
    thread_name,
};
use fourway_core::{
    AnyRuntime,
    implement::{self, Extensions},
};

use crate::{
    Smol,
    executor::{self, Executor, Owner},
    runtime::{Shared, Tasks, smol_is_usable},
};

/// Configures a [`Smol`]. Made by [`Smol::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    global: bool,
    worker_threads: Option<usize>,
    thread_name: String,
    thread_stack_size: Option<usize>,
    offload_limit: usize,
    offload_queue: Option<usize>,
    keep_alive: Duration,
    hooks: ThreadHooks,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            global: false,
            worker_threads: None,
            thread_name: String::from("smol"),
            thread_stack_size: None,
            offload_limit: 512,
            offload_queue: None,
            keep_alive: Duration::from_secs(10),
            hooks: ThreadHooks::default(),
        }
    }
}

impl Builder {
    /// Runs tasks on smol's global executor, with an offload pool of this
    /// runtime's own. Default: an executor and threads of its own.
    ///
    /// For an application that uses [`smol::spawn`] and wants limits other than those of
    /// [`Smol::global`]. The runtime cannot be shut down; dropping its last handle ends the pool.
    pub fn global_executor(mut self) -> Self {
        self.global = true;
        self
    }

    /// How many threads run tasks. Default: the number of cores.
    ///
    /// Not for the global executor, which takes the number from the environment
    /// variable `SMOL_THREADS`.
    pub fn worker_threads(mut self, threads: usize) -> Self {
        self.worker_threads = Some(threads);
        self
    }

    /// The prefix of the threads' names. Default: `smol`.
    ///
    /// Workers are called `NAME-0`, `NAME-1`, …, offload threads `NAME-offload`. Linux keeps 15
    /// bytes: a longer `NAME` is cut, and its suffix is not. The threads of the global executor are
    /// always `smol-1`, …, except in a forked child.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// The size of the stacks of workers and offload threads, in bytes. Default:
    /// the standard library's, 2 MiB. Does not change the threads of the global
    /// executor.
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

    /// How long an idle offload thread is kept ([threads come and
    /// go](fourway_core::contract#OF-6)). Default: 10 seconds.
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.keep_alive = time;
        self
    }

    /// Calls `hook` on each worker and offload thread when it starts, before it does
    /// anything else. Not on the threads of the global executor, which are smol's. Default: nothing.
    ///
    /// With a hook, closures run on the offload threads alone: a thread that waits for one does not
    /// run it itself.
    ///
    /// A panic in it is reported by the panic hook, and the thread goes on.
    pub fn on_thread_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.hooks = self.hooks.on_start(hook);
        self
    }

    /// Calls `hook` on each worker and offload thread when it is about to end. Not on the threads of
    /// the global executor. Default: nothing.
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
    /// * [`io::ErrorKind::InvalidInput`]: no workers or more than 65,535, an offload limit of
    ///   zero, a NUL byte in the threads' name, stacks below 64 KiB, or a number of workers for the global
    ///   executor.
    /// * The system's error if it cannot start a worker thread. Those that were started end again.
    ///
    /// # Panics
    ///
    /// With [`global_executor`](Self::global_executor), if smol cannot start its
    /// threads.
    pub fn build(self) -> io::Result<Smol> {
        let workers = self.workers()?;
        check_thread_name(&self.thread_name)?;
        check_stack_size(self.thread_stack_size)?;
        // The registry must be able to make a handle, and the handle must know
        // its number in the registry: tie the knot through a weak reference.
        let home: Arc<OnceLock<Weak<ForgetInChild<Shared>>>> = Arc::default();
        let registration = implement::register({
            let home = home.clone();
            move || {
                let shared = home.get()?.upgrade()?;
                Some(AnyRuntime::new(Smol { shared }))
            }
        });
        let pool = PoolBuilder::default()
            .limit(self.offload_limit)
            .queue_bound(self.offload_queue)
            .keep_alive(self.keep_alive)
            .runtime(Some(registration.id()))
            .build(self.offload_threads())?;
        let tasks = if self.global && smol_is_usable() {
            // smol starts its threads with its first task, and blocks the caller
            // meanwhile: here, so that no `spawn` ever does (SP-2, spawn from anywhere).
            smol::spawn(async {}).detach();
            Tasks::Global
        } else {
            Tasks::Own(Owner::new(Executor::new(executor::Config {
                runtime: registration.id(),
                thread_name: self.thread_name,
                stack_size: self.thread_stack_size,
                hooks: self.hooks,
            })))
        };
        let shared = Arc::new(ForgetInChild::new(Shared {
            tasks,
            pool,
            extensions: Extensions::new(),
            registration,
            is_global: self.global,
        }));
        let _ = home.set(Arc::downgrade(&shared));
        if let Tasks::Own(own) = &shared.tasks {
            for _ in 0..workers {
                // On failure `shared` is dropped, and the workers that were started end.
                own.executor().start_worker()?;
            }
        }
        Ok(Smol { shared })
    }

    fn offload_threads(&self) -> StdThreads {
        let threads = StdThreads::new(thread_name(&self.thread_name, "offload"))
            .stack_size(self.thread_stack_size);
        if self.hooks.are_none() {
            return threads;
        }
        let hooks = self.hooks.clone();
        threads.around(move |life| hooks.around(life))
    }

    fn workers(&self) -> io::Result<usize> {
        match self.worker_threads {
            Some(_) if self.global => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the threads of smol's global executor cannot be set here: set the environment \
                 variable SMOL_THREADS, or leave `global_executor` out",
            )),
            Some(workers) => check_worker_threads(workers).map(|()| workers),
            // As smol does, because this may have to replace its executor.
            None if self.global => Ok(env::var("SMOL_THREADS")
                .ok()
                .and_then(|threads| threads.parse().ok())
                .unwrap_or(1)
                .max(1)),
            None => Ok(thread::available_parallelism().map_or(1, usize::from)),
        }
    }
}

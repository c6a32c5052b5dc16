//! One runtime from two: [`Compose`].

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{BlockOn, BlockOnError, Offload, Spawner, Timer, TryOffloadError};

/// Takes tasks, blocking and time from one runtime, and the pool for blocking
/// closures from another.
///
/// Closures run on the other's threads, but find there what they would find on those of
/// the first: with tasks on Tokio, `tokio::runtime::Handle::current()` works in them (see
/// [`Spawner::surround`]).
///
/// # Examples
///
/// ```no_run
/// # fn example(tokio: impl fourway_core::Runtime, threads: impl fourway_core::Runtime) {
/// use fourway_core::{Compose, Offload, Spawner, Task};
///
/// let rt = Compose::new(tokio, threads);
/// rt.spawn(async { /* on Tokio */ }).detach();
/// rt.offload(|| { /* on the other's pool */ }).detach();
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Compose<S, O> {
    tasks: S,
    pool: O,
}

impl<S, O> Compose<S, O> {
    /// Tasks, blocking and time from `tasks`; offloading from `pool`.
    pub fn new(tasks: S, pool: O) -> Self {
        Self { tasks, pool }
    }

    /// Where tasks run.
    pub fn tasks(&self) -> &S {
        &self.tasks
    }

    /// Where closures run.
    pub fn pool(&self) -> &O {
        &self.pool
    }

    /// The two parts.
    pub fn into_parts(self) -> (S, O) {
        (self.tasks, self.pool)
    }
}

impl<S: Spawner, O> Spawner for Compose<S, O> {
    type Task<T: Send + 'static> = S::Task<T>;

    fn spawn<F>(&self, future: F) -> Self::Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(future)
    }

    fn spawn_detached<F>(&self, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn_detached(future);
    }

    fn surround<T>(&self, f: impl FnOnce() -> T) -> T {
        self.tasks.surround(f)
    }
}

impl<S: BlockOn, O> BlockOn for Compose<S, O> {
    fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, BlockOnError> {
        self.tasks.try_block_on(future)
    }

    #[track_caller]
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.tasks.block_on(future)
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        self.tasks.block_in_place(f)
    }
}

impl<S, O> Offload for Compose<S, O>
where
    S: Spawner + Clone + Send + 'static,
    O: Offload,
{
    type OffloadTask<T: Send + 'static> = O::OffloadTask<T>;

    fn offload<F, T>(&self, f: F) -> Self::OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let tasks = self.tasks.clone();
        self.pool.offload(move || tasks.surround(f))
    }

    fn try_offload<F, T>(&self, f: F) -> Result<Self::OffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let tasks = self.tasks.clone();
        // In reach from outside too: what is refused is the closure around it, out of
        // which nothing can be taken. (And the caller is to get back what was given.)
        let shared = Arc::new(Mutex::new(Some(f)));
        let inner = shared.clone();
        let surrounded = move || {
            let f = take(&inner);
            tasks.surround(f)
        };
        let refused = match self.pool.try_offload(surrounded) {
            Ok(task) => return Ok(task),
            Err(refused) => refused,
        };
        Err(refused.map(|surrounded| {
            drop(surrounded);
            take(&shared)
        }))
    }
}

/// Takes the closure, which is there: it is either run or refused.
fn take<F>(shared: &Mutex<Option<F>>) -> F {
    let f = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
    f.expect("a closure is run or refused, and once")
}

impl<S: Timer, O> Timer for Compose<S, O> {
    type Sleep = S::Sleep;

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.tasks.sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Self::Sleep {
        self.tasks.sleep_until(deadline)
    }

    fn now(&self) -> Instant {
        self.tasks.now()
    }
}

//! One runtime from two: [`Compose`].

use crate::{BlockOn, Offload, Spawner, Timer, TryOffloadError, forward, recover::recoverable};

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

forward!([S: Spawner, O] Spawner for Compose<S, O> as S => |this| &this.tasks);
forward!([S: BlockOn, O] BlockOn for Compose<S, O> as S => |this| &this.tasks);

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
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
        let (inside, outside) = recoverable(f);
        let surrounded = move || {
            let f = inside.take();
            tasks.surround(f)
        };
        self.pool.try_offload(surrounded).map_err(|refused| {
            let f = outside.take();
            refused.map(|_| f)
        })
    }
}

forward!([S: Timer, O] Timer for Compose<S, O> as S => |this| &this.tasks);

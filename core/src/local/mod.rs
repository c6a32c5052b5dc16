//! Futures that must stay on one thread: [`LocalSpawner`], [`block_on`], [`run`] and [`spawn`].
//!
//! | where one is | how local tasks are run |
//! |---|---|
//! | in sync code, or in an offloaded closure | [`block_on`] |
//! | in async code that stays on its thread: inside a `block_on`, a Tokio `LocalSet` | [`run`] |
//! | in async code that may move, such as a spawned task | offload, and [`block_on`] there |
//! | deep inside of any of these | [`spawn`], which finds the tasks it belongs to |

mod current;
mod task;
mod tasks;
#[cfg(all(test, not(any(fourway_shuttle, fourway_loom))))]
mod tests;

use std::future::Future;

pub use current::current;
pub use task::LocalTask;
pub use tasks::Local;

use crate::{BlockOn, BlockOnError, JoinError};
use current::Entered;
use tasks::{EndOnDrop, drive};

/// Runs futures that are not `Send` as tasks on the current thread.
pub trait LocalSpawner {
    /// The handle of a local task. It stays on the thread as well.
    type LocalTask<T: 'static>: Future<Output = Result<T, JoinError>> + Unpin + 'static;

    /// Starts `future` as a task of this thread.
    ///
    /// It is polled and destroyed here and nowhere else; it may be woken, and
    /// aborted, from any thread, and both are carried out here ([local futures stay on their
    /// thread][LO-1]). Dropping the handle cancels the task ([drop cancels, detach does
    /// not][CA-1]).
    ///
    /// [LO-1]: crate::contract#LO-1
    /// [CA-1]: crate::contract#CA-1
    #[track_caller]
    fn spawn_local<F>(&self, future: F) -> Self::LocalTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static;
}

/// Runs `f` on the calling thread together with the local tasks it spawns.
///
/// Tasks that are left when `f` is ready are destroyed, on this thread, before
/// this returns; their handles resolve as shut down.
///
/// # Errors
///
/// Those of [`BlockOn::try_block_on`]. `f` has not been called.
///
/// # Examples
///
/// ```
/// # fn example(rt: impl fourway_core::Runtime) {
/// use fourway_core::local::{self, LocalSpawner};
/// use std::rc::Rc;
///
/// let text = Rc::new(String::from("not Send"));
/// let length = local::block_on(&rt, async |local| {
///     local.spawn_local(async move { text.len() }).await.unwrap()
/// });
/// assert_eq!(length.unwrap(), 8);
/// # }
/// ```
pub fn block_on<R, F, T>(runtime: &R, f: F) -> Result<T, BlockOnError>
where
    R: BlockOn,
    F: AsyncFnOnce(Local) -> T,
{
    // Calls `f` when it is polled: where the runtime refuses, it is not called.
    runtime.try_block_on(run(f))
}

/// Runs `f` as part of the calling async code, together with the local tasks it spawns.
///
/// The future that it returns is not `Send`, and drives the tasks while it is polled. So it
/// suits async code that stays on one thread: inside a `block_on`, in a task of a Tokio
/// `LocalSet`, in another local task. Tasks that are left when `f` is ready, or when the
/// future is dropped, are destroyed, on this thread; their handles resolve as shut down.
///
/// A spawned task may move between threads, and cannot await this. It offloads instead:
///
/// ```
/// # async fn example(rt: impl fourway_core::Runtime) {
/// use fourway_core::local;
/// use std::rc::Rc;
///
/// let inner = rt.clone();
/// let length = rt.offload(move || {
///     local::block_on(&inner, async |_| {
///         let text = Rc::new(String::from("not Send"));
///         local::spawn(async move { text.len() }).await.unwrap()
///     })
/// });
/// assert_eq!(length.await.unwrap().unwrap(), 8);
/// # }
/// ```
///
/// # Cancel safety
///
/// Dropping the future destroys `f`'s and all its tasks.
///
/// # Examples
///
/// ```
/// use fourway_core::{BlockOn, local};
/// use std::{cell::Cell, rc::Rc};
///
/// fn example(rt: impl BlockOn) {
///     let sum = rt.block_on(local::run(async |_| {
///         let sum = Rc::new(Cell::new(0));
///         let shared = sum.clone();
///         local::spawn(async move { shared.set(42) }).await.unwrap();
///         sum.get()
///     }));
///     assert_eq!(sum, 42);
/// }
/// ```
pub async fn run<F, T>(f: F) -> T
where
    F: AsyncFnOnce(Local) -> T,
{
    let local = Local::new();
    // Destroys the remaining tasks, also when `f` panics.
    let _end = EndOnDrop(local.clone());
    // A plain function may spawn as well before it returns its future.
    let main = {
        let _current = Entered::new(&local);
        f(local.clone())
    };
    drive(&local, main).await
}

/// Spawns a local task from anywhere inside of a [`block_on`] or a [`run`].
///
/// As [`spawn_local`](LocalSpawner::spawn_local) on [`current`].
///
/// # Panics
///
/// If the calling code is part of neither, at the caller's line.
#[track_caller]
pub fn spawn<F>(future: F) -> LocalTask<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    match current() {
        Some(local) => local.spawn_local(future),
        None => panic!(
            "`local::spawn` outside of `local::block_on` and `local::run`: there is nothing to \
             run the task on this thread; begin one of them further out, or spawn a future that \
             is `Send` on a runtime"
        ),
    }
}

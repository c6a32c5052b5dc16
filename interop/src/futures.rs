//! The spawners of the `futures` crates: [`Futures`] and [`FuturesLocal`].

use fourway_core::{
    Shutdown, Spawner,
    local::{Local, LocalSpawner},
};
use futures_task::{FutureObj, LocalFutureObj, LocalSpawn, Spawn, SpawnError};

/// A runtime as `futures::task::Spawn`, and so as `SpawnExt`.
///
/// Tasks are detached. Once the runtime is shut down, spawning gives an error; a future that was
/// spawned just before is dropped.
///
/// # Examples
///
/// ```
/// use fourway_core::Runtime;
/// use fourway_interop::futures::Futures;
/// use futures_task::{FutureObj, Spawn, SpawnError};
///
/// fn example(rt: impl Runtime) -> Result<(), SpawnError> {
///     let spawn = Futures::new(rt);
///     spawn.spawn_obj(FutureObj::new(Box::new(async { println!("hello") })))
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Futures<R> {
    runtime: R,
}

impl<R> Futures<R> {
    /// Wraps `runtime`.
    pub fn new(runtime: R) -> Self {
        Self { runtime }
    }

    /// The runtime underneath.
    pub fn get_ref(&self) -> &R {
        &self.runtime
    }
}

impl<R: Spawner + Shutdown> Spawn for Futures<R> {
    #[track_caller]
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status()?;
        self.runtime.spawn_detached(future);
        Ok(())
    }

    fn status(&self) -> Result<(), SpawnError> {
        match self.runtime.is_shutdown() {
            true => Err(SpawnError::shutdown()),
            false => Ok(()),
        }
    }
}

/// The local tasks of a thread as `futures::task::LocalSpawn`, and so as `LocalSpawnExt`.
///
/// # Examples
///
/// ```
/// use fourway_core::{Runtime, local, yield_now};
/// use fourway_interop::futures::FuturesLocal;
/// use futures_task::{LocalFutureObj, LocalSpawn};
/// use std::{cell::Cell, rc::Rc};
///
/// fn example(rt: impl Runtime) {
///     let done = Rc::new(Cell::new(false));
///     let inner = done.clone();
///     local::block_on(&rt, async move |tasks| {
///         let set = async move { inner.set(true) };
///         let spawn = FuturesLocal::new(tasks);
///         spawn.spawn_local_obj(LocalFutureObj::new(Box::new(set))).unwrap();
///         yield_now().await;
///     })
///     .unwrap();
///     assert!(done.get());
/// }
/// ```
#[derive(Clone, Debug)]
pub struct FuturesLocal {
    local: Local,
}

impl FuturesLocal {
    /// Wraps a spawner of local tasks.
    #[must_use]
    pub fn new(local: Local) -> Self {
        Self { local }
    }
}

impl LocalSpawn for FuturesLocal {
    #[track_caller]
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status_local()?;
        self.local.spawn_local(future).detach();
        Ok(())
    }

    fn status_local(&self) -> Result<(), SpawnError> {
        match self.local.is_shutdown() {
            true => Err(SpawnError::shutdown()),
            false => Ok(()),
        }
    }
}

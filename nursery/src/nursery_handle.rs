//! The nursery as its children and other threads see it: [`NurseryHandle`].

use std::{
    borrow::Cow,
    fmt,
    future::{Future, IntoFuture},
};

use fourway_core::{Call, Runtime, cancel::CancellationToken};

use crate::{
    ChildHandle, Nursery, Reserve, SpawnError, Spawned, StartError, Started,
    called::Called,
    child::{Closure, NoSink, Task},
    handle,
    in_process::WaitInProcess,
};

/// A nursery, as its children and other threads see it, while it lasts and afterwards.
///
/// It does not keep the nursery open. Once the body and all children have ended, the nursery is
/// closed: work that is spawned then is given back ([children until it is
/// over](fourway_core::contract#NU-3)). Holding a handle keeps a small block of memory, and a handle
/// of the runtime.
///
/// It has the methods of [`Nursery`], but [`results`](Nursery::results), which are read by the body
/// that spawns, and [`shield`](Nursery::shield), which is a [function](crate::shield()) everywhere
/// else.
pub struct NurseryHandle<R: Runtime, E> {
    nursery: Nursery<R, E>,
}

impl<R: Runtime, E: Send + 'static> NurseryHandle<R, E> {
    pub(crate) fn new(nursery: Nursery<R, E>) -> Self {
        Self { nursery }
    }

    /// As [`Nursery::spawn`], as long as the nursery takes children.
    ///
    /// # Errors
    ///
    /// Gives `future` back, unpolled, if the nursery is closed or being cancelled.
    #[track_caller]
    pub fn spawn<F, T>(&self, future: F) -> Result<Spawned<R, E>, SpawnError<F>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        let child = self.nursery.child(Task(future), NoSink);
        child.map_err(|refused| refused.map(|(work, _)| work.0))
    }

    /// As [`Nursery::offload`], as long as the nursery takes children.
    ///
    /// # Errors
    ///
    /// Gives `closure` back, unrun, if the nursery is closed or being cancelled.
    #[track_caller]
    pub fn offload<F, T>(&self, closure: F) -> Result<Spawned<R, E>, SpawnError<F>>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
    {
        let child = self.nursery.child(Closure(closure), NoSink);
        child.map_err(|refused| refused.map(|(work, _)| work.0))
    }

    /// As [`Nursery::call`], as long as the nursery takes children.
    ///
    /// # Errors
    ///
    /// Gives `call` back, unused, if the nursery is closed or being cancelled.
    #[track_caller]
    pub fn call<C, T>(&self, call: C) -> Result<Spawned<R, E>, SpawnError<C>>
    where
        C: Call + IntoFuture<Output = Result<T, E>>,
        T: Send + 'static,
    {
        let child = self.nursery.child(Called(call), NoSink);
        child.map_err(|refused| refused.map(|(work, _)| work.0))
    }

    /// As [`Nursery::spawn_handle`], as long as the nursery takes children.
    ///
    /// # Errors
    ///
    /// Gives `future` back, unpolled, if the nursery is closed or being cancelled.
    #[track_caller]
    pub fn spawn_handle<F, T>(&self, future: F) -> Result<ChildHandle<T, R, E>, SpawnError<F>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        let (sink, handle) = handle::pair(&self.nursery.shared);
        match self.nursery.child(Task(future), sink) {
            Ok(_) => Ok(handle),
            Err(refused) => Err(refused.map(|(work, _)| work.0)),
        }
    }

    /// As [`Nursery::offload_handle`], as long as the nursery takes children.
    ///
    /// # Errors
    ///
    /// Gives `closure` back, unrun, if the nursery is closed or being cancelled.
    #[track_caller]
    pub fn offload_handle<F, T>(&self, closure: F) -> Result<ChildHandle<T, R, E>, SpawnError<F>>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
    {
        let (sink, handle) = handle::pair(&self.nursery.shared);
        match self.nursery.child(Closure(closure), sink) {
            Ok(_) => Ok(handle),
            Err(refused) => Err(refused.map(|(work, _)| work.0)),
        }
    }

    /// As [`Nursery::call_handle`], as long as the nursery takes children.
    ///
    /// # Errors
    ///
    /// Gives `call` back, unused, if the nursery is closed or being cancelled.
    #[track_caller]
    pub fn call_handle<C, T>(&self, call: C) -> Result<ChildHandle<T, R, E>, SpawnError<C>>
    where
        C: Call + IntoFuture<Output = Result<T, E>>,
        T: Send + 'static,
    {
        let (sink, handle) = handle::pair(&self.nursery.shared);
        match self.nursery.child(Called(call), sink) {
            Ok(_) => Ok(handle),
            Err(refused) => Err(refused.map(|(work, _)| work.0)),
        }
    }

    /// As [`Nursery::try_spawn`].
    ///
    /// # Errors
    ///
    /// Gives `future` back, unpolled, if no place is free, or the nursery is closed or being
    /// cancelled.
    #[track_caller]
    pub fn try_spawn<F, T>(&self, future: F) -> Result<(), SpawnError<F>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        self.nursery.try_spawn(future)
    }

    /// As [`Nursery::try_offload`].
    ///
    /// # Errors
    ///
    /// Gives `closure` back, unrun, if no place is free, or the nursery is closed or being
    /// cancelled.
    #[track_caller]
    pub fn try_offload<F, T>(&self, closure: F) -> Result<(), SpawnError<F>>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
    {
        self.nursery.try_offload(closure)
    }

    /// As [`Nursery::try_call`].
    ///
    /// # Errors
    ///
    /// Gives `call` back, unused, if no place is free, or the nursery is closed or being
    /// cancelled.
    #[track_caller]
    pub fn try_call<C, T>(&self, call: C) -> Result<(), SpawnError<C>>
    where
        C: Call + IntoFuture<Output = Result<T, E>>,
        T: Send + 'static,
    {
        self.nursery.try_call(call)
    }

    /// As [`Nursery::start`]: a child may start another one, and wait until it is ready.
    ///
    /// # Errors
    ///
    /// [`StartError`], which is [`Cancelled`](StartError::Cancelled) if the nursery is closed or
    /// being cancelled: the child is dropped then, unpolled.
    ///
    /// # Cancel safety
    ///
    /// That of [`Nursery::start`].
    #[track_caller]
    pub fn start<V, B, F, T>(
        &self,
        body: B,
    ) -> impl Future<Output = Result<V, StartError<E>>> + use<'_, V, B, F, T, R, E>
    where
        B: FnOnce(Started<V>) -> F,
        F: Future<Output = Result<T, E>> + Send + 'static,
        V: Send + 'static,
        T: Send + 'static,
    {
        self.nursery.start(body)
    }

    /// As [`Nursery::named`].
    #[must_use]
    pub fn named(&self, name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            nursery: self.nursery.named(name),
        }
    }

    /// As [`Nursery::without_context`]: for bodies that own their nursery, and for children that
    /// spawn others.
    #[must_use]
    pub fn without_context(&self) -> Self {
        Self {
            nursery: self.nursery.without_context(),
        }
    }

    /// As [`Nursery::reserve`].
    pub fn reserve(&self) -> Reserve<R, E> {
        self.nursery.reserve()
    }

    /// As [`Nursery::cancel`].
    pub fn cancel(&self) {
        self.nursery.cancel();
    }

    /// As [`Nursery::token`].
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        self.nursery.token()
    }

    /// As [`Nursery::set_limit`].
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn set_limit(&self, limit: usize) {
        self.nursery.set_limit(limit);
    }

    /// As [`Nursery::len`]; zero once the nursery [is closed](Self::is_closed). A blocking body of
    /// a call that outlives its cancelled child is not counted: the nursery is open until it ends.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.is_closed() {
            true => 0,
            false => self.nursery.len(),
        }
    }

    /// Have the body and all children ended, and what outlives them? As
    /// [`is_closed`](Self::is_closed).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_closed()
    }

    /// As [`Nursery::runtime`].
    #[must_use]
    pub fn runtime(&self) -> &R {
        self.nursery.runtime()
    }

    /// Is the nursery over? Then its children are destroyed, and it takes no more.
    ///
    /// A nursery from before a fork is closed in the child: its children are the parent's ([forked
    /// children](fourway_core::contract#FK-1)).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let shared = &self.nursery.shared;
        shared.is_inherited() || shared.is_over()
    }

    /// Waits until the nursery is over: its body and all its children destroyed, and no closure
    /// of it running. Also when the nursery's own future was dropped half-way ([dropped
    /// half-way](fourway_core::contract#NU-8)).
    ///
    /// In a forked child of the process that opened the nursery, it is ready at once, also if it
    /// was made before the fork.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static + use<R, E> {
        let shared = &self.nursery.shared;
        let over = (!shared.is_inherited()).then(|| shared.over().cancelled());
        WaitInProcess::new(shared.process, over)
    }
}

impl<R: Runtime, E> Clone for NurseryHandle<R, E> {
    fn clone(&self) -> Self {
        Self {
            nursery: self.nursery.again(),
        }
    }
}

impl<R: Runtime, E> fmt::Debug for NurseryHandle<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.nursery.fmt(f)
    }
}

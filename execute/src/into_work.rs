//! Telling kinds of work apart at compile time: [`IntoWork`].

use std::future::{Future, IntoFuture};

use fourway_core::{Call, Offload, Runtime, Spawner, task::Metadata};

use crate::{Blocking, Executor, Making, Model, Short, Started, Work};

/// Names of the kinds of work, for the second parameter of [`IntoWork`].
///
/// They need not be written: the compiler infers them. They exist because one type could otherwise
/// be work in two ways, which Rust's rules on overlapping implementations forbid.
pub mod kind {
    /// A closure that may block.
    #[derive(Debug)]
    pub enum Closure {}
    /// A closure, also an async one, that gives a future.
    #[derive(Debug)]
    pub enum AsyncClosure {}
    /// A future.
    #[derive(Debug)]
    pub enum Future {}
    /// A [`Call`](fourway_core::Call).
    #[derive(Debug)]
    pub enum Call {}
    /// A wrapper that names the kind of a closure, or [`Work`](crate::Work).
    #[derive(Debug)]
    pub enum Declared {}
}

/// Work of a kind known at compile time, for [`execute`](crate::execute).
///
/// | what | is | runs in the model *route* |
/// |---|---|---|
/// | `\|\| value` | a closure that may block | on the offload pool |
/// | `\|\| async { .. }`, `async \|\| ..` | a closure that gives a future | on the executor |
/// | `async { .. }`, any future | a future | on the executor |
/// | a [`Call`] | what its body is | where `call.spawn()` runs it |
/// | [`blocking(f)`](crate::blocking), [`making(f)`](crate::making), [`short(f)`](crate::short) | what it says | |
/// | [`Work`] | a kind decided at run time | |
///
/// The compiler infers `K`. Only a `Work` is boxed. The trait is implemented for these types only:
/// its handles cannot be made elsewhere.
///
/// # Closures of which one cannot tell
///
/// A closure that gives a future also gives a value, as a future is a value. `Unpin` tells them
/// apart: async blocks and async functions make futures that must not be moved (`!Unpin`), and
/// nearly every plain value is `Unpin`. So a closure whose result is `Unpin` may block, and a
/// result that is a future is polled. If both hold, as for a `Box::pin(async { .. })` or a task's
/// handle, the compiler asks for type annotations. If neither holds, it reports an unsatisfied
/// bound. [`blocking`](crate::blocking) and [`making`](crate::making) state the kind. Generic code
/// that does not know whether its `T` is `Unpin` uses them too.
///
/// ```compile_fail,E0283
/// # fn f(rt: &fourway_core::AnyRuntime) {
/// fourway_execute::execute(rt, || Box::pin(async { 1 })).detach(); // a value, or to be polled?
/// # }
/// ```
///
/// ```
/// # use fourway_core::Task;
/// # fn f(rt: &fourway_core::AnyRuntime) {
/// use fourway_execute::{execute, making};
/// execute(rt, making(|| Box::pin(async { 1 }))).detach();
/// # }
/// ```
///
/// A text is not work, nor is a closure with an argument:
///
/// ```compile_fail,E0277
/// # fn f(rt: &fourway_core::AnyRuntime) {
/// fourway_execute::execute(rt, "1 + 1");
/// # }
/// ```
///
/// Work borrows nothing, and can move to another thread:
///
/// ```compile_fail,E0277
/// # use fourway_core::Task;
/// # fn f(rt: &fourway_core::AnyRuntime) {
/// let here = std::rc::Rc::new(1);
/// fourway_execute::execute(rt, move || *here).detach();
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not work that can be executed",
    label = "expected a closure without arguments, a future, a call, or `Work`",
    note = "work is `Send + 'static`; a closure whose result is not `Unpin`, or may not be, is wrapped: `blocking(|| ..)` if it may block, `making(|| ..)` if its result is a future to be polled"
)]
pub trait IntoWork<R: Runtime, K>: Sized {
    /// The output of the work.
    type Output: Send + 'static;

    /// The runtime's own handle of such work, which [`execute`](crate::execute) gives.
    type Task: fourway_core::Task<Self::Output> + 'static;

    /// Starts it where it belongs.
    fn route(self, rt: &R, metadata: Metadata) -> Self::Task;

    /// Starts it in the executor's model.
    fn start(
        self,
        executor: &Executor<R>,
        metadata: Metadata,
    ) -> Started<R, Self::Output, Self::Task>;
}

impl<R, F, T> IntoWork<R, kind::Closure> for F
where
    R: Runtime,
    F: FnOnce() -> T + Send + 'static,
    // Tells values from the futures of async blocks; see above.
    T: Send + Unpin + 'static,
{
    type Output = T;
    type Task = <R as Offload>::OffloadTask<T>;

    #[inline]
    fn route(self, rt: &R, metadata: Metadata) -> Self::Task {
        rt.offload_with(metadata, self)
    }

    fn start(self, executor: &Executor<R>, metadata: Metadata) -> Started<R, T, Self::Task> {
        Started::routed(self.route(executor.runtime(), metadata))
    }
}

impl<R, F, Fut> IntoWork<R, kind::AsyncClosure> for F
where
    R: Runtime,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output: Send + 'static> + Send + 'static,
{
    type Output = Fut::Output;
    type Task = <R as Spawner>::Task<Fut::Output>;

    #[inline]
    fn route(self, rt: &R, metadata: Metadata) -> Self::Task {
        // The closure runs where its future is polled, not on the starting thread. So it does not
        // run before the work does, and its panic is the work's.
        rt.spawn_with(metadata, rt.call_with(self).into_future())
    }

    fn start(
        self,
        executor: &Executor<R>,
        metadata: Metadata,
    ) -> Started<R, Fut::Output, Self::Task> {
        match executor.model() {
            Model::Thread => {
                let rt = executor.runtime();
                Started::driven(rt, metadata, rt.call_with(self).into_future())
            }
            Model::Route | Model::Async => {
                Started::routed(self.route(executor.runtime(), metadata))
            }
        }
    }
}

impl<R, F> IntoWork<R, kind::Future> for F
where
    R: Runtime,
    F: Future<Output: Send + 'static> + Send + 'static,
{
    type Output = F::Output;
    type Task = <R as Spawner>::Task<F::Output>;

    #[inline]
    fn route(self, rt: &R, metadata: Metadata) -> Self::Task {
        rt.spawn_with(metadata, self)
    }

    fn start(
        self,
        executor: &Executor<R>,
        metadata: Metadata,
    ) -> Started<R, F::Output, Self::Task> {
        match executor.model() {
            Model::Thread => Started::driven(executor.runtime(), metadata, self),
            Model::Route | Model::Async => {
                Started::routed(self.route(executor.runtime(), metadata))
            }
        }
    }
}

impl<R, C> IntoWork<R, kind::Call> for C
where
    R: Runtime,
    C: Call,
{
    type Output = <C as IntoFuture>::Output;
    type Task = C::Task;

    #[inline]
    fn route(self, _: &R, metadata: Metadata) -> Self::Task {
        self.spawn_with(metadata)
    }

    fn start(
        self,
        executor: &Executor<R>,
        metadata: Metadata,
    ) -> Started<R, Self::Output, Self::Task> {
        match executor.model() {
            Model::Thread => Started::waiting(executor.runtime(), metadata, self),
            Model::Route | Model::Async => {
                Started::routed(self.route(executor.runtime(), metadata))
            }
        }
    }
}

impl<R, F, T> IntoWork<R, kind::Declared> for Blocking<F>
where
    R: Runtime,
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = T;
    type Task = <R as Offload>::OffloadTask<T>;

    #[inline]
    fn route(self, rt: &R, metadata: Metadata) -> Self::Task {
        rt.offload_with(metadata, self.0)
    }

    fn start(self, executor: &Executor<R>, metadata: Metadata) -> Started<R, T, Self::Task> {
        Started::routed(self.route(executor.runtime(), metadata))
    }
}

impl<R, F, Fut> IntoWork<R, kind::Declared> for Making<F>
where
    R: Runtime,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output: Send + 'static> + Send + 'static,
{
    type Output = Fut::Output;
    type Task = <R as Spawner>::Task<Fut::Output>;

    #[inline]
    fn route(self, rt: &R, metadata: Metadata) -> Self::Task {
        <F as IntoWork<R, kind::AsyncClosure>>::route(self.0, rt, metadata)
    }

    fn start(
        self,
        executor: &Executor<R>,
        metadata: Metadata,
    ) -> Started<R, Fut::Output, Self::Task> {
        <F as IntoWork<R, kind::AsyncClosure>>::start(self.0, executor, metadata)
    }
}

impl<R, F, T> IntoWork<R, kind::Declared> for Short<F>
where
    R: Runtime,
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = T;
    type Task = <R as Offload>::OffloadTask<T>;

    #[inline]
    fn route(self, rt: &R, metadata: Metadata) -> Self::Task {
        rt.offload_with(metadata, self.0)
    }

    fn start(self, executor: &Executor<R>, metadata: Metadata) -> Started<R, T, Self::Task> {
        match executor.model() {
            Model::Thread | Model::Route => {
                Started::routed(self.route(executor.runtime(), metadata))
            }
            Model::Async => {
                Started::spawned(executor.watch().spawn(executor.runtime(), metadata, self.0))
            }
        }
    }
}

impl<R, T> IntoWork<R, kind::Declared> for Work<T>
where
    R: Runtime,
    T: Send + 'static,
{
    type Output = T;
    type Task = Started<R, T, <fourway_core::BoxCall<T> as Call>::Task>;

    fn route(self, rt: &R, metadata: Metadata) -> Self::Task {
        self.start_in(rt, Model::Route, None, metadata)
    }

    fn start(self, executor: &Executor<R>, metadata: Metadata) -> Started<R, T, Self::Task> {
        Started::routed(self.start_in(
            executor.runtime(),
            executor.model(),
            Some(executor.watch()),
            metadata,
        ))
    }
}

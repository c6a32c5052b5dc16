//! Stating the kind of work: wrappers, and [`Work`] for decisions at run time.

use std::{fmt, future::Future, pin::Pin};

use fourway_core::{BoxCall, Call, Runtime, task::Metadata};

use crate::{Model, Started, watch::Watch};

/// A closure that may block, whatever its result. Made by [`blocking`].
#[must_use = "work does nothing before it is executed"]
pub struct Blocking<F>(pub(crate) F);

/// A closure whose result is a future to be polled. Made by [`making`].
#[must_use = "work does nothing before it is executed"]
pub struct Making<F>(pub(crate) F);

/// A closure that takes a moment only. Made by [`short`].
#[must_use = "work does nothing before it is executed"]
pub struct Short<F>(pub(crate) F);

/// Says that a closure may block; for closures whose type does not say so, see
/// [`IntoWork`](crate::IntoWork).
pub fn blocking<F: FnOnce() -> T, T>(f: F) -> Blocking<F> {
    Blocking(f)
}

/// Says that the result of a closure is a future to be polled; for closures whose type does not
/// say so, see [`IntoWork`](crate::IntoWork).
pub fn making<F: FnOnce() -> Fut, Fut: Future>(f: F) -> Making<F> {
    Making(f)
}

/// Declares that a closure takes a moment only, and does not wait for anything.
///
/// In the model [`Async`](Model::Async) it runs in place on an executor's thread, which saves the
/// hand-over to the pool and back. It is watched: exceeding the [budget](crate::Builder::budget) is
/// reported. In the other models it is an ordinary closure. In place, blocking on async code is
/// refused as in all async code ([no blocking in async code](fourway_core::contract#BL-2)).
pub fn short<F: FnOnce() -> T, T>(f: F) -> Short<F> {
    Short(f)
}

/// Work of a kind that is decided at run time.
///
/// It boxes the closure or the future: one allocation.
///
/// # Examples
///
/// ```
/// use fourway_core::{AnyRuntime, JoinError};
/// use fourway_execute::{Work, execute};
///
/// async fn run(rt: &AnyRuntime, source: String) -> Result<usize, JoinError> {
///     let work = match source.strip_prefix("await ") {
///         Some(rest) => {
///             let rest = rest.to_owned();
///             Work::future(async move { rest.len() })
///         }
///         None => Work::blocking(move || source.len()),
///     };
///     execute(rt, work).await
/// }
/// ```
#[must_use = "work does nothing before it is executed"]
pub struct Work<T: Send + 'static>(Kind<T>);

type Closure<T> = Box<dyn FnOnce() -> T + Send>;

enum Kind<T: Send + 'static> {
    Blocking(Closure<T>),
    Short(Closure<T>),
    Future(Pin<Box<dyn Future<Output = T> + Send>>),
    Call(BoxCall<T>),
}

impl<T: Send + 'static> Work<T> {
    /// A closure that may block.
    pub fn blocking(f: impl FnOnce() -> T + Send + 'static) -> Self {
        Self(Kind::Blocking(Box::new(f)))
    }

    /// A closure that takes a moment only: see [`short`].
    pub fn short(f: impl FnOnce() -> T + Send + 'static) -> Self {
        Self(Kind::Short(Box::new(f)))
    }

    /// A future, to be polled.
    pub fn future(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Kind::Future(Box::pin(future)))
    }

    /// A closure that gives a future. It runs where the future is polled.
    pub fn making<Fut>(f: impl FnOnce() -> Fut + Send + 'static) -> Self
    where
        Fut: Future<Output = T> + Send + 'static,
    {
        Self::future(async move { f().await })
    }

    /// A call, with a body of either kind.
    pub fn call(call: impl Call<Output = T>) -> Self {
        Self(Kind::Call(call.boxed()))
    }

    pub(crate) fn start_in<R: Runtime>(
        self,
        rt: &R,
        model: Model,
        watch: Option<&Watch>,
        metadata: Metadata,
    ) -> Started<R, T, <BoxCall<T> as Call>::Task> {
        match self.0 {
            Kind::Blocking(f) => Started::offloaded(rt.offload_with(metadata, f)),
            Kind::Short(f) => match watch.filter(|_| model == Model::Async) {
                Some(watch) => Started::spawned(watch.spawn(rt, metadata, f)),
                None => Started::offloaded(rt.offload_with(metadata, f)),
            },
            Kind::Future(future) => match model {
                Model::Thread => Started::driven(rt, metadata, future),
                Model::Route | Model::Async => Started::spawned(rt.spawn_with(metadata, future)),
            },
            Kind::Call(call) => match model {
                Model::Thread => Started::waiting(rt, metadata, call),
                Model::Route | Model::Async => Started::routed(call.spawn_with(metadata)),
            },
        }
    }
}

impl<F> fmt::Debug for Blocking<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking(..)")
    }
}

impl<F> fmt::Debug for Making<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Making(..)")
    }
}

impl<F> fmt::Debug for Short<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Short(..)")
    }
}

impl<T: Send + 'static> fmt::Debug for Work<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Blocking(_) => "Work::Blocking",
            Kind::Short(_) => "Work::Short",
            Kind::Future(_) => "Work::Future",
            Kind::Call(_) => "Work::Call",
        })
    }
}

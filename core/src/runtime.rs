//! All capabilities in one bound: [`Runtime`].

use core::fmt::Debug;

use crate::{BlockOn, Offload, Shutdown, Spawner, Timer};

/// A runtime: a cheap handle that spawns, blocks, offloads and keeps time. Its owner can shut it
/// down.
///
/// Every type that has these capabilities and is `Clone + Debug + Send + Sync + Unpin` is
/// one; there is nothing to implement. A library that needs less should ask for
/// less, for example `R: Spawner + Timer`.
///
/// A clone is another handle on the same runtime. The adapter decides what dropping the last handle
/// does, but the drop never blocks and never panics ([dropping a handle never blocks][SH-2]).
///
/// [SH-2]: crate::contract#SH-2
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a runtime",
    note = "a library takes `R: Runtime`; an application has one of `fourway`'s, for example `fourway::default_runtime()`. A constructor such as `Tokio::new()` gives a `Result`: take the runtime out of it with `?`",
    note = "a runtime implements `Spawner`, `BlockOn`, `Offload`, `Timer` and `Shutdown`, and is `Clone + Debug + Send + Sync + Unpin + 'static`. For an executor of your own, see `fourway-adapt`"
)]
pub trait Runtime:
    Spawner + BlockOn + Offload + Timer + Shutdown + Clone + Debug + Send + Sync + Unpin + 'static
{
    /// A [`Call`](crate::call::Call) with an async body: awaited in place by
    /// async callers, driven by [`BlockOn`] for sync ones.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{BoxCall, Call, Runtime};
    ///
    /// fn double<R: Runtime>(rt: &R, n: u32) -> BoxCall<u32> {
    ///     rt.call(async move { n * 2 }).boxed()
    /// }
    /// ```
    #[cfg(feature = "std")]
    fn call<F>(&self, future: F) -> crate::call::AsyncCall<Self, F>
    where
        F: core::future::Future + Send + 'static,
        F::Output: Send + 'static,
    {
        crate::call::AsyncCall::new(self.clone(), future)
    }

    /// As [`call`](Self::call), with a body that is made when the call is used: an async
    /// closure, or a closure that returns a future.
    ///
    /// The closure runs where its future is polled first. If it can be cloned, so can the
    /// call, to be tried again.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::Runtime;
    ///
    /// async fn twice<R: Runtime>(rt: &R) -> Result<u32, String> {
    ///     let call = rt.call_with(async || Ok(42));
    ///     match call.clone().await {
    ///         Ok(answer) => Ok(answer),
    ///         Err(_) => call.await,
    ///     }
    /// }
    /// ```
    #[cfg(feature = "std")]
    fn call_with<F, Fut>(&self, make: F) -> crate::call::LazyCall<Self, F, Fut>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: core::future::Future<Output: Send + 'static> + Send + 'static,
    {
        crate::call::LazyCall::new(self.clone(), make)
    }

    /// A [`Call`](crate::call::Call) with a body that may block: run in place
    /// for sync callers, offloaded for async ones. In both cases the body finds this runtime as
    /// [the current one](crate::AnyRuntime::current).
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{BoxCall, Call, Runtime};
    ///
    /// fn size<R: Runtime>(rt: &R, path: &str) -> BoxCall<std::io::Result<u64>> {
    ///     let path = path.to_owned();
    ///     rt.call_blocking(move || Ok(std::fs::metadata(path)?.len())).boxed()
    /// }
    /// ```
    #[cfg(feature = "std")]
    fn call_blocking<F, T>(&self, f: F) -> crate::call::BlockingCall<Self, F>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        crate::call::BlockingCall::new(self.clone(), f)
    }

    /// A [`Call`](crate::call::Call) whose output is there already: for a branch of
    /// [`Either`](crate::call::Either), a cached value, a mistake in the arguments.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{BoxCall, Call, Runtime};
    ///
    /// fn half<R: Runtime>(rt: &R, n: u32) -> BoxCall<Result<u32, String>> {
    ///     if n % 2 == 1 {
    ///         return rt.call_ready(Err(format!("{n} is odd"))).boxed();
    ///     }
    ///     rt.call(async move { Ok(n / 2) }).boxed()
    /// }
    /// ```
    #[cfg(feature = "std")]
    fn call_ready<T>(&self, output: T) -> crate::call::AsyncCall<Self, core::future::Ready<T>>
    where
        T: Send + 'static,
    {
        self.call(core::future::ready(output))
    }

    /// All of several calls: their outputs, in their order.
    ///
    /// They run at once, or as many of them at a time as
    /// [`at_most`](crate::call::Driven::at_most) says: async bodies take turns where the
    /// whole is driven, blocking ones are offloaded and run beside each other, even under
    /// `.wait()`. (To use several cores for async bodies that compute for long, spawn each by
    /// itself.) The calls may be of different runtimes; this one drives the whole. The calls are
    /// taken out of the iterator at once, and start when the whole is used.
    ///
    /// # Cancel safety
    ///
    /// Dropping the whole drops all of them. So does a panic of one.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{Runtime, call::Call};
    /// use std::{fs, io};
    ///
    /// fn sizes<R: Runtime>(rt: &R, names: &[&'static str]) -> Vec<io::Result<u64>> {
    ///     let size = |name| rt.call_blocking(move || Ok(fs::metadata(name)?.len()));
    ///     rt.call_all(names.iter().copied().map(size)).at_most(8).wait()
    /// }
    /// ```
    #[cfg(feature = "std")]
    fn call_all<C: crate::Call>(
        &self,
        calls: impl IntoIterator<Item = C>,
    ) -> crate::call::Driven<crate::call::Many<Self, C, crate::call::All<C::Output>>> {
        crate::call::Driven::many(self.clone(), calls, Default::default())
    }

    /// As [`call_all`](Self::call_all), of calls that may fail: all values, or the first
    /// error, after which the calls that are left are dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{Runtime, call::Call};
    /// use std::{fs, io};
    ///
    /// async fn read<R: Runtime>(rt: &R, names: Vec<String>) -> io::Result<Vec<String>> {
    ///     let read = |name| rt.call_blocking(|| fs::read_to_string(name));
    ///     rt.call_try_all(names.into_iter().map(read)).at_most(8).await
    /// }
    /// ```
    #[cfg(feature = "std")]
    fn call_try_all<T, E, C>(
        &self,
        calls: impl IntoIterator<Item = C>,
    ) -> crate::call::Driven<crate::call::Many<Self, C, crate::call::TryAll<T>>>
    where
        C: crate::Call + IntoFuture<Output = Result<T, E>>,
        T: Send + 'static,
        E: Send + 'static,
    {
        crate::call::Driven::many(self.clone(), calls, Default::default())
    }

    /// The output of the call that finishes first; the others are dropped. `None` if there are no
    /// calls.
    ///
    /// They run as those of [`call_all`](Self::call_all) do. With a limit, the calls beyond it
    /// never start: the race is over with the first one that finishes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the whole drops all of them.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{Runtime, call::{BoxCall, Call}};
    ///
    /// async fn quickest<R: Runtime>(rt: &R) -> Option<&'static str> {
    ///     let calls: [BoxCall<_>; 2] = [
    ///         rt.call(async { "computed" }).boxed(),
    ///         rt.call_blocking(|| "read").boxed(),
    ///     ];
    ///     rt.call_race(calls).await
    /// }
    /// ```
    #[cfg(feature = "std")]
    fn call_race<C: crate::Call>(
        &self,
        calls: impl IntoIterator<Item = C>,
    ) -> crate::call::Driven<crate::call::Many<Self, C, crate::call::Race>> {
        crate::call::Driven::many(self.clone(), calls, Default::default())
    }

    /// The value of the first call that succeeds, after which the others are dropped. If none does,
    /// all errors, in the order of the calls. Without calls, an empty list of errors.
    ///
    /// They run as those of [`call_all`](Self::call_all) do. With a limit of 1, each is tried
    /// after the one before has failed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the whole drops all of them.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{BoxCall, Call, Runtime};
    /// use std::{fs, io};
    ///
    /// /// The first of these that can be read; they are tried in order.
    /// fn settings<R: Runtime>(rt: &R) -> BoxCall<Option<String>> {
    ///     let places = ["./settings", "/etc/settings"];
    ///     let read = |place| rt.call_blocking(move || fs::read_to_string(place));
    ///     rt.call_race_ok(places.map(read)).at_most(1).map(Result::ok).boxed()
    /// }
    /// ```
    #[cfg(feature = "std")]
    fn call_race_ok<T, E, C>(
        &self,
        calls: impl IntoIterator<Item = C>,
    ) -> crate::call::Driven<crate::call::Many<Self, C, crate::call::RaceOk<E>>>
    where
        C: crate::Call + IntoFuture<Output = Result<T, E>>,
        T: Send + 'static,
        E: Send + 'static,
    {
        crate::call::Driven::many(self.clone(), calls, Default::default())
    }
}

// Without this, a type that is no runtime causes one error for each of the bounds.
#[diagnostic::do_not_recommend]
impl<R> Runtime for R where
    R: Spawner
        + BlockOn
        + Offload
        + Timer
        + Shutdown
        + Clone
        + Debug
        + Send
        + Sync
        + Unpin
        + 'static
{
}

//! All capabilities in one bound: [`Runtime`].

use core::fmt::Debug;

use crate::{BlockOn, Offload, Shutdown, Spawner, Timer};

/// A runtime: a cheap handle that spawns, blocks, offloads and keeps time, and that can be
/// shut down by whoever owns it.
///
/// Every type that has these capabilities and is `Clone + Debug + Send + Sync` is
/// one; there is nothing to implement. A library that needs less should ask for
/// less, for example `R: Spawner + Timer`.
///
/// A clone is another handle on the same runtime. What dropping the last one
/// does is the adapter's to say, but it never blocks and never panics (SH-2).
pub trait Runtime:
    Spawner + BlockOn + Offload + Timer + Shutdown + Clone + Debug + Send + Sync + 'static
{
    /// A [`Call`](crate::call::Call) with an async body: awaited in place by
    /// async callers, driven by [`BlockOn`] for sync ones.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{Runtime, call::Call};
    ///
    /// fn double<R: Runtime>(rt: &R, n: u32) -> impl Call<Output = u32> + use<R> {
    ///     rt.call(async move { n * 2 })
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
    /// use fourway_core::{Runtime, call::Call};
    ///
    /// fn answer<R: Runtime>(rt: &R) -> impl Call<Output = Result<u32, String>> + Clone + use<R> {
    ///     rt.call_with(async || Ok(42))
    /// }
    ///
    /// async fn twice<R: Runtime>(rt: &R) -> Result<u32, String> {
    ///     let call = answer(rt);
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
    /// for sync callers, offloaded for async ones.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{Runtime, call::Call};
    ///
    /// fn size<R: Runtime>(rt: &R, path: &str) -> impl Call<Output = std::io::Result<u64>> + use<R> {
    ///     let path = path.to_owned();
    ///     rt.call_blocking(move || Ok(std::fs::metadata(path)?.len()))
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
}

impl<R> Runtime for R where
    R: Spawner + BlockOn + Offload + Timer + Shutdown + Clone + Debug + Send + Sync + 'static
{
}

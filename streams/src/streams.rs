use std::future::Future;

use fourway_core::{AnyRuntime, Runtime};
use futures_core::Stream;

use crate::{Emitter, Items, generate};

/// Makes [`Items`], on every [`Runtime`].
pub trait Streams: Runtime {
    /// Items of a stream. Async callers poll it in place; for sync callers the calling thread
    /// drives it.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{Runtime, time::Interval};
    /// use fourway_streams::{Items, Streams};
    /// use std::time::{Duration, Instant};
    ///
    /// fn seconds<R: Runtime>(rt: &R) -> Items<Instant> {
    ///     rt.stream(rt.interval(Duration::from_secs(1)))
    /// }
    /// ```
    #[track_caller]
    fn stream<S>(&self, stream: S) -> Items<S::Item>
    where
        S: Stream<Item: Send + 'static> + Send + 'static,
    {
        Items::of_stream(AnyRuntime::new(self.clone()), Box::pin(stream))
    }

    /// Items that an async closure sends one after the other; see [`generate()`].
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{Call, Runtime};
    /// use fourway_streams::{Items, Streams};
    ///
    /// fn pages<R: Runtime>(rt: &R) -> Items<String> {
    ///     let again = rt.clone();
    ///     rt.stream_with(async move |mut to| {
    ///         for number in 1..=3 {
    ///             let page = again.call_blocking(move || format!("page {number}"));
    ///             to.send(page.await).await;
    ///         }
    ///     })
    /// }
    /// ```
    #[track_caller]
    fn stream_with<T, F, Fut>(&self, make: F) -> Items<T>
    where
        T: Send + 'static,
        F: FnOnce(Emitter<T>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.stream(generate(make))
    }

    /// Items of an iterator that may block. For sync callers it is a plain loop; for async callers
    /// the pool reads it ahead, in batches.
    ///
    /// The closure makes the iterator, and may block as well. It runs with the first request for an
    /// item, on the thread that reads the iterator.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::Runtime;
    /// use fourway_streams::{Items, Streams};
    ///
    /// fn squares<R: Runtime>(rt: &R) -> Items<u64> {
    ///     rt.stream_blocking(|| (1..).map(|n| n * n))
    /// }
    /// ```
    #[track_caller]
    fn stream_blocking<F, I>(&self, make: F) -> Items<I::Item>
    where
        F: FnOnce() -> I + Send + 'static,
        I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static>,
    {
        let make =
            move || -> Box<dyn Iterator<Item = I::Item> + Send> { Box::new(make().into_iter()) };
        Items::of_iterator(AnyRuntime::new(self.clone()), Box::new(make))
    }
}

impl<R: Runtime> Streams for R {}

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use pin_project_lite::pin_project;

/// A stream that an async closure makes when it is first polled.
///
/// `#[calls]` expands an `async fn` that returns `Items<T>` to it.
///
/// # Examples
///
/// ```
/// use fourway_streams::{Stream, generate, later};
///
/// fn words() -> impl Stream<Item = String> {
///     later(async || {
///         let text = async { String::from("one two") }.await;
///         generate(async move |mut to| {
///             for word in text.split(' ') {
///                 to.send(word.to_owned()).await;
///             }
///         })
///     })
/// }
/// ```
pub fn later<F, Fut>(make: F) -> Later<F, Fut, Fut::Output>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output: Stream> + Send + 'static,
{
    Later {
        make: Some(make),
        future: None,
        stream: None,
    }
}

pin_project! {
    /// The stream of [`later`].
    #[must_use = "streams do nothing unless they are polled"]
    pub struct Later<F, Fut, S> {
        make: Option<F>,
        #[pin]
        future: Option<Fut>,
        #[pin]
        stream: Option<S>,
    }
}

impl<F, Fut, S> Stream for Later<F, Fut, S>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = S>,
    S: Stream,
{
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        if let Some(make) = this.make.take() {
            this.future.set(Some(make()));
        }
        if let Some(future) = this.future.as_mut().as_pin_mut() {
            let stream = ready!(future.poll(cx));
            this.future.set(None);
            this.stream.set(Some(stream));
        }
        match this.stream.as_pin_mut() {
            Some(stream) => stream.poll_next(cx),
            // The closure or its future has panicked.
            None => Poll::Ready(None),
        }
    }
}

impl<F, Fut, S> fmt::Debug for Later<F, Fut, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later").finish_non_exhaustive()
    }
}

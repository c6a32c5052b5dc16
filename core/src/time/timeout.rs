use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

pin_project! {
    /// A future with a time limit. Made by [`Timer::timeout`](super::Timer::timeout).
    ///
    /// Each poll asks the inner future first, so a ready future wins over a limit that has passed.
    /// On expiry the inner future is dropped before the error is returned ([timeout and
    /// interval][TI-3]).
    ///
    /// # Panics
    ///
    /// Polling it again after it was ready panics.
    ///
    /// # Cancel safety
    ///
    /// As safe as the inner future, which is dropped with it.
    ///
    /// [TI-3]: crate::contract#TI-3
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct Timeout<F, S> {
        // `None` once the future has finished or was dropped on expiry.
        #[pin]
        future: Option<F>,
        #[pin]
        sleep: S,
    }
}

impl<F, S> Timeout<F, S> {
    pub(super) fn new(future: F, sleep: S) -> Self {
        Self {
            future: Some(future),
            sleep,
        }
    }
}

impl<F: Future, S: Future<Output = ()>> Future for Timeout<F, S> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let future = this
            .future
            .as_mut()
            .as_pin_mut()
            .expect("`Timeout` polled after it was ready");
        if let Poll::Ready(output) = future.poll(cx) {
            this.future.set(None);
            return Poll::Ready(Ok(output));
        }
        if this.sleep.poll(cx).is_ready() {
            this.future.set(None);
            return Poll::Ready(Err(Elapsed(())));
        }
        Poll::Pending
    }
}

impl<F, S> fmt::Debug for Timeout<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("done", &self.future.is_none())
            .finish_non_exhaustive()
    }
}

/// A time limit passed before the work was done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time limit passed before the work was done")
    }
}

impl fmt::Debug for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Elapsed")
    }
}

impl std::error::Error for Elapsed {}

/// For functions that return an [`io::Result`](std::io::Result). The kind is `TimedOut`, and the
/// error itself is [inside](std::io::Error::get_ref).
impl From<Elapsed> for std::io::Error {
    fn from(error: Elapsed) -> Self {
        Self::new(std::io::ErrorKind::TimedOut, error)
    }
}

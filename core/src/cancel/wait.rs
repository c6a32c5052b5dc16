use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use pin_project_lite::pin_project;

use super::{CancellationToken, Cancelled, Reason};
use crate::implement::BoxFuture;

/// Waits for a token to be cancelled. Made by [`CancellationToken::cancelled`].
///
/// # Cancel safety
///
/// Dropping it has no effect: a token that was cancelled stays so.
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct WaitForCancellation {
    token: CancellationToken,
    // The number of the waker in the token's list.
    key: Option<usize>,
    // For the deadline, if there is one. It may be replaced by an earlier one.
    timer: Option<(Instant, BoxFuture)>,
}

impl WaitForCancellation {
    pub(super) fn new(token: CancellationToken) -> Self {
        Self {
            token,
            key: None,
            timer: None,
        }
    }
}

impl Future for WaitForCancellation {
    type Output = Cancelled;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Cancelled> {
        let this = &mut *self;
        let node = &this.token.node;
        if node.is_cancelled() || node.register(&mut this.key, cx.waker()).is_none() {
            return Poll::Ready(this.token.error());
        }
        if let Some(deadline) = this.token.node.deadline() {
            if this
                .timer
                .as_ref()
                .is_some_and(|(at, _)| *at != deadline.at)
            {
                this.timer = None;
            }
            let (_, timer) = this
                .timer
                .get_or_insert_with(|| (deadline.at, deadline.clock.sleep_until(deadline.at)));
            if timer.as_mut().poll(cx).is_ready() {
                this.timer = None;
                this.token.node.cancel(&Reason::Deadline);
                return Poll::Ready(this.token.error());
            }
        }
        Poll::Pending
    }
}

impl Drop for WaitForCancellation {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.token.node.unregister(key);
        }
    }
}

impl fmt::Debug for WaitForCancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitForCancellation")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// A future that a token may end. Made by [`CancellationToken::run_until_cancelled`].
    ///
    /// # Panics
    ///
    /// Polling it again after it was ready panics.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future inside.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct RunUntilCancelled<F> {
        // `None` once it has finished or was dropped at the cancellation.
        #[pin]
        future: Option<F>,
        cancelled: WaitForCancellation,
        polled: bool,
    }
}

impl<F> RunUntilCancelled<F> {
    pub(super) fn new(future: F, cancelled: WaitForCancellation) -> Self {
        Self {
            future: Some(future),
            cancelled,
            polled: false,
        }
    }
}

impl<F: Future> Future for RunUntilCancelled<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let future = this
            .future
            .as_mut()
            .as_pin_mut()
            .expect("`RunUntilCancelled` polled after it was ready");
        let first = !std::mem::replace(this.polled, true);
        if !first || !this.cancelled.token.is_cancelled() {
            if let Poll::Ready(output) = future.poll(cx) {
                this.future.set(None);
                return Poll::Ready(Ok(output));
            }
        }
        match Pin::new(this.cancelled).poll(cx) {
            Poll::Ready(cancelled) => {
                this.future.set(None);
                Poll::Ready(Err(cancelled))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<F> fmt::Debug for RunUntilCancelled<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunUntilCancelled")
            .field("done", &self.future.is_none())
            .finish_non_exhaustive()
    }
}

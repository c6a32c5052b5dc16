use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Gives the other tasks of the executor a turn, once.
///
/// Works on every executor, because it needs only the waker: it asks to be polled
/// again and returns `Pending` the first time.
///
/// # Cancel safety
///
/// Dropping the future has no effect.
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
///
/// # Cancel safety
///
/// Dropping it has no effect.
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

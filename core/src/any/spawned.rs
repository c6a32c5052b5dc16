//! A future whose output has no type, which a runtime runs for [`AnyRuntime`](crate::AnyRuntime).

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::small::{self, SmallFuture, SmallOutput};

/// A future and its output, both without their types.
///
/// The runtime's own task and handle keep the contract for it.
pub(super) type Whole = SmallFuture<SmallOutput>;

pub(super) fn whole<F>(future: F) -> Whole
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    small::future(Untyped { future })
}

/// A future whose output is dropped where it ran.
pub(super) fn detached<F>(future: F) -> SmallFuture<()>
where
    F: Future + Send + 'static,
{
    small::future(Dropping { future })
}

pin_project! {
    struct Untyped<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future<Output: Send + 'static>> Future for Untyped<F> {
    type Output = SmallOutput;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SmallOutput> {
        self.project().future.poll(cx).map(small::output)
    }
}

pin_project! {
    // Not an async block, which would take room for the future twice.
    struct Dropping<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Dropping<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().future.poll(cx).map(drop)
    }
}

//! A future whose output has no type, which a runtime runs for [`AnyRuntime`](crate::AnyRuntime).

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    future::{self, SmallFuture},
    output::SmallOutput,
};

/// A future and its output, both without their types.
///
/// The runtime's own task and handle keep the contract for it.
pub(super) type Whole = SmallFuture<SmallOutput>;

pub(super) fn whole<F>(future: F) -> Whole
where
    F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
{
    if Whole::fits::<F::IntoFuture>() {
        unboxed(future, |future| Untyped { future })
    } else {
        future::future(Untyped {
            future: boxed(future),
        })
    }
}

/// A future whose output is dropped where it ran.
pub(super) fn detached<F>(future: F) -> SmallFuture<()>
where
    F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
{
    if SmallFuture::<()>::fits::<F::IntoFuture>() {
        unboxed(future, |future| Dropping { future })
    } else {
        future::future(Dropping {
            future: boxed(future),
        })
    }
}

/// A function of its own, so that its copies of a small future take no stack beside a large one.
fn unboxed<F: IntoFuture, G>(future: F, wrap: fn(F::IntoFuture) -> G) -> SmallFuture<G::Output>
where
    G: Future<Output: 'static> + Send + 'static,
{
    future::future(wrap(future.into_future()))
}

/// A large future in its box, before anything else is done with it: each move takes stack in a program
/// that is not optimized.
fn boxed<F: IntoFuture>(future: F) -> Pin<Box<F::IntoFuture>> {
    Box::pin(future.into_future())
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
        self.project().future.poll(cx).map(SmallOutput::new)
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

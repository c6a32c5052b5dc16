use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll},
};

use fourway_core::{BlockOn, BlockOnError};

use super::runtime::ErasedRuntime;

/// A [`BlockOn`] without generics. Outputs may borrow, so they do not pass through it: a root
/// leaves its output where the caller finds it.
pub(super) trait DynBlockOn {
    fn try_block_on_dyn(&self, root: Root<'_>) -> Result<(), BlockOnError>;
    fn block_on_dyn(&self, root: Root<'_>);
    fn block_in_place_dyn(&self, f: Box<dyn FnOnce() + '_>) -> Result<(), BlockOnError>;
}

type Root<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

impl<R: BlockOn> DynBlockOn for R {
    fn try_block_on_dyn(&self, root: Root<'_>) -> Result<(), BlockOnError> {
        self.try_block_on(root)
    }

    fn block_on_dyn(&self, root: Root<'_>) {
        self.block_on(root);
    }

    fn block_in_place_dyn(&self, f: Box<dyn FnOnce() + '_>) -> Result<(), BlockOnError> {
        self.block_in_place(f)
    }
}

/// The future, owned: it is destroyed when the runtime drops it.
struct Leaving<'a, F: Future> {
    future: Pin<Box<F>>,
    output: &'a mut Option<F::Output>,
}

impl<F: Future> Future for Leaving<'_, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.future.as_mut().poll(cx).map(|output| {
            *self.output = Some(output);
        })
    }
}

fn root<'a, F: Future + 'a>(future: F, output: &'a mut Option<F::Output>) -> Root<'a> {
    Box::pin(Leaving {
        future: Box::pin(future),
        output,
    })
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl BlockOn for ErasedRuntime {
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let mut output = None;
        self.0
            .try_block_on_dyn(root(future.into_future(), &mut output))?;
        Ok(output.expect("a `try_block_on` that gives `Ok` has run the future"))
    }

    fn block_on<F: IntoFuture>(&self, future: F) -> F::Output {
        let mut output = None;
        self.0.block_on_dyn(root(future.into_future(), &mut output));
        output.expect("a `block_on` that returns has run the future")
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        let mut output = None;
        self.0.block_in_place_dyn(Box::new(|| output = Some(f())))?;
        Ok(output.expect("a `block_in_place` that gives `Ok` has run the closure"))
    }
}

//! The code that `#[fourway_sim::test]` calls for a function.

use std::{fmt::Debug, future::Future};

use fourway_core::BlockOn;

use crate::{Check, Sim};

/// The output of a test.
#[diagnostic::on_unimplemented(
    message = "a simulated test gives `()`, or a `Result` of it and an error that can be printed"
)]
pub trait Outcome {
    /// Panics unless it is a success.
    fn check(self);
}

impl Outcome for () {
    fn check(self) {}
}

impl<E: Debug> Outcome for Result<(), E> {
    #[track_caller]
    fn check(self) {
        if let Err(error) = self {
            panic!("the test gave an error: {error:?}");
        }
    }
}

/// For `fn`.
pub fn run<T: Outcome>(check: Check, test: impl Fn(Sim) -> T + Send + Sync + 'static) {
    check.run(move |rt| test(rt).check());
}

/// For `async fn`.
pub fn run_async<T: Future<Output: Outcome>>(
    check: Check,
    test: impl Fn(Sim) -> T + Send + Sync + 'static,
) {
    check.run(move |rt| rt.block_on(test(rt.clone())).check());
}

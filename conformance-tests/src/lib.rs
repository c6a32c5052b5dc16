//! The conformance suite of fourway.
//!
//! It holds a runtime to the contract (`docs/CONTRACT.md` of the project), with
//! cases written over the core traits alone. A [`Subject`] says how to build the
//! runtime; [`conformance_main!`] makes a test binary that runs every case on a
//! fresh one:
//!
//! ```ignore
//! struct Mine;
//!
//! impl fourway_conformance::Subject for Mine {
//!     type Runtime = MyRuntime;
//!     const NAME: &'static str = "mine";
//!     fn build(config: &fourway_conformance::Config) -> MyRuntime { /* .. */ }
//! }
//!
//! fourway_conformance::conformance_main!(Mine);
//! ```

#![forbid(unsafe_code)]
#![allow(
    clippy::async_yields_async,
    clippy::waker_clone_wake,
    reason = "cases hand tasks out of async code, and use wakers in every way there is"
)]

mod case;
mod cases;
pub mod neutral;
pub mod report;
pub mod rules;
mod run;
mod subject;
mod util;

pub use case::{Capability, Case, Level};
pub use cases::cases;
pub use run::{Entry, Isolation, Options, main, run, run_entries, serve};
pub use subject::{Capabilities, Config, KnownFailure, Subject};

/// The `main` function of a test binary with `harness = false`: runs all cases
/// on each of the given [`Subject`]s.
#[macro_export]
macro_rules! conformance_main {
    ($($subject:ty),+ $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            $crate::main(::std::vec![$($crate::Entry::of::<$subject>()),+])
        }
    };
}

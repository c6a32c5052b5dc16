//! The conformance suite of fourway.
//!
//! It tests a runtime against the contract ([`rules::CONTRACT`]), with cases that use only the core
//! traits. A [`Subject`] says how to build the runtime; [`conformance_main!`] makes a test binary
//! that runs every case on a fresh runtime:
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
//!
//! [`guide`] goes from there to a certified adapter.

#![deny(unsafe_code)]
#![allow(
    clippy::async_yields_async,
    clippy::waker_clone_wake,
    reason = "cases hand tasks out of async code, and use wakers in every way there is"
)]

mod case;
mod cases;
#[cfg(not(any(fourway_native, test)))]
mod erased;
mod exempt;
#[cfg(unix)]
mod forks;
// Only for rustdoc, so that a change of its text compiles nothing; its code is compiled and tested
// elsewhere.
#[cfg_attr(all(doc, not(doctest)), doc = include_str!("../ADAPTERS.md"))]
#[allow(missing_docs, reason = "the guide is its documentation")]
pub mod guide {}
pub mod execute;
pub mod neutral;
pub mod nursery;
pub mod record;
pub mod report;
pub mod rules;
mod run;
mod setup;
mod subject;
mod util;

pub use case::{Capability, Case, Level};
pub use cases::cases;
pub use run::{Entry, Isolation, Options, Program, main, run, run_entries, serve};
pub use subject::{Capabilities, Config, KnownFailure, Subject};

/// The `main` function of a test binary with `harness = false`: runs all cases
/// on each of the given [`Subject`]s.
///
/// ```ignore
/// conformance_main!(Threads, OneThread);
/// ```
///
/// With `recorded in`, the declarations are compared with a file, whose path is
/// relative to the package; see [`record`].
///
/// ```ignore
/// conformance_main!(Threads, OneThread; recorded in "docs/conformance/mine.json");
/// ```
#[macro_export]
macro_rules! conformance_main {
    ($($subject:ty),+ $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            $crate::__program!($($subject),+).main()
        }
    };
    ($($subject:ty),+ ; recorded in $file:literal) => {
        fn main() -> ::std::process::ExitCode {
            $crate::__program!($($subject),+)
                .recorded(::std::concat!(::std::env!("CARGO_MANIFEST_DIR"), "/", $file))
                .main()
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __program {
    ($($subject:ty),+) => {{
        let program = $crate::Program::new(::std::vec![$($crate::Entry::of::<$subject>()),+]);
        match (::std::option_env!("CARGO_PKG_NAME"), ::std::option_env!("CARGO_CRATE_NAME")) {
            (Some(package), Some(test)) => program.cargo_test(package, test),
            // Not built by cargo.
            _ => program,
        }
    }};
}

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

mod cases;
mod run;
mod subject;
mod util;

pub use cases::{Case, cases};
pub use run::{main, trials};
pub use subject::{Capabilities, Config, Subject};

#[doc(hidden)]
pub use libtest_mimic;

/// The `main` function of a test binary with `harness = false`: runs all cases
/// on each of the given [`Subject`]s.
#[macro_export]
macro_rules! conformance_main {
    ($($subject:ty),+ $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            let mut trials = ::std::vec::Vec::new();
            $(trials.extend($crate::trials::<$subject>());)+
            $crate::main(trials)
        }
    };
}

//! The common parts of acceptance suites: [`Case`]s that run on a thread with a watchdog, [known
//! failures](KnownFailure), [`Report`]s, and the [`main`](Suite::main) function of a test binary.
//!
//! It knows no runtime and no subject matter. A suite makes a [`Subject`] for each implementation
//! under test, with the cases as closures, and hands the subjects to a [`Suite`]:
//!
//! ```
//! use fourway_suite::{Case, Status, Subject, Suite};
//! use std::time::Duration;
//!
//! let sorts = |sort: fn(&mut Vec<i32>)| {
//!     Case::new("SO-1.1", "numbers are sorted", move || {
//!         let mut numbers = vec![3, 1, 2];
//!         sort(&mut numbers);
//!         assert_eq!(numbers, [1, 2, 3]);
//!     })
//! };
//! let patience = Duration::from_secs(60);
//! let suite = Suite::new([
//!     Subject::new("std", patience).cases([sorts(|numbers| numbers.sort())]),
//!     Subject::new("reverse", patience)
//!         .known_failures([("SO-1.1", "it has never sorted anything")])
//!         .cases([sorts(|numbers| numbers.reverse())]),
//! ]);
//! let report = suite.run();
//! assert_eq!(report.subjects[0].cases[0].status, Status::Pass);
//! assert_eq!(report.subjects[1].cases[0].status, Status::KnownFail);
//! ```

#![forbid(unsafe_code)]

mod case;
mod html;
mod junit;
pub mod page;
mod report;
mod run;
mod status;
mod subject;
mod watch;

pub use case::Case;
pub use junit::{Junit, JunitCase};
pub use report::{CaseReport, Report, SCHEMA, SubjectReport};
pub use run::Suite;
pub use status::Status;
pub use subject::{KnownFailure, Subject};
pub use watch::{Unfinished, panic_message, watch};

// The README's example is tested as any other.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

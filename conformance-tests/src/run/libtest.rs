//! The arguments and output of Rust's test harness.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use super::{Entry, Isolation, Options, run_case};
use crate::report::Status;

/// Runs the cases as tests named `subject::ID`, each in a process of its own.
pub(super) fn run(entries: &[Entry]) -> ExitCode {
    let arguments = Arguments::from_args();
    let trials: Vec<Trial> = entries.iter().flat_map(trials).collect();
    if trials.is_empty() {
        eprintln!("no conformance cases to run: is there a subject?");
        return ExitCode::FAILURE;
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials(entry: &Entry) -> Vec<Trial> {
    let trial = |case: &crate::Case| {
        let (entry, case) = (entry.clone(), *case);
        let name = format!("{}::{}", entry.name, case.id);
        // What the subject does not claim to do is shown as ignored.
        let unsupported = case.lacks(entry.capabilities).is_some();
        Trial::test(name, move || {
            let options = Options {
                isolation: Isolation::Process,
                ..Options::default()
            };
            let result = run_case(&entry, &case, &options);
            let message = result.message.unwrap_or_default();
            match result.status {
                Status::Inconclusive => Err(Failed::from(format!("inconclusive: {message}"))),
                status if status.is_failure() => Err(Failed::from(format!(
                    "{} {} {}\n  why it matters: {}\n{message}",
                    status.name(),
                    case.id,
                    case.title,
                    case.why,
                ))),
                _ => Ok(()),
            }
        })
        .with_ignored_flag(unsupported)
    };
    entry.cases.iter().map(trial).collect()
}

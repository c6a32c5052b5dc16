//! The arguments and output of Rust's test harness.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use super::{
    Entry, Isolation, Options, Program,
    options::{Numbered, numbered},
    run_case,
};
use crate::report::Status;

/// Runs the cases as tests named `subject::ID`, each in its own process, and the comparison with
/// the record as `recorded`.
pub(super) fn run(program: &Program) -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = program.entries.iter().flat_map(trials).collect();
    if trials.is_empty() {
        eprintln!("error: no conformance cases to run: is there a subject?");
        return ExitCode::FAILURE;
    }
    // A filter goes to every test binary, and may name a test of another one. But a filter that
    // looks like a case's number is meant for a suite.
    if let Some(unknown) = arguments.filter.as_deref().and_then(|filter| {
        let last = filter.rsplit("::").next().unwrap_or(filter);
        let known = |entry: &Entry| {
            let mut cases = entry.cases.iter();
            cases.any(|case| case.id == last || case.rule() == last)
        };
        let meant = match numbered(last) {
            Some(Numbered::Case) => true,
            // With `--exact` a rule is not meant, as it is not a test's name.
            Some(Numbered::Rule) => !arguments.exact,
            None => false,
        };
        (meant && !program.entries.iter().any(known)).then_some(last)
    }) {
        eprintln!("error: the suite has no case `{unknown}`; a run of nothing proves nothing");
        return ExitCode::FAILURE;
    }
    if let Some(records) = program.records() {
        trials.push(Trial::test("recorded", move || {
            records.check().map_err(Failed::from)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials(entry: &Entry) -> Vec<Trial> {
    let trial = |case: &crate::Case| {
        let (entry, case) = (entry.clone(), case.clone());
        let name = format!("{}::{}", entry.name, case.id);
        // A case for an undeclared capability is shown as ignored.
        let unsupported = case.unsupported(entry.capabilities).is_some();
        Trial::test(name, move || {
            let options = Options {
                isolation: Isolation::Process,
                ..Options::default()
            };
            let result = run_case(&entry, &case, &options);
            let message = result.message.unwrap_or_default();
            match result.status {
                // The harness has no third result, and a pass would be wrong.
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

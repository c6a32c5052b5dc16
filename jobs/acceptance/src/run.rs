//! Running the cases: [`main`], [`run`].

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use fourway_jobs_engine::Capability;
use fourway_suite::{Report, Subject, Suite};

use crate::{
    case::{Case, cases},
    child, clock,
    entry::Entry,
    recorded,
    scene::Scene,
};

/// No case takes so long, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(180);

/// How many cases run at a time. They mostly wait for servers and leases. More threads would be too
/// slow to meet the ends of the leases.
const THREADS: usize = 4;

/// Set (to anything) if a case that this machine cannot run must fail the run.
const NOTHING_LEFT_OUT: &str = "FOURWAY_NOTHING_LEFT_OUT";

/// The `main` function of a test binary with `harness = false`: all cases on each engine.
///
/// The arguments are those of `cargo test`; after `report`, `--json FILE`, `--markdown FILE`,
/// `--html FILE` and `--junit FILE` say where to write the results, and `--with FILE` puts an earlier
/// report, in JSON, before it.
///
/// Where libfaketime is missing, cases with a wrong clock are left out, and the output says so.
/// With the variable `FOURWAY_NOTHING_LEFT_OUT` the run fails instead.
#[must_use]
pub fn main(entries: Vec<Entry>) -> ExitCode {
    main_with(entries, None)
}

/// As [`main`], with one test more, `recorded`: the tables in the Markdown file of that path have the
/// engines' columns as they are found here. A case that cannot be had on this machine may be recorded by
/// another one.
///
/// With the variable `FOURWAY_CONFORMANCE_UPDATE` that test writes the columns instead.
#[must_use]
pub fn main_recorded(entries: Vec<Entry>, path: impl Into<PathBuf>) -> ExitCode {
    main_with(entries, Some(path.into()))
}

fn main_with(entries: Vec<Entry>, record: Option<PathBuf>) -> ExitCode {
    if let Some(code) = child::serve(&entries) {
        return code;
    }
    if entries.iter().any(|entry| entry.elsewhere.is_some()) && clock::library().is_none() {
        let what = "processes whose clock is wrong, for libfaketime is not installed";
        if env::var_os(NOTHING_LEFT_OUT).is_some() {
            eprintln!("NOT RUN: {what}; without the variable {NOTHING_LEFT_OUT} this goes without");
            return ExitCode::FAILURE;
        }
        eprintln!("NOT RUN: {what}");
    }
    let mut suite = suite(&entries, |_, _| true).threads(THREADS);
    if let Some(path) = record {
        suite = suite.check("recorded", move || recorded::check(&entries, &path));
    }
    suite.main()
}

/// Runs, for each engine in turn, the cases that `wanted` selects.
pub fn run(entries: &[Entry], wanted: impl Fn(&Entry, &Case) -> bool) -> Report {
    suite(entries, wanted).run()
}

fn suite(entries: &[Entry], wanted: impl Fn(&Entry, &Case) -> bool) -> Suite {
    let subjects = entries
        .iter()
        .map(|entry| subject(entry, |case| wanted(entry, case)));
    Suite::new(subjects)
        .capabilities(Capability::ALL.map(Capability::name))
        .title("fourway-jobs-acceptance")
        .rules([
            ("EN-1", "what was accepted survives"),
            ("EN-2", "run at least once, recorded once"),
            ("EN-3", "poison ends"),
            ("EN-4", "the same everywhere"),
        ])
}

fn subject(entry: &Entry, wanted: impl Fn(&Case) -> bool) -> Subject {
    let has = Scene::new(entry).engine.capabilities();
    let cases = cases().into_iter().filter(wanted).map(|case| {
        let (unsupported, not_here) = (case.unsupported(has, entry), case.not_here(entry));
        let entry = entry.clone();
        let body = move || (case.body)(&Scene::for_case(&entry, case.harm));
        fourway_suite::Case::new(case.id, case.title, body)
            .why(case.why)
            .unsupported(unsupported)
            .not_here(not_here)
    });
    Subject::new(entry.name, DEADLINE)
        .capabilities(has.iter().map(Capability::name))
        .known_failures(entry.known.iter().cloned())
        .cases(cases)
}

//! Running the cases: [`main`], [`run`].

use std::{
    env, fs, io,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{
    case::{Case, cases},
    entry::Entry,
    report::{CaseReport, Report, Status, SubjectReport},
    scene::Scene,
};

/// How much longer than its patience a case may take, which has been used up by then: it hangs.
const GRACE: Duration = Duration::from_secs(60);

/// The `main` function of a test binary with `harness = false`: all cases on each network.
///
/// The arguments are those of `cargo test`; after `report`, `--json FILE` and `--markdown FILE`
/// say where to write what came out.
#[must_use]
pub fn main(entries: Vec<Entry>) -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "report") {
        return report(&entries, &args[1..]);
    }
    let mut trials = Vec::new();
    for entry in entries {
        let has_processes = (entry.network)().processes().is_some();
        for case in cases() {
            let name = format!("{} {} {}", entry.name, case.id, case.title);
            let entry = entry.clone();
            let trial = Trial::test(name, move || match run_case(&entry, &case) {
                (status, message) if status.is_failure() => {
                    Err(Failed::from(message.unwrap_or_default()))
                }
                _ => Ok(()),
            });
            trials.push(trial.with_ignored_flag(case.processes && !has_processes));
        }
    }
    let mut arguments = Arguments::from_args();
    // Each has a runtime with its threads, and the signals are the process's.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs those cases on each network that `wanted` says, one after the other.
pub fn run(entries: &[Entry], wanted: impl Fn(&Entry, &Case) -> bool) -> Report {
    let subjects = entries.iter().map(|entry| {
        let cases = cases().into_iter().filter(|case| wanted(entry, case));
        let cases = cases.map(|case| {
            let (status, message) = run_case(entry, &case);
            CaseReport {
                id: case.id.to_owned(),
                title: case.title.to_owned(),
                status,
                message,
            }
        });
        SubjectReport {
            name: entry.name.to_owned(),
            cases: cases.collect(),
        }
    });
    Report {
        schema: 1,
        subjects: subjects.collect(),
    }
}

fn report(entries: &[Entry], args: &[String]) -> ExitCode {
    let report = run(entries, |_, _| true);
    for pair in args.chunks(2) {
        let text = match pair {
            [form, _] if form == "--json" => report.to_json().map_err(io::Error::from),
            [form, _] if form == "--markdown" => Ok(report.to_markdown()),
            _ => {
                eprintln!("usage: report [--json FILE] [--markdown FILE]");
                return ExitCode::from(2);
            }
        };
        if let Err(error) = text.and_then(|text| fs::write(&pair[1], text)) {
            eprintln!("{}: {error}", pair[1]);
            return ExitCode::FAILURE;
        }
    }
    print!("{}", report.to_markdown());
    let mut code = ExitCode::SUCCESS;
    for subject in &report.subjects {
        for case in subject.cases.iter().filter(|case| case.status.is_failure()) {
            let message = case.message.as_deref().unwrap_or_default();
            println!("\n{} {} {}\n{message}", subject.name, case.id, case.title);
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn run_case(entry: &Entry, case: &Case) -> (Status, Option<String>) {
    let known = entry.known.iter().find(|known| known.case == case.id);
    match (watched(entry, case), known) {
        (Outcome::Unsupported, _) => (
            Status::Unsupported,
            Some("it has no child processes and no signals".to_owned()),
        ),
        (Outcome::Pass, None) => (Status::Pass, None),
        (Outcome::Pass, Some(known)) => (
            Status::UnexpectedPass,
            Some(format!("it passes, and is known to fail: {}", known.reason)),
        ),
        (Outcome::Fail(..), Some(known)) => (Status::KnownFail, Some(known.reason.to_owned())),
        (Outcome::Fail(status, message), None) => (status, Some(message)),
    }
}

enum Outcome {
    Pass,
    Unsupported,
    Fail(Status, String),
}

/// Runs it on a thread, and does not wait for ever.
fn watched(entry: &Entry, case: &Case) -> Outcome {
    let (sender, receiver) = mpsc::channel();
    let (case, patience, network) = (*case, entry.patience, entry.network.clone());
    thread::spawn(move || {
        let body = || {
            let network = network();
            if case.processes && network.processes().is_none() {
                return Outcome::Unsupported;
            }
            (case.body)(&Scene::new(&*network, patience));
            Outcome::Pass
        };
        let result = panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
            let text = payload.downcast_ref::<&str>().copied();
            let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            let text = text.unwrap_or("a panic without a text");
            Outcome::Fail(Status::Fail, text.to_owned())
        });
        // Whoever asked may have given up.
        let _ = sender.send(result);
    });
    let deadline = 2 * patience + GRACE;
    receiver.recv_timeout(deadline).unwrap_or_else(|_elapsed| {
        // The thread cannot be ended; it is left alone.
        Outcome::Fail(Status::Timeout, format!("it hung for {deadline:?}"))
    })
}

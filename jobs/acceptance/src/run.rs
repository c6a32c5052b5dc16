//! Running the cases: [`main`], [`run`].

use std::{
    env, fs, io,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use fourway_jobs_engine::Capabilities;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::{
    case::{Case, cases},
    child, clock,
    entry::Entry,
    report::{CaseReport, Report, Status, SubjectReport},
    scene::Scene,
};

/// No case takes so long, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(180);

/// How many cases run at a time.
const THREADS: usize = 4;

/// Set (to anything) if what cannot be had on this machine is to fail the run.
const NOTHING_LEFT_OUT: &str = "FOURWAY_NOTHING_LEFT_OUT";

/// The `main` function of a test binary with `harness = false`: all cases on each engine.
///
/// The arguments are those of `cargo test`; after `report`, `--json FILE` and `--markdown FILE`
/// say where to write what came out, and `--with FILE` puts an earlier report, in JSON, before it.
///
/// Where libfaketime is missing, cases with a wrong clock are left out, which is said; with the
/// variable `FOURWAY_NOTHING_LEFT_OUT` the run fails instead.
#[must_use]
pub fn main(entries: Vec<Entry>) -> ExitCode {
    if let Some(code) = child::serve(&entries) {
        return code;
    }
    let args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "report") {
        return report(&entries, &args[1..]);
    }
    if entries.iter().any(|entry| entry.clock_elsewhere) && clock::library().is_none() {
        let what = "workers whose clock is wrong, for libfaketime is not installed";
        if env::var_os(NOTHING_LEFT_OUT).is_some() {
            eprintln!("NOT RUN: {what}; without the variable {NOTHING_LEFT_OUT} this goes without");
            return ExitCode::FAILURE;
        }
        eprintln!("NOT RUN: {what}");
    }
    let mut trials = Vec::new();
    for entry in entries {
        let has = capabilities(&entry);
        for case in cases() {
            let entry = entry.clone();
            let name = format!("{} {} {}", entry.name, case.id, case.title);
            let unsupported = case.unsupported(has, &entry).is_some();
            let trial = Trial::test(name, move || {
                let (status, message) = run_case(&entry, &case, has);
                if status.is_failure() {
                    let message = message.unwrap_or_else(|| "it is known to fail".to_owned());
                    return Err(Failed::from(format!("{message}\n{}", case.why)));
                }
                Ok(())
            });
            trials.push(trial.with_ignored_flag(unsupported));
        }
    }
    let mut arguments = Arguments::from_args();
    // They mostly wait for servers and for leases; but leases have an end, which a crowd would miss.
    arguments.test_threads = arguments.test_threads.or(Some(THREADS));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs those cases on each engine that `wanted` says, one after the other.
pub fn run(entries: &[Entry], wanted: impl Fn(&Entry, &Case) -> bool) -> Report {
    let subjects = entries.iter().map(|entry| {
        let has = capabilities(entry);
        let cases = cases().into_iter().filter(|case| wanted(entry, case));
        SubjectReport {
            name: entry.name.to_owned(),
            capabilities: has.iter().collect(),
            cases: cases
                .map(|case| {
                    let (status, message) = run_case(entry, &case, has);
                    CaseReport {
                        id: case.id.to_owned(),
                        title: case.title.to_owned(),
                        status,
                        message,
                    }
                })
                .collect(),
        }
    });
    Report {
        schema: 1,
        subjects: subjects.collect(),
    }
}

fn report(entries: &[Entry], args: &[String]) -> ExitCode {
    let (with, args): (Vec<_>, Vec<_>) = args.chunks(2).partition(|pair| pair[0] == "--with");
    let mut earlier = Vec::new();
    for pair in with {
        let path = pair.get(1).map_or("", String::as_str);
        let read = fs::read_to_string(path).map_err(|error| error.to_string());
        match read.and_then(|text| Report::from_json(&text).map_err(|error| error.to_string())) {
            Ok(report) => earlier.extend(report.subjects),
            Err(error) => {
                eprintln!("{path}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    let mut report = run(entries, |_, _| true);
    report.subjects.splice(0..0, earlier);
    for pair in args {
        let text = match pair {
            [form, _] if form == "--json" => report.to_json().map_err(io::Error::from),
            [form, _] if form == "--markdown" => Ok(report.to_markdown()),
            _ => {
                eprintln!("usage: report [--with FILE]… [--json FILE] [--markdown FILE]");
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

fn capabilities(entry: &Entry) -> Capabilities {
    Scene::new(entry).engine.capabilities()
}

fn run_case(entry: &Entry, case: &Case, has: Capabilities) -> (Status, Option<String>) {
    if let Some(why) = case.unsupported(has, entry) {
        return (Status::Unsupported, Some(why));
    }
    let known = entry.known.iter().find(|known| known.case == case.id);
    let (status, message) = match (watched(entry, case), known) {
        (Ok(()), None) => (Status::Pass, None),
        (Ok(()), Some(known)) => (
            Status::UnexpectedPass,
            Some(format!("it passes, and is known to fail: {}", known.reason)),
        ),
        (Err((_, _)), Some(known)) => (Status::KnownFail, Some(known.reason.to_owned())),
        (Err((status, message)), None) => (status, Some(message)),
    };
    (status, message)
}

/// Runs it on a thread, and does not wait for ever.
fn watched(entry: &Entry, case: &Case) -> Result<(), (Status, String)> {
    let (sender, receiver) = mpsc::channel();
    let (entry, body, harm) = (entry.clone(), case.body, case.harm);
    thread::spawn(move || {
        let body = || body(&Scene::for_case(&entry, harm));
        let result = panic::catch_unwind(AssertUnwindSafe(body));
        // Whoever asked may have given up.
        let _ = sender.send(result.map_err(|payload| {
            let text = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            text.unwrap_or_else(|| "a panic without a text".to_owned())
        }));
    });
    match receiver.recv_timeout(DEADLINE) {
        Ok(result) => result.map_err(|message| (Status::Fail, message)),
        // The thread cannot be ended; it is left alone.
        Err(_elapsed) => Err((Status::Timeout, format!("it hung for {DEADLINE:?}"))),
    }
}

//! The suite, held against runtimes that are broken on purpose.
//!
//! A suite that has never failed proves nothing. Each runtime here has one bug,
//! modelled on a real one, and [`bugs`] names the cases that must catch it, and the
//! words with which the first of them does. By default it is checked that
//!
//! * the runtime without a bug passes everything;
//! * every bug is caught by every case that it names, with the words it names.
//!
//! * a few cases that have nothing to do with it still pass on each ([`UNRELATED`]).
//!
//! A bug's name as an argument selects it. `--all` runs all cases on each, which
//! takes an hour, and `--table` prints in Markdown which of them fail.
//!
//! `docs/BROKEN-RUNTIMES.md` is written by `--document`, and compared with the list
//! in each run.

mod bugs;
mod runtime;

use std::{
    fs,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use fourway_conformance::{
    Config, Entry, Isolation, Options, Subject,
    report::{CaseReport, Status, SubjectReport},
    run_entries, serve,
};

use self::{
    bugs::{KNOWN, Known},
    runtime::Broken,
};

/// The subject for all bugs: which one, the case's process is told.
struct Subjects;

impl Subject for Subjects {
    type Runtime = Broken;
    const NAME: &'static str = "broken";

    fn build(config: &Config) -> Broken {
        Broken::build(config)
    }
}

/// Cases that rest on little: on a runtime that has one bug somewhere else, they
/// pass.
const UNRELATED: [&str; 5] = ["SP-4.4", "SP-4.6", "CX-1.1", "TI-3.11", "OF-5.9"];

struct Arguments {
    all: bool,
    table: bool,
    names: Vec<String>,
}

fn main() -> ExitCode {
    let entries = bugs::variants(&Entry::of::<Subjects>());
    if let Some(code) = serve(&entries) {
        return code;
    }
    let mut arguments = Arguments {
        all: false,
        table: false,
        names: Vec::new(),
    };
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--all" => arguments.all = true,
            "--table" => arguments.table = true,
            // As Rust's test harness is asked by `cargo nextest`.
            "--list" => {
                if !std::env::args().any(|argument| argument == "--ignored") {
                    println!("broken_runtimes_are_caught: test");
                }
                return ExitCode::SUCCESS;
            }
            name if KNOWN.iter().any(|known| known.name == name) => {
                arguments.names.push(argument);
            }
            // Filters and flags of the harness.
            _ => {}
        }
    }
    if std::env::args().any(|argument| argument == "--document") {
        return match fs::write(DOCUMENT, document()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{DOCUMENT}: {error}");
                ExitCode::FAILURE
            }
        };
    }
    if fs::read_to_string(DOCUMENT).is_ok_and(|text| text != document()) {
        eprintln!(
            "{DOCUMENT} is out of date: run `cargo test -p fourway-conformance --test broken -- \
             --document`"
        );
        return ExitCode::FAILURE;
    }
    if judge_all(&entries, &arguments) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Not there in a published package.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/BROKEN-RUNTIMES.md");

fn document() -> String {
    let mut text = String::from(
        "# Broken runtimes\n\n\
         A suite that has never failed proves nothing. Each of these runtimes has one bug,\n\
         most of them after a real one, and is caught by the cases named here, in every run\n\
         of `cargo test -p fourway-conformance --test broken`. The same runtime without a\n\
         bug passes all cases. A number behind a project's name is an issue of its.\n\n\
         Cases that are not named here have not been seen to fail yet.\n\n\
         | runtime | the bug | caught by | saying |\n|---|---|---|---|\n",
    );
    for known in KNOWN.iter().filter(|known| !known.caught_by.is_empty()) {
        let words = match known.words {
            "" => String::new(),
            words => format!("\"{}\"", words.replace('|', "\\|")),
        };
        let cases = known.caught_by.join(", ");
        text += &format!(
            "| `{}` | {} | {cases} | {words} |\n",
            known.name, known.model
        );
    }
    text
}

fn judge_all(entries: &[Entry], arguments: &Arguments) -> bool {
    let selected: Vec<(&Entry, &Known)> = entries
        .iter()
        .zip(KNOWN)
        .filter(|(_, known)| {
            let wanted = arguments.names.iter().any(|name| name == known.name);
            wanted || arguments.names.is_empty()
        })
        .collect();
    let Some(((entry, known), others)) = selected.split_first() else {
        return false;
    };
    // The first, which has no bug and passes all cases, is given the machine to itself.
    let mut wrong = usize::from(!settle(entry, known, arguments));
    // Of the others, several at a time: most of what they do is nothing.
    let next = AtomicUsize::new(0);
    let again = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..if arguments.all { 1 } else { 6 } {
            scope.spawn(|| {
                // Relaxed: only uniqueness matters.
                while let Some((entry, known)) = others.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = run(entry, known, arguments);
                    if judge(known, &report).is_empty() {
                        tell(known, &report, true, arguments);
                    } else {
                        let mut again = again.lock().unwrap_or_else(PoisonError::into_inner);
                        again.push((*entry, *known));
                    }
                }
            });
        }
    });
    // A bug that is a race shows when it does: on a busy machine what must not happen
    // may come too late to be seen. Each has another two goes, with nothing beside it.
    for (entry, known) in again.into_inner().unwrap_or_else(PoisonError::into_inner) {
        wrong += usize::from(!settle(entry, known, arguments) && !settle(entry, known, arguments));
    }
    println!("{} runtimes, {wrong} wrong", selected.len());
    wrong == 0
}

/// Runs a runtime's cases, says how it went, and whether it is as it is to be.
fn settle(entry: &Entry, known: &Known, arguments: &Arguments) -> bool {
    let report = run(entry, known, arguments);
    let complaints = judge(known, &report);
    for line in &complaints {
        eprintln!("{line}");
    }
    tell(known, &report, complaints.is_empty(), arguments);
    complaints.is_empty()
}

fn tell(known: &Known, report: &SubjectReport, right: bool, arguments: &Arguments) {
    if arguments.table {
        println!("{}", row(known, report));
    } else {
        let verdict = if right { "ok" } else { "FAILED" };
        println!("test {} ... {verdict}", known.name);
    }
}

/// Runs what is to be run on a runtime.
fn run(entry: &Entry, known: &Known, arguments: &Arguments) -> SubjectReport {
    let all = arguments.all;
    let mut options = Options::default();
    options.isolation = Isolation::Process;
    // The waits inside the cases are for slow machines. Where something is broken,
    // most of them are waits for what never comes.
    if known.name != "None" {
        options.must = Duration::from_millis(if all { 1000 } else { 3000 });
        options.watchdog = Duration::from_secs(if all { 6 } else { 10 });
        if !all {
            options.jobs = 1;
            let ids = known.caught_by.iter().chain(&UNRELATED);
            options.ids = ids.map(|id| (*id).to_owned()).collect();
        }
    }
    let mut report = run_entries(std::slice::from_ref(entry), &options);
    report.subjects.remove(0)
}

fn failures(report: &SubjectReport) -> impl Iterator<Item = &CaseReport> {
    let cases = report.cases.iter();
    cases.filter(|case| !matches!(case.status, Status::Pass | Status::Unsupported))
}

fn judge(known: &Known, report: &SubjectReport) -> Vec<String> {
    let name = known.name;
    let mut wrong = Vec::new();
    if name == "None" {
        for case in failures(report) {
            let message = case.message.as_deref().unwrap_or_default();
            wrong.push(format!(
                "the runtime without a bug fails {}: {message}",
                case.id
            ));
        }
        return wrong;
    }
    for (at, id) in known.caught_by.iter().enumerate() {
        let Some(case) = report.cases.iter().find(|case| case.id == *id) else {
            wrong.push(format!(
                "{name} is to be caught by {id}, which does not exist"
            ));
            continue;
        };
        if case.status == Status::Pass {
            wrong.push(format!("{id} does not catch {name}"));
        }
        let message = case.message.as_deref().unwrap_or_default();
        if at == 0 && !message.contains(known.words) {
            wrong.push(format!(
                "{id} catches {name} without the words {:?}, but with: {message}",
                known.words
            ));
        }
    }
    for case in failures(report) {
        let id = case.id.as_str();
        let listed = known.caught_by.contains(&id) || known.also.contains(&id);
        if UNRELATED.contains(&id) && !listed {
            let message = case.message.as_deref().unwrap_or_default();
            wrong.push(format!(
                "{name} fails {}, with which it has nothing to do: {message}",
                case.id
            ));
        }
    }
    if known.caught_by.is_empty() {
        wrong.push(format!("{name} is caught by nobody"));
    }
    wrong
}

fn row(known: &Known, report: &SubjectReport) -> String {
    let caught: Vec<&str> = failures(report).map(|case| case.id.as_str()).collect();
    format!(
        "| `{}` | {} | {} |",
        known.name,
        known.model,
        caught.join(" ")
    )
}

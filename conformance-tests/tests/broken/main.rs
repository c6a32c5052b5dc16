//! The suite, held against runtimes that are broken on purpose, and against odd ones.
//!
//! A suite that never fails proves nothing, and a suite that fails correct runtimes is worse. Each
//! runtime of [`bugs`] has one bug, modelled on a real one if there is one. It names the cases that
//! must catch it, and the words in the message of the first. In some, the nurseries have the bug
//! ([`nursery`]), or the execution of work ([`door`]). Each runtime of [`odd`] is unusual but keeps
//! the contract. Every run checks that
//!
//! * each case of the suite is named by a bug, or carries a written exemption;
//! * the runtime without a bug passes everything;
//! * odd runtimes pass all cases except stress cases: four of the runtimes, and all of them with
//!   `--all`;
//! * every case that a bug names catches it, with the words it names;
//! * a few unrelated cases still pass on each ([`UNRELATED`]).
//!
//! A bug's name as an argument selects it. `--all` runs all cases on each runtime, which takes half
//! an hour. `--table` prints which cases fail, and how: to examine a new bug.
//!
//! `--document` writes `docs/BROKEN-RUNTIMES.md`, and each run compares it with the lists.

mod bugs;
mod document;
mod door;
mod nursery;
mod odd;
mod runtime;

use std::{
    collections::BTreeSet,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use fourway_conformance::{
    Capabilities, Config, Entry, Isolation, Level, Options, Subject,
    execute::Doors,
    nursery::Nurseries,
    report::{CaseReport, Status, SubjectReport},
    rules, run_entries, serve,
};

use self::{
    bugs::{KNOWN, Known},
    odd::{STRANGE, Strange},
    runtime::Broken,
};

/// The subject for all bugs: the case's process gets the name of the bug.
struct Subjects;

impl Subject for Subjects {
    type Runtime = Broken;
    const NAME: &'static str = "broken";

    fn capabilities() -> Capabilities {
        let chosen = odd::chosen().or_else(bugs::chosen);
        declared(chosen.unwrap_or_default())
    }

    /// Has the nurseries' bugs.
    fn nurseries() -> &'static dyn Nurseries {
        &nursery::SMALL
    }

    /// Has the bugs of executing work.
    fn doors() -> &'static dyn Doors {
        &door::SMALL
    }

    fn build(config: &Config) -> Broken {
        Broken::build(config)
    }
}

/// The capabilities of the runtime of this name: mostly all.
fn declared(name: &str) -> Capabilities {
    let all = Capabilities::default();
    match name {
        "NotOwnedShutsDown" => all.shutdown(false),
        "TwoAtATime" | "OneWorker" => all.multi_threaded(false),
        "SlotNotEmptied" => all.spreads_wakes(false),
        _ => all,
    }
}

/// Cases with few preconditions, from different rules: they pass on a runtime with an unrelated
/// bug.
const UNRELATED: &[&str] = &[
    "SP-4.4", "SP-4.6", "CX-1.1", "CX-1.12", "TI-3.1", "TI-3.5", "TI-3.11", "OF-5.9", "LO-1.4",
    "LO-1.16",
];

/// The name of this test in the harness.
const NAME: &str = "broken_runtimes_are_caught";

struct Arguments {
    all: bool,
    table: bool,
    names: Vec<String>,
}

impl Arguments {
    fn selects(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }
}

fn main() -> ExitCode {
    let of = Entry::of::<Subjects>();
    let (mut broken, mut odd) = (bugs::variants(&of), odd::variants(&of));
    for entry in broken.iter_mut().chain(&mut odd) {
        *entry = entry.clone().declaring(declared(entry.name()));
    }
    if let Some(code) = serve(&[broken.as_slice(), odd.as_slice()].concat()) {
        return code;
    }
    let mut arguments = Arguments {
        all: false,
        table: false,
        names: Vec::new(),
    };
    let known = |name: &str| {
        let bug = KNOWN.iter().any(|known| known.name == name);
        bug || STRANGE.iter().any(|strange| strange.name == name)
    };
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--all" => arguments.all = true,
            "--table" => arguments.table = true,
            // `cargo nextest` lists tests in this way.
            "--list" => {
                if !std::env::args().any(|argument| argument == "--ignored") {
                    println!("{NAME}: test");
                }
                return ExitCode::SUCCESS;
            }
            name if known(name) => arguments.names.push(argument),
            // Flags of the harness.
            flag if flag.starts_with('-') => {}
            // A filter for other tests.
            filter if !NAME.contains(filter) => return ExitCode::SUCCESS,
            _ => {}
        }
    }
    let complaints = uncovered(&of);
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    if std::env::args().any(|argument| argument == "--document") {
        return document::write(&of);
    }
    let complete = complaints.is_empty() && document::is_current(&of);
    // The runtimes that must pass run alone on the machine.
    let odd = odd.iter().zip(STRANGE);
    let odd = odd.filter(|(_, strange)| {
        arguments.selects(strange.name)
            && (strange.always || arguments.all || !arguments.names.is_empty())
    });
    let bad: Vec<_> = odd
        .filter(|(entry, strange)| !passes(entry, strange))
        .collect();
    let broken: Vec<(&Entry, &Known)> = broken
        .iter()
        .zip(KNOWN)
        .filter(|(_, known)| arguments.selects(known.name))
        .collect();
    if judge_all(&broken, &arguments) && bad.is_empty() && complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Errors in the lists: each case must be proven by a bug, or be exempt.
fn uncovered(of: &Entry) -> Vec<String> {
    let ids: BTreeSet<&str> = of.cases().iter().map(|case| case.id).collect();
    let named = |known: &'static Known| known.caught_by.iter().chain(known.also);
    let proven: BTreeSet<&str> = KNOWN
        .iter()
        .flat_map(|known| known.caught_by)
        .copied()
        .collect();
    let mut wrong = Vec::new();
    for id in KNOWN.iter().flat_map(named).chain(UNRELATED) {
        if !ids.contains(id) {
            wrong.push(format!("{id} is named, but there is no such case"));
        }
    }
    for known in KNOWN {
        let once: BTreeSet<_> = named(known).collect();
        if once.len() != named(known).count() {
            wrong.push(format!("{} names a case twice", known.name));
        }
    }
    let mut exempt = BTreeSet::new();
    for id in rules::exemptions().iter().flat_map(|(_, ids)| *ids) {
        if !ids.contains(id) || proven.contains(id) || !exempt.insert(*id) {
            wrong.push(format!("{id} is exempt: unknown, proven or exempt twice"));
        }
    }
    for id in ids {
        if !proven.contains(id) && !exempt.contains(id) {
            wrong.push(format!("{id} is neither proven by a bug nor exempt"));
        }
    }
    wrong
}

/// Does an odd runtime pass its cases?
fn passes(entry: &Entry, strange: &Strange) -> bool {
    let mut options = Options::default();
    options.isolation = Isolation::Process;
    options.levels = vec![Level::Core, Level::Extended];
    let report = run_entries(std::slice::from_ref(entry), &options);
    let mut right = true;
    for case in report.subjects.iter().flat_map(failures) {
        let message = case.message.as_deref().unwrap_or_default();
        eprintln!(
            "{}, which is right, fails {}: {message}",
            strange.name, case.id
        );
        right = false;
    }
    let verdict = if right { "ok" } else { "FAILED" };
    println!("test {} ... {verdict}", strange.name);
    right
}

fn judge_all(selected: &[(&Entry, &Known)], arguments: &Arguments) -> bool {
    // The runtime without a bug must pass all cases, and runs alone on the machine.
    let (none, others): (Vec<_>, Vec<_>) = selected
        .iter()
        .partition(|(_, known)| known.caught_by.is_empty() && known.name == "None");
    let mut wrong = 0;
    for (entry, known) in none {
        wrong += usize::from(!settle(entry, known, arguments));
    }
    // Several of the others at a time: they mostly wait.
    let next = AtomicUsize::new(0);
    let again = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..if arguments.all { 2 } else { 8 } {
            scope.spawn(|| {
                // Relaxed: only uniqueness matters.
                while let Some((entry, known)) = others.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = run(entry, known, arguments);
                    let complaints = judge(known, &report);
                    if complaints.is_empty() {
                        tell(known, &report, true, arguments);
                    } else {
                        for line in complaints {
                            println!("once more: {line}");
                        }
                        let mut again = again.lock().unwrap_or_else(PoisonError::into_inner);
                        again.push((*entry, *known));
                    }
                }
            });
        }
    });
    // A race shows only sometimes: on a busy machine the forbidden event may come too late to be
    // seen. Each such bug gets two more runs, alone on the machine.
    for (entry, known) in again.into_inner().unwrap_or_else(PoisonError::into_inner) {
        wrong += usize::from(!settle(entry, known, arguments) && !settle(entry, known, arguments));
    }
    println!("{} broken runtimes, {wrong} wrong", selected.len());
    wrong == 0
}

/// Runs a runtime's cases, prints the results, and returns whether they are as expected.
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
        for case in failures(report) {
            let message = case.message.as_deref().unwrap_or_default();
            let line: String = message.lines().take(3).collect::<Vec<_>>().join(" ");
            let status = format!("{:?}", case.status);
            println!(
                "{}\t{}\t{status}\t{}\t{line}",
                known.name, case.id, case.millis
            );
        }
    }
    let verdict = if right { "ok" } else { "FAILED" };
    println!("test {} ... {verdict}", known.name);
}

/// Runs the selected cases on a runtime.
fn run(entry: &Entry, known: &Known, arguments: &Arguments) -> SubjectReport {
    let all = arguments.all;
    let mut options = Options::default();
    options.isolation = Isolation::Process;
    // The waits inside the cases allow for slow machines. On a broken runtime, most of them wait
    // for events that never come.
    if known.name != "None" {
        options.must = Duration::from_millis(if all { 1500 } else { 3000 });
        options.watchdog = Duration::from_secs(if all { 4 } else { 8 });
        if all {
            options.jobs = 5;
            options.stress_time = Duration::from_millis(200);
        } else {
            options.jobs = 1;
            let ids = known.caught_by.iter().chain(UNRELATED);
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

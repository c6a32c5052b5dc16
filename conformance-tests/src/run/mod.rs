//! Running cases: [`main`] for a test binary, [`run`] as a function.

mod child;
mod cli;
mod libtest;
mod options;
mod progress;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

pub use child::serve;
pub(crate) use child::{SEED, STRESS};
pub use options::{Isolation, Options};

use self::{child::Outcome, progress::Progress};
use crate::{
    Capabilities, Capability, Case, KnownFailure, Level, Subject, cases,
    record::Records,
    report::{CaseReport, Host, Report, RunInfo, SCHEMA, Status, SubjectReport},
};

/// A subject without its type.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(crate) name: &'static str,
    pub(crate) version: Option<&'static str>,
    pub(crate) capabilities: Capabilities,
    pub(crate) known_failures: &'static [KnownFailure],
    pub(crate) cases: Vec<Case>,
    pub(crate) prepare: Option<fn()>,
}

impl Entry {
    /// The entry for `S`.
    ///
    /// # Panics
    ///
    /// If one of the subject's known failures names a case that does not exist, or
    /// has no reason, or its link is not an address on the web.
    #[must_use]
    pub fn of<S: Subject>() -> Self {
        let cases = cases::<S>();
        for known in S::known_failures() {
            let (name, id) = (S::NAME, known.id);
            assert!(
                cases.iter().any(|case| case.id == id),
                "{name} has a known failure of `{id}`, and there is no such case: see `list`"
            );
            assert!(
                !known.reason.trim().is_empty(),
                "{name} does not say why it fails {id}"
            );
            assert!(
                ["https://", "http://"]
                    .iter()
                    .any(|scheme| known.link.starts_with(scheme)),
                "{name} does not link to where its failure of {id} is dealt with"
            );
        }
        Self {
            name: S::NAME,
            version: S::VERSION,
            capabilities: S::capabilities(),
            known_failures: S::known_failures(),
            cases,
            prepare: None,
        }
    }

    /// The same cases under another name, for a subject with variants: `prepare`
    /// runs in the case's process before the case, and chooses the variant.
    ///
    /// Only for [`Isolation::Process`], where each case has its own statics.
    #[must_use]
    pub fn variant(&self, name: &'static str, prepare: fn()) -> Self {
        Self {
            name,
            prepare: Some(prepare),
            ..self.clone()
        }
    }

    /// The same, declaring other capabilities; for a variant that has others.
    #[must_use]
    pub fn declaring(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// The subject's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The cases, in order.
    #[must_use]
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    pub(crate) fn known_failure(&self, case: &Case) -> Option<&'static KnownFailure> {
        self.known_failures.iter().find(|known| known.id == case.id)
    }

    pub(crate) fn declared(&self) -> Vec<Capability> {
        Capability::ALL
            .into_iter()
            .filter(|capability| capability.is_in(self.capabilities))
            .collect()
    }
}

/// A test binary with `harness = false`: what
/// [`conformance_main!`](crate::conformance_main) makes.
#[derive(Clone, Debug)]
#[must_use]
pub struct Program {
    entries: Vec<Entry>,
    command: Option<String>,
    recorded: Option<PathBuf>,
}

impl Program {
    /// A program for these subjects.
    pub fn new(entries: Vec<Entry>) -> Self {
        Self {
            entries,
            command: None,
            recorded: None,
        }
    }

    /// Sets the package and the test with which cargo runs it. Reports then show how to
    /// run a case again.
    pub fn cargo_test(mut self, package: &str, test: &str) -> Self {
        self.command = Some(format!("cargo test -p {package} --test {test} --"));
        self
    }

    /// Compares the declarations and results with a file, in a test named `recorded`: see
    /// [`record`](crate::record).
    pub fn recorded(mut self, file: impl Into<PathBuf>) -> Self {
        self.recorded = Some(file.into());
        self
    }

    /// Runs the command of the arguments.
    ///
    /// With `run`, `list`, `explain` or `report` as the first argument it is the
    /// suite's own program (`--help` says more); otherwise it takes the arguments of
    /// Rust's test harness, for `cargo test` and `cargo nextest`.
    #[must_use]
    pub fn main(self) -> ExitCode {
        if let Some(code) = child::serve(&self.entries) {
            return code;
        }
        if let Some(twice) = twice(&self.entries) {
            eprintln!("error: two subjects have the name `{twice}`");
            return ExitCode::FAILURE;
        }
        match cli::command() {
            Some(command) => cli::run(command, &self),
            None => libtest::run(&self),
        }
    }

    fn records(&self) -> Option<Records> {
        let file = self.recorded.as_deref()?;
        Some(Records::new(file, &self.entries))
    }
}

/// A name that two of the subjects have.
fn twice(entries: &[Entry]) -> Option<&'static str> {
    let mut seen = BTreeSet::new();
    let mut names = entries.iter().map(|entry| entry.name);
    names.find(|name| !seen.insert(*name))
}

/// [`Program::main`] for these subjects and nothing else.
#[must_use]
pub fn main(entries: Vec<Entry>) -> ExitCode {
    Program::new(entries).main()
}

/// Runs the selected cases on one subject.
///
/// By default cases run in the calling process ([`Isolation::Thread`]): a hung case is noticed and
/// left behind, and an abort ends the process. To run each case in its own process, use
/// [`conformance_main!`](crate::conformance_main).
#[must_use]
pub fn run<S: Subject>(options: &Options) -> Report {
    run_entries(&[Entry::of::<S>()], options)
}

/// As [`run`], for several subjects.
///
/// For [`Isolation::Process`], the binary's `main` must begin with [`serve`].
///
/// # Panics
///
/// If two of the subjects have the same name.
#[must_use]
pub fn run_entries(entries: &[Entry], options: &Options) -> Report {
    run_as(entries, options, None)
}

/// As [`run_entries`]; `command` begins a command line that runs a case again.
fn run_as(entries: &[Entry], options: &Options, command: Option<&str>) -> Report {
    let twice = twice(entries);
    assert!(twice.is_none(), "two subjects have one name: {twice:?}");
    let selected: Vec<(&Entry, Vec<&Case>)> = entries
        .iter()
        .filter(|entry| options.selects_subject(entry.name))
        .map(|entry| {
            let cases = entry.cases.iter();
            (entry, cases.filter(|case| options.selects(case)).collect())
        })
        .collect();
    let total = selected.iter().map(|(_, cases)| cases.len()).sum();
    let progress = Progress::new(total, options.progress);
    let subjects = selected
        .into_iter()
        .map(|(entry, cases)| SubjectReport {
            name: entry.name.to_owned(),
            version: entry.version.map(str::to_owned),
            run: RunInfo {
                suite_version: env!("CARGO_PKG_VERSION").to_owned(),
                host: Host::current(),
                seed: options.seed,
                stress_millis: u64::try_from(options.stress_time.as_millis()).unwrap_or(u64::MAX),
                command: command.map(str::to_owned),
            },
            capabilities: entry.declared(),
            left_out: left_out(entry, &cases),
            cases: run_cases(entry, &cases, options, &progress),
        })
        .collect();
    progress.finish();
    Report {
        schema: SCHEMA,
        subjects,
    }
}

/// How many cases of each level were not selected.
fn left_out(entry: &Entry, selected: &[&Case]) -> BTreeMap<Level, usize> {
    let mut counts: BTreeMap<Level, usize> = BTreeMap::new();
    for case in &entry.cases {
        if !selected.iter().any(|one| one.id == case.id) {
            *counts.entry(case.level).or_default() += 1;
        }
    }
    counts
}

/// Runs the cases of one subject, several at a time, and gives the results in
/// the order of the cases.
fn run_cases(
    entry: &Entry,
    cases: &[&Case],
    options: &Options,
    progress: &Progress,
) -> Vec<CaseReport> {
    use std::sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    };
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<CaseReport>>> = cases.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1).min(cases.len().max(1)) {
            scope.spawn(|| {
                loop {
                    // Relaxed: only uniqueness matters.
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(at) else { break };
                    let result = run_case(entry, case, options);
                    progress.done(entry.name, &result);
                    *results[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                }
            });
        }
    });
    results
        .into_iter()
        .filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// Runs one case, and compares its result with the subject's declarations.
pub(crate) fn run_case(entry: &Entry, case: &Case, options: &Options) -> CaseReport {
    let started = Instant::now();
    let known = entry.known_failure(case);
    let Outcome {
        status,
        message,
        rounds,
    } = if let Some(reason) = case.unsupported(entry.capabilities) {
        Outcome {
            status: Status::Unsupported,
            message: Some(reason),
            rounds: None,
        }
    } else if let Some(known) = known {
        let mut outcome = child::run(entry, case, &options.impatient());
        if outcome.status == Status::Pass {
            outcome.status = Status::UnexpectedPass;
            outcome.message = Some(format!(
                "listed as a known failure ({}), but it passes: take it off the list",
                known.reason
            ));
        } else if outcome.status.is_failure() {
            outcome.status = Status::KnownFail;
            let message = outcome.message.unwrap_or_default();
            outcome.message = Some(format!("{}\n{message}", known.reason));
        }
        outcome
    } else {
        child::run(entry, case, options)
    };
    CaseReport {
        id: case.id.to_owned(),
        title: case.title.to_owned(),
        why: case.why.to_owned(),
        level: case.level,
        status,
        message,
        link: known
            .filter(|_| status != Status::Unsupported)
            .map(|known| known.link.to_owned()),
        rounds,
        millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

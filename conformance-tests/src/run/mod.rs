//! Running cases: [`main`] for a test binary, [`run`] as a function.

mod child;
mod cli;
mod libtest;
mod options;
mod progress;

use std::{process::ExitCode, time::Instant};

pub use child::serve;
pub(crate) use child::{SEED, STRESS};
pub use options::{Isolation, Options};

use self::progress::Progress;
use crate::{
    Capabilities, Capability, Case, KnownFailure, Subject, cases,
    report::{CaseReport, Host, Report, SCHEMA, Status, SubjectReport},
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
    #[must_use]
    pub fn of<S: Subject>() -> Self {
        Self {
            name: S::NAME,
            version: S::VERSION,
            capabilities: S::capabilities(),
            known_failures: S::known_failures(),
            cases: cases::<S>(),
            prepare: None,
        }
    }

    /// The same cases under another name, for a subject with variants: `prepare`
    /// runs in the case's process before the case, and chooses the variant.
    ///
    /// Each subject type is compiled with all cases; variants are not. Only for
    /// [`Isolation::Process`], where each case has its statics to itself.
    #[must_use]
    pub fn variant(&self, name: &'static str, prepare: fn()) -> Self {
        Self {
            name,
            prepare: Some(prepare),
            ..self.clone()
        }
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
}

/// The `main` function of a test binary with `harness = false`; what
/// [`conformance_main!`](crate::conformance_main) expands to.
///
/// With `run`, `list`, `explain` or `report` as the first argument it is the
/// suite's own program (`--help` says more); otherwise it takes the arguments of
/// Rust's test harness, for `cargo test` and `cargo nextest`.
#[must_use]
pub fn main(entries: Vec<Entry>) -> ExitCode {
    if let Some(code) = child::serve(&entries) {
        return code;
    }
    match cli::command() {
        Some(command) => cli::run(command, &entries),
        None => libtest::run(&entries),
    }
}

/// Runs the selected cases on one subject.
///
/// Cases run in the calling process ([`Isolation::Thread`]) unless the options
/// say otherwise: a hang is noticed and left behind, an abort ends the process.
/// For a process each, use [`conformance_main!`](crate::conformance_main).
#[must_use]
pub fn run<S: Subject>(options: &Options) -> Report {
    run_entries(&[Entry::of::<S>()], options)
}

/// As [`run`], for several subjects.
///
/// For [`Isolation::Process`], the binary's `main` has to begin with [`serve`].
#[must_use]
pub fn run_entries(entries: &[Entry], options: &Options) -> Report {
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
            capabilities: Capability::ALL
                .into_iter()
                .filter(|capability| capability.is_in(entry.capabilities))
                .collect(),
            cases: run_cases(entry, &cases, options, &progress),
        })
        .collect();
    progress.finish();
    Report {
        schema: SCHEMA,
        suite_version: env!("CARGO_PKG_VERSION").to_owned(),
        host: Host::current(),
        seed: options.seed,
        subjects,
    }
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
                // Relaxed: only uniqueness matters.
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let at = cases.iter().position(|known| std::ptr::eq(*known, *case));
                    let result = run_case(entry, case, options);
                    progress.done(entry.name, &result);
                    if let Some(at) = at {
                        *results[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                    }
                }
            });
        }
    });
    results
        .into_iter()
        .filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// Runs one case, and judges what came out by what the subject said before.
pub(crate) fn run_case(entry: &Entry, case: &Case, options: &Options) -> CaseReport {
    let started = Instant::now();
    let (status, message) = if let Some(lacking) = case.lacks(entry.capabilities) {
        let message = format!("the subject does not declare `{lacking}`");
        (Status::Unsupported, Some(message))
    } else {
        let known = entry
            .known_failures
            .iter()
            .find(|known| known.id == case.id);
        let outcome = if known.is_some() {
            child::run(entry, case, &options.impatient())
        } else {
            child::run(entry, case, options)
        };
        match (outcome, known) {
            ((Status::Pass, _), Some(known)) => (
                Status::UnexpectedPass,
                Some(format!(
                    "listed as a known failure ({}), but it passes: take it off the list",
                    known.reason
                )),
            ),
            ((status, message), Some(known)) if status.is_failure() => (
                Status::KnownFail,
                Some(format!("{}\n{}", known.reason, message.unwrap_or_default())),
            ),
            ((status, message), _) => (status, message),
        }
    };
    CaseReport {
        id: case.id.to_owned(),
        title: case.title.to_owned(),
        why: case.why.to_owned(),
        level: case.level,
        status,
        message,
        millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

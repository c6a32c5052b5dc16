//! The results of a run: [`Report`], and its formats.

mod badge;
mod html;
mod junit;
mod markdown;
mod terminal;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    time::Duration,
};

pub use fourway_suite::Status;
use serde::{Deserialize, Serialize};

use crate::{Capability, Level};

/// The version of the JSON form. Grows when a field changes its meaning or is removed, and with a
/// new level, status or capability. New fields do not change it.
///
/// `docs/REPORTS.md` of the project describes the form; [`JSON_SCHEMA`] is the description for
/// programs.
pub const SCHEMA: u32 = 1;

/// The JSON Schema of the JSON form.
pub const JSON_SCHEMA: &str = include_str!("report.schema.json");

/// The results of one or more subjects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// [`SCHEMA`] of the suite that wrote it.
    pub schema: u32,
    /// One for each subject.
    pub subjects: Vec<SubjectReport>,
}

/// How a subject was run. In a merged report, each subject has its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunInfo {
    /// The version of the suite.
    pub suite_version: String,
    /// The machine on which it ran.
    pub host: Host,
    /// The seed of the stress cases.
    pub seed: u64,
    /// How long each stress case ran, in milliseconds.
    pub stress_millis: u64,
    /// The beginning of a command line that repeats the run, if it is known: `cargo test -p mine
    /// --test conformance --`.
    pub command: Option<String>,
}

/// The machine of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Host {
    /// For example `linux`.
    pub os: String,
    /// For example `x86_64`.
    pub arch: String,
    /// Threads that can run at a time.
    pub parallelism: usize,
    /// Was the suite built without optimisation?
    pub debug: bool,
}

impl Host {
    /// This one.
    #[must_use]
    pub fn current() -> Self {
        Self {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            parallelism: std::thread::available_parallelism().map_or(1, usize::from),
            debug: cfg!(debug_assertions),
        }
    }
}

/// The results of one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubjectReport {
    /// The subject's name.
    pub name: String,
    /// The subject's version, if it gave one.
    pub version: Option<String>,
    /// How it was run.
    pub run: RunInfo,
    /// The capabilities that it declares.
    pub capabilities: Vec<Capability>,
    /// How many cases of the suite were not selected, by level; levels without such cases
    /// may be missing. A subject that was run in part has no level.
    pub left_out: BTreeMap<Level, usize>,
    /// One for each selected case, in the order of the contract.
    pub cases: Vec<CaseReport>,
}

/// The result of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CaseReport {
    /// The case: `JO-2.1`.
    pub id: String,
    /// What must hold.
    pub title: String,
    /// Why it matters.
    pub why: String,
    /// Its level.
    pub level: Level,
    /// The result.
    pub status: Status,
    /// The error, or why it was not run.
    pub message: Option<String>,
    /// For a known failure: the link to its issue.
    pub link: Option<String>,
    /// For a stress case that ended: the number of its rounds.
    pub rounds: Option<u64>,
    /// How long it took, in milliseconds. For information, not for comparison.
    pub millis: u64,
}

impl CaseReport {
    /// The rule: `JO-2` for `JO-2.1`.
    #[must_use]
    pub fn rule(&self) -> &str {
        self.id.split_once('.').map_or(&self.id, |(rule, _)| rule)
    }

    /// How long it took.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

/// The grade of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Grade {
    /// A case of the core level did not pass.
    None,
    /// Not all cases of the core level were run.
    Partial,
    /// All core cases pass.
    Core,
    /// All core cases pass, all extended cases for the subject's capabilities pass, and no stress
    /// case failed.
    Extended,
}

impl Grade {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Partial => "run in part",
            Self::Core => "core",
            Self::Extended => "core + extended",
        }
    }
}

impl SubjectReport {
    /// How many cases had each status.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Status, usize> {
        let mut counts = BTreeMap::new();
        for case in &self.cases {
            *counts.entry(case.status).or_default() += 1;
        }
        counts
    }

    /// The subject's grade. Known failures and cases that were not run do not count as passed.
    #[must_use]
    pub fn grade(&self) -> Grade {
        let clean = |level| {
            let mut cases = self.cases.iter().filter(|case| case.level == level);
            cases.all(|case| matches!(case.status, Status::Pass | Status::Unsupported))
        };
        let complete = |level| self.left_out.get(&level).is_none_or(|count| *count == 0);
        let mut core = self.cases.iter().filter(|case| case.level == Level::Core);
        let some = core.clone().next().is_some();
        // No core case can be declared unsupported.
        if core.any(|case| case.status != Status::Pass) {
            Grade::None
        } else if !some || !complete(Level::Core) {
            Grade::Partial
        } else if complete(Level::Extended) && clean(Level::Extended) && clean(Level::Stress) {
            Grade::Extended
        } else {
            Grade::Core
        }
    }

    fn case(&self, id: &str) -> Option<&CaseReport> {
        self.cases.iter().find(|case| case.id == id)
    }
}

impl Report {
    /// Did anything go wrong?
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.failure().is_some()
    }

    /// The errors of the run, if there are any.
    ///
    /// A run that ran no case at all counts as wrong. So does an inconclusive core case, as no core
    /// case may be skipped.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        if self.subjects.is_empty() {
            return Some(String::from(
                "there is no subject; a run of nothing proves nothing",
            ));
        }
        for subject in &self.subjects {
            let name = &subject.name;
            if subject.cases.is_empty() {
                return Some(format!(
                    "no case was selected for {name}; a run of nothing proves nothing"
                ));
            }
            let shows = |case: &CaseReport| {
                !matches!(case.status, Status::Unsupported | Status::Inconclusive)
            };
            if !subject.cases.iter().any(shows) {
                return Some(format!(
                    "no case that was selected for {name} has shown anything"
                ));
            }
        }
        let cases = || self.subjects.iter().flat_map(|subject| &subject.cases);
        let total = cases().count();
        let failed = cases().filter(|case| case.status.is_failure()).count();
        let unknown = cases()
            .filter(|case| case.level == Level::Core && case.status == Status::Inconclusive)
            .count();
        match (failed, unknown) {
            (0, 0) => None,
            (0, unknown) => Some(format!("{unknown} of {total} cases could not find out")),
            (failed, _) => Some(format!("{failed} of {total} cases failed")),
        }
    }

    /// One report of several, the subjects in order. A subject that occurs twice
    /// is taken from the later report.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if there is none, or if one was written in
    /// another [`SCHEMA`].
    pub fn merge(reports: impl IntoIterator<Item = Self>) -> io::Result<Self> {
        let mut merged: Option<Self> = None;
        for report in reports {
            check_schema(report.schema)?;
            let into = merged.get_or_insert_with(|| Self {
                schema: SCHEMA,
                subjects: Vec::new(),
            });
            for subject in report.subjects {
                into.subjects.retain(|earlier| earlier.name != subject.name);
                into.subjects.push(subject);
            }
        }
        merged.ok_or_else(|| invalid("no reports to merge"))
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is not a report: see
    /// [`from_json`](Self::from_json). The error names the file.
    pub fn read(path: &Path) -> io::Result<Self> {
        std::fs::read_to_string(path)
            .and_then(|text| Self::from_json(&text))
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// Reads the JSON form. It ignores unknown fields.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if it is not a report, if it was written in
    /// another [`SCHEMA`], or if a subject or a case occurs twice.
    pub fn from_json(text: &str) -> io::Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            schema: Option<u32>,
        }
        // The schema first: the fields of a later schema need not fit.
        let version: Version = serde_json::from_str(text)
            .map_err(|error| invalid(&format!("not a report of this suite: {error}")))?;
        let Some(schema) = version.schema else {
            return Err(invalid(
                "not a report of this suite: it has no field `schema`",
            ));
        };
        check_schema(schema)?;
        let report: Self = serde_json::from_str(text)
            .map_err(|error| invalid(&format!("not a report of schema {SCHEMA}: {error}")))?;
        let mut subjects = BTreeSet::new();
        for subject in &report.subjects {
            let name = &subject.name;
            if !subjects.insert(name) {
                return Err(invalid(&format!("the subject `{name}` occurs twice")));
            }
            let mut cases = BTreeSet::new();
            if let Some(twice) = subject.cases.iter().find(|case| !cases.insert(&case.id)) {
                return Err(invalid(&format!(
                    "the case `{}` of `{name}` occurs twice",
                    twice.id
                )));
            }
        }
        Ok(report)
    }

    /// The JSON form.
    #[must_use]
    #[allow(
        clippy::missing_panics_doc,
        reason = "strings, numbers and lists have a JSON form"
    )]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("strings, numbers and lists have a JSON form");
        text.push('\n');
        text
    }

    /// The rules that have cases, in order, with the cases of each.
    fn rules(&self) -> Vec<(String, Vec<&CaseReport>)> {
        let mut rules: Vec<(String, Vec<&CaseReport>)> = Vec::new();
        for case in self.subjects.iter().flat_map(|subject| &subject.cases) {
            match rules.iter_mut().find(|(rule, _)| rule == case.rule()) {
                Some((_, cases)) if cases.iter().any(|known| known.id == case.id) => {}
                Some((_, cases)) => cases.push(case),
                None => rules.push((case.rule().to_owned(), vec![case])),
            }
        }
        rules
    }
}

/// The command that runs a case again, if it is known.
fn again(subject: &SubjectReport, case: &CaseReport) -> Option<String> {
    let command = subject.run.command.as_ref()?;
    let mut again = format!("{command} run {} --subject {}", case.id, subject.name);
    if case.level == Level::Stress {
        again += &format!(" --seed {}", subject.run.seed);
    }
    Some(again)
}

fn check_schema(schema: u32) -> io::Result<()> {
    if schema == SCHEMA {
        return Ok(());
    }
    let way = if schema < SCHEMA {
        "make the report again with this version of the suite"
    } else {
        "read it with the version of the suite that wrote it, or a later one"
    };
    Err(invalid(&format!(
        "a report of schema {schema}, and this suite reads schema {SCHEMA}: {way}"
    )))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

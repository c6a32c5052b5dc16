//! What a run has found: [`Report`], and its forms.

mod badge;
mod html;
mod junit;
mod terminal;

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Capability, Level};

/// The version of the JSON form. Grows when a field changes its meaning or goes;
/// fields may be added without.
pub const SCHEMA: u32 = 1;

/// The results of one or more subjects.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// [`SCHEMA`] of the suite that wrote it.
    pub schema: u32,
    /// The version of the suite.
    pub suite_version: String,
    /// On what it ran.
    pub host: Host,
    /// The seed of the stress cases.
    pub seed: u64,
    /// One for each subject.
    pub subjects: Vec<SubjectReport>,
}

/// The machine and compiler of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Host {
    /// For example `linux`.
    pub os: String,
    /// For example `x86_64`.
    pub arch: String,
    /// Threads that can run at a time.
    pub parallelism: usize,
}

impl Host {
    /// This one.
    #[must_use]
    pub fn current() -> Self {
        Self {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            parallelism: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// The results of one subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubjectReport {
    /// The subject's name.
    pub name: String,
    /// The subject's version, if it gave one.
    pub version: Option<String>,
    /// What it declares to be able to do.
    pub capabilities: Vec<Capability>,
    /// One for each selected case, in the order of the contract.
    pub cases: Vec<CaseReport>,
}

/// The result of one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CaseReport {
    /// The case: `JO-2.1`.
    pub id: String,
    /// What must be so.
    pub title: String,
    /// Why it matters.
    pub why: String,
    /// Its level.
    pub level: Level,
    /// What came out.
    pub status: Status,
    /// What was wrong, or why it was not run.
    pub message: Option<String>,
    /// How long it took, in milliseconds. For looking at, not for comparing.
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

/// What came out of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Status {
    /// The rule is kept.
    Pass,
    /// The runtime declares that it lacks what the case needs.
    Unsupported,
    /// The rule is broken, and the subject says so itself, with a reason.
    KnownFail,
    /// The case could not find out.
    Inconclusive,
    /// The rule is broken.
    Fail,
    /// The case hung.
    Timeout,
    /// The process of the case ended by itself: an abort, a stack overflow.
    Crashed,
    /// A known failure that does not fail: the subject's list is out of date.
    UnexpectedPass,
}

impl Status {
    /// Does a run with this fail?
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Fail | Self::Timeout | Self::Crashed | Self::UnexpectedPass
        )
    }

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Unsupported => "unsupported",
            Self::KnownFail => "known-fail",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "fail",
            Self::Timeout => "timeout",
            Self::Crashed => "crashed",
            Self::UnexpectedPass => "unexpected-pass",
        }
    }

    /// One character for tables.
    #[must_use]
    pub fn symbol(self) -> char {
        match self {
            Self::Pass => '✓',
            Self::Unsupported => '–',
            Self::KnownFail => '!',
            Self::Inconclusive => '?',
            Self::Fail => '✗',
            Self::Timeout => '⧖',
            Self::Crashed => '☠',
            Self::UnexpectedPass => '‼',
        }
    }
}

/// What a subject has earned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Grade {
    /// A case of the core level did not pass.
    None,
    /// All core cases pass.
    Core,
    /// All core cases pass, and all extended ones that the subject's
    /// capabilities call for.
    Extended,
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

    /// What the subject has earned. Known failures do not earn anything.
    #[must_use]
    pub fn grade(&self) -> Grade {
        let clean = |level| {
            let mut cases = self.cases.iter().filter(|case| case.level == level);
            cases.all(|case| matches!(case.status, Status::Pass | Status::Unsupported))
        };
        let core = self
            .cases
            .iter()
            .filter(|case| case.level == Level::Core)
            .all(|case| case.status == Status::Pass);
        if self.cases.is_empty() || !core {
            Grade::None
        } else if clean(Level::Extended) {
            Grade::Extended
        } else {
            Grade::Core
        }
    }
}

impl Report {
    /// Did anything go wrong? A run without a single case that was run has
    /// shown nothing, and counts as wrong.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        let ran = |subject: &SubjectReport| {
            let mut cases = subject.cases.iter();
            cases.any(|case| case.status != Status::Unsupported)
        };
        self.subjects.is_empty()
            || !self.subjects.iter().all(ran)
            || self
                .subjects
                .iter()
                .flat_map(|subject| &subject.cases)
                .any(|case| case.status.is_failure())
    }

    /// One report of several, the subjects in order. A subject that occurs twice
    /// is taken from the later report.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if there is none, or if one was written in
    /// another [`SCHEMA`].
    pub fn merge(reports: impl IntoIterator<Item = Self>) -> io::Result<Self> {
        let mut reports = reports.into_iter();
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        let mut merged = reports
            .next()
            .ok_or_else(|| invalid(String::from("no reports to merge")))?;
        for report in std::iter::once(None).chain(reports.map(Some)) {
            let schema = report
                .as_ref()
                .map_or(merged.schema, |report| report.schema);
            if schema != SCHEMA {
                return Err(invalid(format!(
                    "a report has schema {schema}, and this suite reads schema {SCHEMA}; write it \
                     again with this version of the suite"
                )));
            }
            for subject in report.into_iter().flat_map(|report| report.subjects) {
                merged
                    .subjects
                    .retain(|earlier| earlier.name != subject.name);
                merged.subjects.push(subject);
            }
        }
        Ok(merged)
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is not a report.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        serde_json::from_str(&text).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is not a report of this suite: {error}", path.display()),
            )
        })
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

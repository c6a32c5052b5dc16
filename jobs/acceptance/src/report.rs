//! What came out: [`Report`].

use std::fmt::Write as _;

use fourway_jobs_engine::Capability;
use serde::{Deserialize, Serialize};

/// What came out of a run, for each engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The form of this report: 1.
    pub schema: u32,
    /// The engines.
    pub subjects: Vec<SubjectReport>,
}

/// What came out for one engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectReport {
    /// Its name.
    pub name: String,
    /// What it declares.
    pub capabilities: Vec<Capability>,
    /// The cases, in the contract's order.
    pub cases: Vec<CaseReport>,
}

/// What came out of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseReport {
    /// The case: `EN-2.1`.
    pub id: String,
    /// What must be so.
    pub title: String,
    /// What came out.
    pub status: Status,
    /// Why, unless it passed.
    pub message: Option<String>,
}

/// What came out of a case. The names and signs are those of the runtimes' conformance suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Status {
    /// The rule is kept.
    Pass,
    /// The engine declares that it lacks what the case needs, or has what it is about the lack of.
    Unsupported,
    /// The rule is broken, and the engine's author says so.
    KnownFail,
    /// The rule is broken.
    Fail,
    /// It hung.
    Timeout,
    /// A known failure that does not fail.
    UnexpectedPass,
}

impl Status {
    /// The run has failed.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Fail | Self::Timeout | Self::UnexpectedPass)
    }

    /// One sign for a table.
    #[must_use]
    pub fn symbol(self) -> char {
        match self {
            Self::Pass => '✓',
            Self::Unsupported => '–',
            Self::KnownFail => '!',
            Self::Fail => '✗',
            Self::Timeout => '∞',
            Self::UnexpectedPass => '‼',
        }
    }
}

impl Report {
    /// As JSON.
    ///
    /// # Errors
    ///
    /// None that is known: a report has numbers and texts alone.
    pub fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// One that was written as JSON.
    ///
    /// # Errors
    ///
    /// If it is none, or of another form.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// As tables: what each engine declares, and which case it passes.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        let names: Vec<_> = self.subjects.iter().map(|one| one.name.as_str()).collect();
        let line = |text: &mut String, first: &str, cells: &[String]| {
            // Writing to a `String` does not fail.
            let _ = writeln!(text, "| {first} | {} |", cells.join(" | "));
        };
        let rule: Vec<_> = names.iter().map(|_| ":-:".to_owned()).collect();
        let heads: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        line(&mut text, "capability", &heads);
        line(&mut text, "---", &rule);
        for capability in Capability::ALL {
            let has = |one: &SubjectReport| one.capabilities.contains(&capability);
            let cells = self
                .subjects
                .iter()
                .map(|one| if has(one) { "✓" } else { "–" });
            let cells: Vec<_> = cells.map(str::to_owned).collect();
            line(&mut text, capability.name(), &cells);
        }
        text.push('\n');
        line(&mut text, "case", &heads);
        line(&mut text, "---", &rule);
        for case in self.subjects.first().map_or(&[][..], |one| &one.cases) {
            let cells = self.subjects.iter().map(|one| {
                let found = one.cases.iter().find(|other| other.id == case.id);
                found.map_or(' ', |found| found.status.symbol()).to_string()
            });
            let first = format!("{} {}", case.id, case.title);
            line(&mut text, &first, &cells.collect::<Vec<_>>());
        }
        text
    }
}

//! What came out of a run: [`Report`].

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::status::Status;

/// The form of a [`Report`] in JSON. Grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// What came out of a run, for each subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The form of this report: [`SCHEMA`].
    pub schema: u32,
    /// The subjects.
    pub subjects: Vec<SubjectReport>,
}

/// What came out for one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectReport {
    /// Its name.
    pub name: String,
    /// What it declares to be able to do, in suites that ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// The cases, in the suite's order.
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
        let report: Self = serde_json::from_str(text)?;
        if report.schema == SCHEMA {
            return Ok(report);
        }
        let schema = report.schema;
        Err(serde::de::Error::custom(format_args!(
            "a report of form {schema}, and this reads form {SCHEMA}: make it again"
        )))
    }

    /// As tables: which of `capabilities` each subject declares, if there are any, and which case
    /// it passes.
    #[must_use]
    pub fn to_markdown(&self, capabilities: &[&str]) -> String {
        let mut text = String::new();
        if !capabilities.is_empty() {
            self.head(&mut text, "capability");
            for name in capabilities {
                self.row(&mut text, name, |subject| {
                    let mut declared = subject.capabilities.iter().flatten();
                    let is_there = declared.any(|declared| declared == name);
                    if is_there { '✓' } else { '–' }
                });
            }
            text.push('\n');
        }
        self.head(&mut text, "case");
        for case in self.subjects.first().map_or(&[][..], |one| &one.cases) {
            self.row(
                &mut text,
                &format!("{} {}", case.id, case.title),
                |subject| {
                    let found = subject.cases.iter().find(|other| other.id == case.id);
                    found.map_or(' ', |found| found.status.symbol())
                },
            );
        }
        text
    }

    fn head(&self, text: &mut String, first: &str) {
        // Writing to a `String` does not fail.
        let _ = write!(text, "| {first} |");
        for subject in &self.subjects {
            let _ = write!(text, " {} |", subject.name);
        }
        let _ = writeln!(text, "\n| --- |{}", " :-: |".repeat(self.subjects.len()));
    }

    fn row(&self, text: &mut String, first: &str, cell: impl Fn(&SubjectReport) -> char) {
        let _ = write!(text, "| {first} |");
        for subject in &self.subjects {
            let _ = write!(text, " {} |", cell(subject));
        }
        text.push('\n');
    }
}

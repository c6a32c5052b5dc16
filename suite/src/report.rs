//! The results of a run: [`Report`].

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::status::Status;

/// The version of a [`Report`] in JSON. Grows when a field changes its meaning or is removed.
pub const SCHEMA: u32 = 1;

/// The results of a run, for each subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this report: [`SCHEMA`].
    pub schema: u32,
    /// The subjects.
    pub subjects: Vec<SubjectReport>,
}

/// The results for one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectReport {
    /// Its name.
    pub name: String,
    /// The capabilities that it declares, in suites with capabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// The cases, in the suite's order.
    pub cases: Vec<CaseReport>,
}

/// The result of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseReport {
    /// The case: `EN-2.1`.
    pub id: String,
    /// What must hold.
    pub title: String,
    /// The result.
    pub status: Status,
    /// Why, unless it passed.
    pub message: Option<String>,
    /// It is [unsupported](Status::Unsupported) because it could not be had on the machine of the run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub not_here: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(so: &bool) -> bool {
    !so
}

/// The [symbol](CaseReport::symbol) of a case that could not be had.
const NOT_HERE: char = '○';

impl CaseReport {
    /// The number of its rule: `EN-2`.
    #[must_use]
    pub fn rule(&self) -> &str {
        self.id.split_once('.').map_or(&self.id, |(rule, _)| rule)
    }

    /// One character for tables: that of its status, or `○` if it could not be had where the suite ran.
    #[must_use]
    pub fn symbol(&self) -> char {
        if self.not_here {
            NOT_HERE
        } else {
            self.status.symbol()
        }
    }
}

impl Report {
    /// As JSON.
    ///
    /// # Errors
    ///
    /// None is known: a report has only numbers and texts.
    pub fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Reads a report that was written as JSON.
    ///
    /// # Errors
    ///
    /// If the text is not a report, or has another version.
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
                    found.map_or(' ', CaseReport::symbol)
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

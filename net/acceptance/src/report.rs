//! What came out: [`Report`].

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What came out of a run, for each network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The form of this report: 1.
    pub schema: u32,
    /// The networks.
    pub subjects: Vec<SubjectReport>,
}

/// What came out for one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectReport {
    /// Its name.
    pub name: String,
    /// The cases, in the contract's order.
    pub cases: Vec<CaseReport>,
}

/// What came out of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseReport {
    /// The case: `NE-2.1`.
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
    /// The network has no child processes and no signals.
    Unsupported,
    /// The rule is broken, and the network's author says so.
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

    /// As a table: which case each network passes.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = String::from("| case |");
        // Writing to a `String` does not fail.
        for subject in &self.subjects {
            let _ = write!(text, " {} |", subject.name);
        }
        text += "\n| --- |";
        text += &" :-: |".repeat(self.subjects.len());
        text.push('\n');
        for (at, case) in self
            .subjects
            .first()
            .map_or(&[][..], |one| &one.cases)
            .iter()
            .enumerate()
        {
            let _ = write!(text, "| {} {} |", case.id, case.title);
            for subject in &self.subjects {
                let _ = write!(text, " {} |", subject.cases[at].status.symbol());
            }
            text.push('\n');
        }
        text
    }
}

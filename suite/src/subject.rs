//! An implementation under test: [`Subject`].

use std::time::Duration;

use crate::case::Case;

/// An implementation that a suite tests: an engine, a network, a driver.
#[derive(Clone, Debug)]
#[must_use]
pub struct Subject {
    pub(crate) name: String,
    pub(crate) capabilities: Option<Vec<String>>,
    pub(crate) known: Vec<KnownFailure>,
    pub(crate) deadline: Duration,
    pub(crate) cases: Vec<Case>,
}

/// A case that the subject is known to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownFailure {
    /// The case: `EN-2.1`.
    pub case: &'static str,
    /// Why, and where it is documented.
    pub reason: &'static str,
}

impl From<(&'static str, &'static str)> for KnownFailure {
    fn from((case, reason): (&'static str, &'static str)) -> Self {
        Self { case, reason }
    }
}

impl Subject {
    /// A subject of that name, without cases. A case that takes longer than `deadline` counts as
    /// hung: choose it far above the need of any case on a busy machine.
    pub fn new(name: impl Into<String>, deadline: Duration) -> Self {
        Self {
            name: name.into(),
            capabilities: None,
            known: Vec::new(),
            deadline,
            cases: Vec::new(),
        }
    }

    /// The capabilities that it declares, for reports. Without it, reports show none.
    pub fn capabilities(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.capabilities = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Cases that the subject is known to fail. If one passes, the run fails.
    pub fn known_failures(
        mut self,
        known: impl IntoIterator<Item = impl Into<KnownFailure>>,
    ) -> Self {
        self.known.extend(known.into_iter().map(Into::into));
        self
    }

    /// More cases, in the order of reports.
    pub fn cases(mut self, cases: impl IntoIterator<Item = Case>) -> Self {
        self.cases.extend(cases);
        self
    }
}

//! The result of a case: [`Status`].

use serde::{Deserialize, Serialize};

/// The result of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Status {
    /// The rule is kept.
    Pass,
    /// The subject declares that it lacks a capability that the case needs, or has one whose
    /// absence the case tests.
    Unsupported,
    /// The rule is broken, and the subject lists it as known, with a reason.
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
    /// All statuses.
    pub const ALL: [Self; 8] = [
        Self::Pass,
        Self::Unsupported,
        Self::KnownFail,
        Self::Inconclusive,
        Self::Fail,
        Self::Timeout,
        Self::Crashed,
        Self::UnexpectedPass,
    ];

    /// Does a run with this status fail?
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
            Self::Timeout => '∞',
            Self::Crashed => '☠',
            Self::UnexpectedPass => '‼',
        }
    }
}

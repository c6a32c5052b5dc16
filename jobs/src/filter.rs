//! The selection of jobs for a list: [`Filter`], [`Page`].

use crate::{JobId, JobState, JobStatus, job::bit};

/// Which jobs [`JobManager::list`](crate::JobManager::list) gives, in which order, and how many.
///
/// # Examples
///
/// ```
/// use fourway_jobs::{Filter, JobState};
///
/// let failed = Filter::new()
///     .state(JobState::Failed)
///     .state(JobState::TimedOut)
///     .class("mail")
///     .label("customer", "7")
///     .limit(20);
/// # drop(failed);
/// ```
#[derive(Clone, Debug)]
pub struct Filter {
    /// By `JobState as u8`; none is all.
    states: u8,
    pub(crate) class: Option<String>,
    /// In lower case.
    name: Option<String>,
    key: Option<String>,
    labels: Vec<(String, String)>,
    pub(crate) limit: usize,
    pub(crate) oldest_first: bool,
    pub(crate) after: Option<JobId>,
}

impl Filter {
    /// All jobs, the newest first, 100 on a page.
    #[must_use]
    pub fn new() -> Self {
        Self {
            states: 0,
            class: None,
            name: None,
            key: None,
            labels: Vec::new(),
            limit: 100,
            oldest_first: false,
            after: None,
        }
    }

    /// Jobs in this state, or another one that is named.
    #[must_use]
    pub fn state(mut self, state: JobState) -> Self {
        self.states |= bit(state);
        self
    }

    /// Jobs of this class.
    #[must_use]
    pub fn class(mut self, class: impl Into<String>) -> Self {
        self.class = Some(class.into());
        self
    }

    /// Jobs whose name contains this, in whatever case.
    #[must_use]
    pub fn name_contains(mut self, name: impl Into<String>) -> Self {
        self.name = Some(lower(&name.into()).collect());
        self
    }

    /// Jobs with this key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Jobs with this label and value, and all others that are named.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((label.into(), value.into()));
        self
    }

    /// How many jobs a page has at most; up to 1,000.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.clamp(1, 1000);
        self
    }

    /// In the order of submission, and not the newest first.
    #[must_use]
    pub fn oldest_first(mut self) -> Self {
        self.oldest_first = true;
        self
    }

    /// The page after the one whose [`next`](Page::next) this is.
    #[must_use]
    pub fn after(mut self, job: JobId) -> Self {
        self.after = Some(job);
        self
    }

    pub(crate) fn fits_state(&self, state: JobState) -> bool {
        self.states == 0 || self.states & bit(state) != 0
    }

    pub(crate) fn needs_more(&self) -> bool {
        self.name.is_some() || self.key.is_some() || !self.labels.is_empty()
    }

    pub(crate) fn fits(
        &self,
        name: Option<&str>,
        key: Option<&str>,
        labels: &[(String, String)],
    ) -> bool {
        self.name
            .as_deref()
            .is_none_or(|part| name.is_some_and(|name| contains(name, part)))
            && self.key.as_deref().is_none_or(|wanted| key == Some(wanted))
            && self.labels.iter().all(|label| labels.contains(label))
    }
}

/// Whether a text contains that part, which is in lower case. It allocates nothing, as it is asked
/// under the manager's lock.
fn contains(text: &str, part: &str) -> bool {
    let begins_with_part = |text: &str| {
        let mut text = lower(text);
        part.chars().all(|wanted| text.next() == Some(wanted))
    };
    part.is_empty()
        || text
            .char_indices()
            .any(|(at, _)| begins_with_part(&text[at..]))
}

fn lower(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().flat_map(char::to_lowercase)
}

impl Default for Filter {
    fn default() -> Self {
        Self::new()
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Page {
    /// The jobs, each as it was when the page was made; all of them at one moment.
    pub jobs: Vec<JobStatus>,
    /// Where the next page begins, if there may be one: for [`Filter::after`]. A page looks at a
    /// limited number of jobs, so that one may have few jobs, or none, and not be the last.
    pub next: Option<JobId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_whatever_case() {
        let fits = |part: &str, name: &str| {
            let filter = Filter::new().name_contains(part);
            filter.fits(Some(name), None, &[])
        };
        for part in ["", "Report", "report", "REPORT", "ly rep", "täglich", "TÄG"] {
            assert!(fits(part, "Täglich: daily Report"), "{part}");
        }
        assert!(!fits("reports", "Täglich: daily Report"));
        assert!(!Filter::new().name_contains("").fits(None, None, &[]));
    }
}

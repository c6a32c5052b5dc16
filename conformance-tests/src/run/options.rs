use std::time::Duration;

use crate::{Capability, Case, Level};

/// The selection of cases, and how they run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Only these levels; all if empty.
    pub levels: Vec<Level>,
    /// Only these: a case (`JO-2.1`), all cases of a rule (`JO-2`), or all cases whose number or
    /// title contains the text; all if empty.
    pub filters: Vec<String>,
    /// Only the cases with these ids, exactly; all if empty.
    pub ids: Vec<String>,
    /// Only cases that are about one of these capabilities; all if empty.
    pub capabilities: Vec<Capability>,
    /// Only subjects of these names; all if empty.
    pub subjects: Vec<String>,
    /// For the stress cases.
    pub seed: u64,
    /// How long each stress case goes on.
    pub stress_time: Duration,
    /// How long an event that must happen may take, in each case. Default: 30 seconds.
    pub must: Duration,
    /// How long a case watches for an event that must not happen. Default: 50 milliseconds.
    pub must_not: Duration,
    /// How long a whole case may take before it counts as hung. Default: 2 minutes.
    pub watchdog: Duration,
    /// Multiplies all time limits; for slow machines and emulators.
    pub time_scale: u32,
    /// Cases that run at a time.
    pub jobs: usize,
    /// Do the cases' panics show backtraces? Only with [`Isolation::Process`]. Default: no, even
    /// with `RUST_BACKTRACE`, as many cases panic on purpose, and in a debug build each backtrace
    /// takes up to a second.
    pub backtraces: bool,
    /// Where cases run.
    pub isolation: Isolation,
    /// Is progress shown?
    pub progress: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            levels: Vec::new(),
            filters: Vec::new(),
            ids: Vec::new(),
            capabilities: Vec::new(),
            subjects: Vec::new(),
            seed: 0x0f0a_57a1,
            stress_time: Duration::from_secs(1),
            must: Duration::from_secs(30),
            must_not: Duration::from_millis(50),
            watchdog: Duration::from_secs(120),
            time_scale: 1,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            backtraces: false,
            isolation: Isolation::Thread,
            progress: false,
        }
    }
}

/// Where cases run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// Each in its own process: a hang, an abort and a stack overflow are results. Only in a binary
    /// made by [`conformance_main!`](crate::conformance_main).
    Process,
    /// Each on a thread of the calling process.
    Thread,
}

impl Options {
    /// The limits of a case, in milliseconds.
    pub(crate) fn limits(&self) -> (u64, u64) {
        let scaled = |limit: Duration| {
            let limit = limit.saturating_mul(self.time_scale.max(1));
            u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
        };
        (scaled(self.must), scaled(self.must_not))
    }

    /// For known failures, many of which hang: a shorter wait, but long enough to notice a pass.
    pub(crate) fn impatient(&self) -> Self {
        let mut options = self.clone();
        options.must = self.must.min(Duration::from_secs(5));
        options.watchdog = self.watchdog.min(Duration::from_secs(20));
        options
    }

    pub(crate) fn selects_subject(&self, name: &str) -> bool {
        self.subjects.is_empty() || self.subjects.iter().any(|wanted| wanted == name)
    }

    pub(crate) fn selects(&self, case: &Case) -> bool {
        let level = self.levels.is_empty() || self.levels.contains(&case.level);
        let text = self.filters.is_empty() || self.filters.iter().any(|text| names(text, case));
        let capability =
            self.capabilities.is_empty() || self.capabilities.iter().any(|one| case.is_about(*one));
        let id = self.ids.is_empty() || self.ids.iter().any(|id| case.id == id);
        level && text && capability && id
    }
}

/// Does a filter name the case? `SP-1` is not meant for `SP-10.1`, nor `SP-1.1` for
/// `SP-1.10`.
fn names(filter: &str, case: &Case) -> bool {
    match numbered(filter) {
        Some(Numbered::Case) => case.id == filter,
        Some(Numbered::Rule) => case.rule() == filter,
        None => case.id.contains(filter) || case.title.contains(filter),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbered {
    /// As `JO-2.1`.
    Case,
    /// As `JO-2`.
    Rule,
}

/// Has the text the form of a case's or a rule's number?
pub(super) fn numbered(text: &str) -> Option<Numbered> {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (group, rest) = text.split_once('-')?;
    let letters = group.len() == 2 && group.bytes().all(|byte| byte.is_ascii_uppercase());
    match rest.split_once('.') {
        Some((rule, case)) if letters && number(rule) && number(case) => Some(Numbered::Case),
        None if letters && number(rest) => Some(Numbered::Rule),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Numbered, numbered};

    #[test]
    fn numbers_of_cases_and_rules_are_told_from_words() {
        assert_eq!(numbered("JO-2.1"), Some(Numbered::Case));
        assert_eq!(numbered("JO-12"), Some(Numbered::Rule));
        for word in [
            "", "JO", "JO-", "JO-2.", "jo-2.1", "JOB-2", "JO-2.1.3", "JO-x", "a wake",
        ] {
            assert_eq!(numbered(word), None, "{word}");
        }
    }
}

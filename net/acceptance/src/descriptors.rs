//! The descriptors of the process: [`Limit`], [`fill`].

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Another soft limit, until it is dropped. It is the process's, so the case has to be alone.
pub(crate) struct Limit(Rlimit);

impl Limit {
    /// At most `descriptors`.
    pub(crate) fn lowered(descriptors: u64) -> Self {
        Self::with(|limit| {
            Some(
                limit
                    .current
                    .map_or(descriptors, |now| now.min(descriptors)),
            )
        })
    }

    /// `descriptors`, or as many as the process may have; no fewer than now. The soft limit is for
    /// programs that use `select`.
    pub(crate) fn raised(descriptors: u64) -> Self {
        Self::with(|limit| {
            // Not simply the hard limit: macOS refuses a soft limit of "unlimited".
            let most = limit
                .maximum
                .map_or(descriptors, |most| most.min(descriptors));
            limit.current.map(|now| now.max(most))
        })
    }

    fn with(current: impl FnOnce(&Rlimit) -> Option<u64>) -> Self {
        let before = getrlimit(Resource::Nofile);
        let this = Self(before);
        let current = current(&before);
        setrlimit(Resource::Nofile, Rlimit { current, ..before }).unwrap();
        this
    }

    /// `None`: there is no limit.
    pub(crate) fn descriptors() -> Option<usize> {
        let current = getrlimit(Resource::Nofile).current;
        current.map(|most| usize::try_from(most).unwrap_or(usize::MAX))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = setrlimit(Resource::Nofile, self.0);
    }
}

/// Takes all descriptors that the process may still have.
pub(crate) fn fill() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

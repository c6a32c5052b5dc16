//! One case: [`Case`].

use std::{fmt, sync::Arc};

/// One case of a suite, for one subject.
#[derive(Clone)]
#[must_use]
pub struct Case {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) why: Option<&'static str>,
    pub(crate) unsupported: Option<String>,
    pub(crate) body: Arc<dyn Fn() + Send + Sync>,
}

impl Case {
    /// `id` is the rule that the case is about, and an ordinal, for good: `EN-2.1`. `title` says
    /// in a few words what must be so. `body` panics if it is not; it runs on a thread of its own.
    pub fn new(
        id: &'static str,
        title: &'static str,
        body: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            id,
            title,
            why: None,
            unsupported: None,
            body: Arc::new(body),
        }
    }

    /// Why it matters: said where the test harness shows a failure.
    pub fn why(mut self, why: &'static str) -> Self {
        self.why = Some(why);
        self
    }

    /// Why the case is not for the subject. With a reason it is not run.
    pub fn unsupported(mut self, reason: Option<String>) -> Self {
        self.unsupported = reason;
        self
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("id", &self.id)
            .field("title", &self.title)
            .field("unsupported", &self.unsupported)
            .finish_non_exhaustive()
    }
}

//! One case: [`Case`].

use std::{any::Any, fmt, sync::Arc};

/// One case of a suite, for one subject.
#[derive(Clone)]
#[must_use]
pub struct Case {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) why: Option<&'static str>,
    pub(crate) unsupported: Option<String>,
    pub(crate) not_here: bool,
    pub(crate) turn: Option<Arc<Turn>>,
    pub(crate) body: Arc<dyn Fn() + Send + Sync>,
}

/// Waits for the turn of a case, and gives what holds it.
type Turn = dyn Fn() -> Box<dyn Any + Send> + Send + Sync;

impl Case {
    /// `id` is the rule of the case and an ordinal that never changes: `EN-2.1`. `title` states in
    /// a few words what must hold. `body` panics if it does not hold; it runs on its own thread.
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
            not_here: false,
            turn: None,
            body: Arc::new(body),
        }
    }

    /// Why it matters: shown by the test harness with a failure.
    pub fn why(mut self, why: &'static str) -> Self {
        self.why = Some(why);
        self
    }

    /// What the case waits for before it starts: other cases, for example. That time does not count
    /// against its deadline, so `turn` has a limit of its own; its panic is the case's failure.
    /// What it gives is dropped when the body has ended, also if that is long after the deadline.
    pub fn turn<T: Send + 'static>(mut self, turn: impl Fn() -> T + Send + Sync + 'static) -> Self {
        self.turn = Some(Arc::new(move || Box::new(turn())));
        self
    }

    /// Why the case does not apply to the subject. With a reason it is not run.
    pub fn unsupported(mut self, reason: Option<String>) -> Self {
        self.unsupported = reason;
        self.not_here = false;
        self
    }

    /// Why the case, which applies to the subject, cannot be had on this machine. With a reason it is not
    /// run, and reports tell it apart from cases that do not apply. It changes nothing of a case that is
    /// [unsupported](Self::unsupported) already.
    pub fn not_here(mut self, reason: Option<String>) -> Self {
        if self.unsupported.is_none() {
            self.not_here = reason.is_some();
            self.unsupported = reason;
        }
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

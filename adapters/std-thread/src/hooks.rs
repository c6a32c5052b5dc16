//! The user's hooks on each of the runtime's threads.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use fourway_adapt::discard;

type Hook = Arc<dyn Fn() + Send + Sync>;

/// Called when a thread starts, and when it is about to end.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) start: Option<Hook>,
    pub(crate) stop: Option<Hook>,
}

impl Hooks {
    pub(crate) fn are_none(&self) -> bool {
        self.start.is_none() && self.stop.is_none()
    }

    /// Runs the life of a thread between the two.
    pub(crate) fn around(&self, life: &mut dyn FnMut()) {
        call(self.start.as_ref());
        life();
        call(self.stop.as_ref());
    }
}

/// A hook that panics has been reported by the panic hook; the thread goes on.
fn call(hook: Option<&Hook>) {
    if let Some(hook) = hook {
        // Unwind safety: the hook is the user's, and the user sees the report.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| hook())) {
            discard(payload);
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("start", &self.start.is_some())
            .field("stop", &self.stop.is_some())
            .finish()
    }
}

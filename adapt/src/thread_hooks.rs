use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::discard;

type Hook = Arc<dyn Fn() + Send + Sync>;

/// The user's hooks on each of a runtime's threads: called when it starts, and when it is about to
/// end.
///
/// A panic of a hook is reported by the panic hook, and the thread goes on.
///
/// # Examples
///
/// ```
/// use fourway_adapt::ThreadHooks;
///
/// let hooks = ThreadHooks::default().on_start(|| println!("a thread has started"));
/// hooks.around(&mut || println!("it runs closures"));
/// ```
#[derive(Clone, Default)]
pub struct ThreadHooks {
    start: Option<Hook>,
    stop: Option<Hook>,
}

impl ThreadHooks {
    /// Calls `hook` when a thread starts.
    #[must_use]
    pub fn on_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.start = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` when a thread is about to end.
    #[must_use]
    pub fn on_stop(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.stop = Some(Arc::new(hook));
        self
    }

    /// Is there no hook?
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.start.is_none() && self.stop.is_none()
    }

    /// Runs the life of a thread between the two.
    pub fn around(&self, life: &mut dyn FnMut()) {
        self.started();
        life();
        self.stopping();
    }

    /// The calling thread has started. For executors that start the threads by themselves, and
    /// have a hook there.
    pub fn started(&self) {
        call(self.start.as_ref());
    }

    /// The calling thread is about to end.
    pub fn stopping(&self) {
        call(self.stop.as_ref());
    }
}

fn call(hook: Option<&Hook>) {
    if let Some(hook) = hook {
        // Unwind safety: the hook is the user's, and the user sees the report.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| hook())) {
            discard(payload);
        }
    }
}

impl fmt::Debug for ThreadHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadHooks")
            .field("start", &self.start.is_some())
            .field("stop", &self.stop.is_some())
            .finish()
    }
}

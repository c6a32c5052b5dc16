//! Why a runtime destroys work that it does not run, for that work: [`refuse`], [`refusal`].
//!
//! The joiner of a task gets the reason from the runtime. Work that reports its own end, such as a
//! child of a nursery, which nobody joins, learns it here when it is dropped.

use std::{cell::RefCell, error::Error, sync::Arc};

use crate::{JoinError, JoinErrorKind, sync::thread_local};

thread_local! {
    static REASON: RefCell<Reason> = const { RefCell::new(Reason::Shutdown) };
}

/// The reasons of a runtime to refuse work.
#[derive(Clone, Default)]
pub(super) enum Reason {
    #[default]
    Shutdown,
    Forked,
    /// With what the system said.
    Unstarted(Arc<str>),
}

impl Reason {
    fn of(error: &JoinError) -> Self {
        match error.kind() {
            JoinErrorKind::Forked => Self::Forked,
            JoinErrorKind::Unstarted => {
                let reason = error.source().map_or_else(String::new, ToString::to_string);
                Self::Unstarted(reason.into())
            }
            _ => Self::Shutdown,
        }
    }

    /// Calls `f` with this as the reason.
    pub(super) fn during<T>(self, f: impl FnOnce() -> T) -> T {
        struct Restore(Reason);
        impl Drop for Restore {
            fn drop(&mut self) {
                exchange(&mut self.0);
            }
        }
        let mut before = self;
        exchange(&mut before);
        let _restore = Restore(before);
        f()
    }
}

fn exchange(reason: &mut Reason) {
    // While the thread's locals are being destroyed, the reason is a shutdown.
    let _ = REASON.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), reason));
}

/// Calls `f`, which drops work that a runtime refuses with `error`. For runtimes.
pub fn refuse<T>(error: &JoinError, f: impl FnOnce() -> T) -> T {
    Reason::of(error).during(f)
}

/// The error of work that its runtime destroys here and now, unasked: that of the [`refuse`] which
/// the calling thread is in, and otherwise a shutdown.
#[cold]
#[must_use]
pub fn refusal() -> JoinError {
    let reason = REASON.try_with(|current| current.borrow().clone());
    match reason.unwrap_or_default() {
        Reason::Shutdown => JoinError::shutdown(),
        Reason::Forked => JoinError::forked(),
        Reason::Unstarted(reason) => JoinError::unstarted(&*reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_holds_inside_and_also_after_a_panic_no_longer() {
        assert!(refusal().is_shutdown() && !refusal().is_forked());
        let unstarted = JoinError::unstarted("no threads");
        refuse(&unstarted, || {
            let error = refusal();
            assert!(error.is_unstarted());
            assert_eq!(error.source().unwrap().to_string(), "no threads");
            let panics = || {
                refuse(&JoinError::forked(), || {
                    std::panic::resume_unwind(Box::new(()))
                })
            };
            let result: Result<(), _> = std::panic::catch_unwind(panics);
            assert!(result.is_err());
            assert!(refusal().is_unstarted());
            refuse(&JoinError::forked(), || assert!(refusal().is_forked()));
        });
        assert!(!refusal().is_unstarted());
    }
}

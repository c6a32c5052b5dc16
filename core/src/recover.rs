//! Getting a closure back from a wrapper's closure: [`recoverable`].
//!
//! `try_offload` gives a refused closure back. A wrapper hands a closure of its
//! own to the runtime underneath, and the user's cannot be taken out of that
//! again; so it is put where both can reach it.

use std::sync::{Arc, Mutex, PoisonError};

/// Splits `f` into the part for the wrapper's closure and the part that stays.
pub(crate) fn recoverable<F>(f: F) -> (Inside<F>, Outside<F>) {
    let shared = Arc::new(Mutex::new(Some(f)));
    (Inside(shared.clone()), Outside(shared))
}

/// Goes into the wrapper's closure. Dropped with it, it drops `F`, so that
/// captures go as promptly as the runtime lets them (OF-3).
pub(crate) struct Inside<F>(Arc<Mutex<Option<F>>>);

/// Stays behind, for when the wrapper's closure is refused.
pub(crate) struct Outside<F>(Arc<Mutex<Option<F>>>);

impl<F> Inside<F> {
    pub(crate) fn take(&self) -> F {
        take(&self.0).expect("a wrapper's closure is run at most once")
    }
}

impl<F> Outside<F> {
    /// To be called while the refused closure is still there.
    pub(crate) fn take(self) -> F {
        take(&self.0).expect("a refused closure has not been run")
    }
}

impl<F> Drop for Inside<F> {
    fn drop(&mut self) {
        drop(take(&self.0));
    }
}

fn take<F>(shared: &Mutex<Option<F>>) -> Option<F> {
    shared.lock().unwrap_or_else(PoisonError::into_inner).take()
}

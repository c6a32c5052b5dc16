//! Getting a closure back from a wrapper's closure: [`recoverable`].
//!
//! `try_offload` gives a refused closure back. A wrapper hands a closure of its
//! own to the runtime underneath, and the user's cannot be taken out of that
//! again; so it is put where both can reach it.

use std::sync::{Arc, Mutex, PoisonError};

/// Splits `f` into the part for a layer's closure and the part that stays.
///
/// [`try_offload`](crate::Offload::try_offload) gives a refused closure back. A layer hands a
/// closure of its own to the runtime underneath, and the user's cannot be taken out of that
/// again; so it is put where both can reach it. One allocation.
///
/// # Examples
///
/// In a layer's `try_offload_with`:
///
/// ```
/// use fourway_core::{Offload, TryOffloadError, implement::recoverable, task::Metadata};
///
/// fn announced<O: Offload, F: FnOnce() + Send + 'static>(
///     inner: &O,
///     metadata: Metadata,
///     f: F,
/// ) -> Result<O::OffloadTask<()>, TryOffloadError<F>> {
///     let (inside, outside) = recoverable(f);
///     let closure = move || {
///         println!("about to begin");
///         inside.take()()
///     };
///     inner.try_offload_with(metadata, closure).map_err(|refused| {
///         let f = outside.take();
///         refused.map(|_| f)
///     })
/// }
/// ```
pub fn recoverable<F>(f: F) -> (Inside<F>, Outside<F>) {
    let shared = Arc::new(Mutex::new(Some(f)));
    (Inside(shared.clone()), Outside(shared))
}

/// Goes into the wrapper's closure. When that is dropped, this drops `F`, so that captures go as
/// promptly as the runtime lets them ([cancelled closures][OF-3]).
///
/// [OF-3]: crate::contract#OF-3
#[derive(Debug)]
pub struct Inside<F>(Arc<Mutex<Option<F>>>);

/// Stays behind, for when the wrapper's closure is refused.
#[derive(Debug)]
pub struct Outside<F>(Arc<Mutex<Option<F>>>);

impl<F> Inside<F> {
    /// The closure, to be run.
    ///
    /// # Panics
    ///
    /// If it was taken before.
    #[must_use]
    pub fn take(&self) -> F {
        take(&self.0).expect("a wrapper's closure is run at most once")
    }
}

impl<F> Outside<F> {
    /// The closure, to be given back. Call it while the refused closure still exists.
    ///
    /// # Panics
    ///
    /// If the other part took it, or is gone.
    #[must_use]
    pub fn take(self) -> F {
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

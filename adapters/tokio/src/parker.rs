//! Tokio's parker of a thread, and whether its thread-local has been destroyed.
//!
//! Tokio keeps the parker apart from its context, in a thread-local that a thread's first `block_on`
//! makes. One whose context was used earlier loses its parker earlier: thread-locals go in the
//! reverse order of their first use. From then on Tokio's `block_on` panics, and a panic out of a
//! destructor aborts the process.

use std::cell::Cell;

#[derive(Clone, Copy, PartialEq)]
enum Parker {
    /// Not used by this crate.
    Unknown,
    Used,
    Gone,
}

thread_local! {
    // Has no destructor, and so is always there.
    static PARKER: Cell<Parker> = const { Cell::new(Parker::Unknown) };
    static END: End = const { End };
}

/// Used for the first time after the parker, and so destroyed before it.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        set_gone();
    }
}

/// After Tokio's `block_on` has polled a future on this thread.
#[inline]
pub(crate) fn used() {
    if PARKER.get() == Parker::Unknown {
        PARKER.set(Parker::Used);
        // (Its error would mean that it is gone, as it says itself.)
        let _ = END.try_with(|_| ());
    }
}

/// After Tokio's `block_on` has said so, by a panic: the parker was used by Tokio alone.
pub(crate) fn set_gone() {
    PARKER.set(Parker::Gone);
}

#[inline]
pub(crate) fn is_gone() -> bool {
    PARKER.get() == Parker::Gone
}

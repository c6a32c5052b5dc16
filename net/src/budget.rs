//! How often in a row a socket may be ready: [`Budget`].

use std::sync::atomic::{AtomicU32, Ordering};

/// Makes the user of an always-ready socket yield now and then. Otherwise a peer that sends as fast
/// as it is read would keep the thread, and time limits around the read would never be checked
/// (FA-1, no task starves; NE-3, one socket holds up no other).
///
/// Neither `async-io` nor the reactor of std-thread counts. Tokio does, but only in its own tasks
/// and `block_on`, not in ours or in another executor.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    ready: AtomicU32,
}

/// As many as Tokio allows a task.
const IN_A_ROW: u32 = 128;

impl Budget {
    /// Is it time to yield? Checked before each operation.
    pub(crate) fn is_over(&self) -> bool {
        // Relaxed: a hint.
        if self.ready.fetch_add(1, Ordering::Relaxed) < IN_A_ROW {
            return false;
        }
        self.rest();
        true
    }

    /// It was not ready.
    pub(crate) fn rest(&self) {
        self.ready.store(0, Ordering::Relaxed);
    }
}

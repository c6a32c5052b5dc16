//! How often in a row a socket may be ready: [`Budget`].

use std::sync::atomic::{AtomicU32, Ordering};

/// Makes whoever uses a socket that is always ready let others run now and then: a peer that
/// sends as fast as it is read from would keep the thread, and time limits around it would never
/// be looked at (FA-1, NE-3).
///
/// Neither `async-io` nor the reactor of std-thread counts. Tokio does, but in its own tasks and `block_on` alone: not in ours,
/// nor in another executor.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    ready: AtomicU32,
}

/// As many as Tokio grants a task.
const IN_A_ROW: u32 = 128;

impl Budget {
    /// Is it time to let others run? Asked before each operation.
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

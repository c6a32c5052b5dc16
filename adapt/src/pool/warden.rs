//! An idle worker that looks at the inbox now and then: [`Warden`].
//!
//! A thread that is [likely to help](super::help) itself leaves its closure in the inbox and wakes
//! no worker, because nearly always it takes the closure out again within a microsecond. That is
//! right only while another thread looks all the same. The warden is one of the idle
//! workers; instead of sleeping until it is called, it wakes up every [`LOOK`], for as long
//! as threads go on doing so. (The executor of the std-thread runtime has its sentinel in
//! the same way.)
//!
//! The protocol is that of an attended inbox (`queue.rs`): a submitter first adds its closure, and
//! then looks whether there is a warden; the warden first says that it leaves, and then looks at
//! the inbox. So one of them sees the other (two `SeqCst` fences: [`push`](Inner::push),
//! [`guard`](Inner::guard)).

use std::time::Duration;

use super::{Inner, idle::Idle};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

/// How often the warden looks. A closure that was left to a thread waits at most so long if the
/// thread does something else for once.
const LOOK: Duration = Duration::from_millis(1);

/// After so many looks without being wanted in between, it sleeps as the others do.
const QUIET: u32 = if cfg!(any(fourway_shuttle, fourway_loom)) {
    2
} else {
    10
};

/// On a cache line of its own: submitters read it, and waiters count in it.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct Warden {
    present: AtomicBool,
    /// How often threads that have the habit have waited.
    wanted: AtomicUsize,
}

impl Warden {
    /// Call it after adding a closure, and a `SeqCst` fence.
    pub(super) fn is_present(&self) -> bool {
        self.present.load(Ordering::Relaxed)
    }

    /// A thread that has the habit of waiting at once waits.
    pub(super) fn want(&self) {
        // Relaxed: no other access depends on it.
        self.wanted.fetch_add(1, Ordering::Relaxed);
    }

    fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn has_queued(&self) -> bool {
        self.queued(&self.lock()) > 0
    }

    /// An idle worker is about to sleep: it is the warden first, if one is needed. `true` if
    /// a closure waits, or it was called.
    ///
    /// `seen` is how often a warden had been wanted when this worker went to sleep before.
    pub(super) fn guard(&self, me: &Idle, seen: &mut usize) -> bool {
        let mut wanted = self.warden.wanted();
        if wanted == std::mem::replace(seen, wanted) {
            return false;
        }
        // Relaxed: if another worker is the warden, that one looks, too.
        if self.warden.present.swap(true, Ordering::Relaxed) {
            return false;
        }
        let mut quiet = 0;
        while quiet < QUIET && !me.is_called() && !self.has_queued() {
            me.wait_for(LOOK);
            let before = std::mem::replace(&mut wanted, self.warden.wanted());
            quiet = if wanted == before { quiet + 1 } else { 0 };
        }
        *seen = wanted;
        self.warden.present.store(false, Ordering::Relaxed);
        // Pairs with the fence in `push`.
        fence(Ordering::SeqCst);
        self.has_queued() || me.is_called()
    }
}

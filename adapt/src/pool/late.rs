//! Threads that a source has promised, and that do not come: [`Ticket`].
//!
//! A runtime's blocking threads may all be parked in a `block_on` of ours that waits for a
//! closure in the queue: `max_blocking_threads(1)` on Tokio, and a raw `spawn_blocking` that
//! offloads. Then the thread that was asked for that closure is in the runtime's queue,
//! behind the very thread that waits for it. No thread of the pool runs that could notice, so a
//! timer does.

use std::{
    sync::{Arc, Weak},
    task::{Wake, Waker},
    time::Duration,
};

use super::{Inner, Role};
use crate::{
    sync::atomic::{AtomicU8, Ordering},
    timer::Timers,
};

/// A thread that has not come so long after it was asked for is replaced.
///
/// To start a thread takes some 50 µs, and on a machine that is short of processors some
/// milliseconds. A needless replacement costs a thread for a time.
pub const LATE: Duration = Duration::from_millis(10);

/// Stands for one thread that was asked for, from then on until it comes. Read and
/// written under the pool's lock, which is what orders its accesses (hence `Relaxed`).
#[derive(Debug, Default)]
pub(super) struct Ticket(AtomicU8);

const AWAITED: u8 = 0;
/// It has come, or is known never to come. It is not counted in `starting` any more.
const SETTLED: u8 = 1;
/// It was late. Another one came in its place, and it is not counted.
const REPLACED: u8 = 2;

impl Ticket {
    /// The thread has come, or will not. `false` if it was replaced: then it is not counted.
    pub(super) fn settle(&self) -> bool {
        if self.0.load(Ordering::Relaxed) == REPLACED {
            return false;
        }
        self.0.store(SETTLED, Ordering::Relaxed);
        true
    }

    /// `false` if it has come after all.
    fn replace(&self) -> bool {
        if self.0.load(Ordering::Relaxed) != AWAITED {
            return false;
        }
        self.0.store(REPLACED, Ordering::Relaxed);
        true
    }
}

impl Inner {
    /// Looks after [`LATE`] whether the thread has come.
    pub(super) fn watch(self: &Arc<Self>, role: Role, ticket: &Arc<Ticket>) {
        let watch = Waker::from(Arc::new(Watch {
            pool: Arc::downgrade(self),
            role,
            ticket: ticket.clone(),
        }));
        Timers::global().wake_after(LATE, watch);
    }

    /// The thread has not come, and may never come.
    fn replace_late(self: &Arc<Self>, role: Role, ticket: &Ticket) {
        let mut state = self.lock();
        if !ticket.replace() {
            return;
        }
        state.starting -= 1;
        self.unattend(&mut state);
        let wanted =
            !state.closed && self.queued(&state) > 0 && state.serving() < self.config.limit;
        if wanted {
            // In its place, also as the standby if it was to be that.
            state.starting += 1;
            drop(state);
            self.start_own(role);
        } else {
            if role == Role::Standby {
                state.standby = false;
            }
            drop(state);
            self.ended.notify_all();
        }
    }
}

/// The waker that the timer's thread calls.
struct Watch {
    // Weak: a late thread must not keep the pool alive.
    pool: Weak<Inner>,
    role: Role,
    ticket: Arc<Ticket>,
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        if let Some(pool) = self.pool.upgrade() {
            pool.replace_late(self.role, &self.ticket);
        }
    }
}

//! Looking for a while before going to sleep: [`Spin`].

use std::time::{Duration, Instant};

use crate::sync::{now, thread};

/// Decides whether a thread that waits should go on looking for a moment before it
/// goes to sleep, and for how long.
///
/// To wake a sleeping thread takes 5 to 50 µs, during which it is of no use; to go
/// on looking costs a processor, which others may need. So a thread looks only if
/// its waits have been short lately, and never for longer than a limit: one that
/// gets something to do every millisecond goes to sleep at once, and an idle one
/// sleeps. On a machine with one processor nobody looks, for nothing could happen
/// meanwhile.
///
/// (The idea is that of adaptive mutexes, which spin for about as long as the lock
/// has been held before.)
#[derive(Debug)]
pub struct Spin {
    limit: Duration,
    /// Now and then it is tried although the waits have been long: every so many
    /// waits, or never if zero.
    probe: u32,
    waits: u32,
    /// How long a wait is expected to take, in nanoseconds.
    expected: u64,
}

impl Spin {
    /// At most for `limit` at a time.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self {
            limit,
            probe: 0,
            waits: 0,
            expected: 0,
        }
    }

    /// Tries again every `waits` waits, even if they have been long.
    ///
    /// For the side that waits for an answer. While both sides sleep, each wait takes
    /// as long as it takes to wake the other; one of them must look for once, or
    /// neither would ever find out how quick it could be.
    #[must_use]
    pub const fn probe(mut self, waits: u32) -> Self {
        self.probe = waits;
        self
    }

    /// Waits until `ready` says so, by looking first and then by `sleep`, which
    /// returns when it is.
    pub fn wait(&mut self, mut ready: impl FnMut() -> bool, sleep: impl FnOnce()) {
        let wait = self.begin();
        let seen = self.look(&wait, &mut ready);
        if seen == Seen::No {
            sleep();
        }
        self.end(&wait, seen);
    }

    /// A wait begins.
    #[must_use]
    pub fn begin(&mut self) -> Wait {
        let start = now();
        if several_processors() {
            self.waits = self.waits.wrapping_add(1);
            let probe = self.probe > 0 && self.waits % self.probe == 0;
            if probe || self.expected < nanoseconds(self.limit) {
                return Wait {
                    start,
                    until: Some(start + self.limit),
                };
            }
        }
        Wait { start, until: None }
    }

    /// Looks for as long as is worth it.
    #[inline]
    pub fn look(&self, wait: &Wait, mut ready: impl FnMut() -> bool) -> Seen {
        let Some(until) = wait.until else {
            return if ready() { Seen::Yes } else { Seen::No };
        };
        for _ in 0..LOOKS {
            if ready() {
                return Seen::Yes;
            }
            std::hint::spin_loop();
        }
        // Whoever is to bring what is waited for may be waiting itself: for this
        // processor, on which the system may have put it to run.
        let mut before = now();
        loop {
            thread::yield_now();
            let after = now();
            if ready() {
                let alone = after.saturating_duration_since(before) < TURN;
                return if alone { Seen::Yes } else { Seen::InTurn };
            }
            if after >= until {
                return Seen::No;
            }
            before = after;
        }
    }

    /// The wait is over. Was its end `seen` by looking?
    pub fn end(&mut self, wait: &Wait, seen: Seen) {
        // A long wait does not say more than that it was long, so that a few short ones
        // make up for it.
        let most = nanoseconds(self.limit) * 4;
        let took = nanoseconds(now().saturating_duration_since(wait.start)).min(most);
        self.expected = match seen {
            // Looking is worth it. On average with what was before it would hardly ever
            // seem so: each wait that is slept through takes as long as waking up.
            Seen::Yes => took,
            // Better to sleep for once: a thread that is woken is put on a processor
            // that is idle, if there is one.
            Seen::InTurn => nanoseconds(self.limit) * 2,
            Seen::No => u64::midpoint(self.expected, took),
        };
    }
}

/// Whether a wait's end was seen by looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Yes.
    Yes,
    /// Yes, but only because the thread that brought it was let run on this thread's
    /// processor: the two share one.
    InTurn,
    /// No: it is time to sleep.
    No,
}

/// To offer the processor takes less than this, unless another thread takes it.
const TURN: Duration = Duration::from_nanos(2500);

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4)
}

/// How often is looked before the processor is offered to others; a microsecond or
/// two.
const LOOKS: u32 = 64;

/// A wait that has begun. Made by [`Spin::begin`].
#[derive(Debug)]
pub struct Wait {
    start: Instant,
    until: Option<Instant>,
}

/// Under a model checker, threads change only where it says so: looking would be
/// endless.
fn several_processors() -> bool {
    use std::sync::OnceLock;

    static SEVERAL: OnceLock<bool> = OnceLock::new();
    !cfg!(any(fourway_shuttle, fourway_loom))
        && *SEVERAL.get_or_init(|| {
            std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1)
        })
}

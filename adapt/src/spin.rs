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
/// sleeps. On a machine with one processor no thread looks, because nothing could happen meanwhile.
///
/// Two threads that take turns may both have long waits because both sleep: each
/// waits for as long as it takes to wake the other. So a thread that was itself quick between two
/// waits tries now and then to look for longer. If the other is as quick, both wait for a moment
/// only from then on. If not, the trials become rarer.
///
/// (The idea is that of adaptive mutexes, which spin for about as long as the lock
/// has been held before.)
#[derive(Debug)]
pub struct Spin {
    limit: Duration,
    /// How long a wait is expected to take, in nanoseconds.
    expected: u64,
    /// When the last wait was over.
    ended: Option<Instant>,
    /// How many chances to try are skipped after a failed trial.
    pause: u32,
    /// How many of them are left.
    pausing: u32,
}

impl Spin {
    /// At most for `limit` at a time, except for a trial.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self {
            limit,
            expected: 0,
            ended: None,
            pause: 0,
            pausing: 0,
        }
    }

    /// Waits until `ready` says so, by looking first and then by `sleep`, which
    /// returns when it is.
    pub fn wait(&mut self, mut ready: impl FnMut() -> bool, sleep: impl FnOnce()) {
        let wait = self.begin();
        let seen = self.look(&wait, &mut ready);
        if seen == Seen::No {
            sleep();
        }
        self.end(&wait, seen, None);
    }

    /// A wait begins.
    #[must_use]
    pub fn begin(&mut self) -> Wait {
        let start = now();
        let (look, trial) = if !several_processors() {
            (None, false)
        } else if self.expected < nanoseconds(self.limit) {
            (Some(self.limit), false)
        } else if self.may_try(start) {
            (Some(TRIAL), true)
        } else {
            (None, false)
        };
        Wait {
            start,
            until: look.map(|look| start + look),
            trial,
        }
    }

    fn may_try(&mut self, start: Instant) -> bool {
        let quick = self
            .ended
            .is_some_and(|ended| start.saturating_duration_since(ended) < QUICK);
        if !quick || self.expected >= nanoseconds(HOPELESS) {
            return false;
        }
        if self.pausing > 0 {
            self.pausing -= 1;
            return false;
        }
        true
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
        // The thread that is to bring the awaited event may itself wait for this processor, on
        // which the system may have put it.
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

    /// The wait is over. Was its end `seen` by looking? If not, when did the awaited event happen,
    /// as far as it is known? Waking up takes time too, which says nothing about the value of
    /// looking.
    pub fn end(&mut self, wait: &Wait, seen: Seen, happened: Option<Instant>) {
        let end = now();
        // A long wait counts only as long, so that a few short ones make up for it.
        let took = happened.unwrap_or(end).min(end);
        let took = took.saturating_duration_since(wait.start).min(HOPELESS);
        let took = nanoseconds(took);
        self.expected = match seen {
            // Looking is worth it. An average with the waits before would hardly ever show that:
            // each wait with a sleep takes as long as waking up.
            Seen::Yes => took,
            // Better to sleep for once: a thread that is woken is put on a processor
            // that is idle, if there is one.
            Seen::InTurn => nanoseconds(self.limit) * 2,
            Seen::No => u64::midpoint(self.expected, took),
        };
        if wait.trial {
            self.pause = match seen {
                Seen::Yes => 0,
                Seen::InTurn | Seen::No => (self.pause * 2).clamp(1, LONGEST_PAUSE),
            };
            self.pausing = self.pause;
        }
        self.ended = Some(end);
    }
}

/// Whether a wait's end was seen by looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Yes.
    Yes,
    /// Yes, but only because the thread that brought the event was let run on this thread's
    /// processor: the two share one.
    InTurn,
    /// No: it is time to sleep.
    No,
}

/// A trial takes at most so long: longer than to wake a thread usually takes.
const TRIAL: Duration = Duration::from_micros(100);

/// A thread that was busy for less than this between two waits is worth waiting for.
const QUICK: Duration = Duration::from_micros(20);

/// After waits of more than this nothing is tried.
const HOPELESS: Duration = Duration::from_micros(200);

/// After a failed trial at most so many chances are skipped: at worst, a hundredth or so of the
/// time is spent on trials.
const LONGEST_PAUSE: u32 = 64;

/// To offer the processor takes less than this, unless another thread takes it.
const TURN: Duration = Duration::from_nanos(2500);

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4)
}

/// Looks before the processor is offered to other threads; a microsecond or two.
const LOOKS: u32 = 64;

/// A wait that has begun. Made by [`Spin::begin`].
#[derive(Debug)]
pub struct Wait {
    start: Instant,
    until: Option<Instant>,
    trial: bool,
}

/// Under a model checker, threads change only where it says so: looking would be
/// endless.
fn several_processors() -> bool {
    use std::sync::atomic::{AtomicU8, Ordering};

    const UNKNOWN: u8 = 0;
    const ONE: u8 = 1;
    const SEVERAL: u8 = 2;
    // Not a `OnceLock`, which a forked child could find half filled. Relaxed: a thread that does
    // not see it yet finds out by itself.
    static PROCESSORS: AtomicU8 = AtomicU8::new(UNKNOWN);
    if cfg!(any(fourway_shuttle, fourway_loom)) {
        return false;
    }
    let mut known = PROCESSORS.load(Ordering::Relaxed);
    if known == UNKNOWN {
        let several = std::thread::available_parallelism().is_ok_and(|number| number.get() > 1);
        known = if several { SEVERAL } else { ONE };
        PROCESSORS.store(known, Ordering::Relaxed);
    }
    known == SEVERAL
}

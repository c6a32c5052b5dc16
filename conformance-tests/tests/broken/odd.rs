//! Odd runtimes that keep the contract: no case may fail on them.
//!
//! A case that fails here requires more than the contract. Each oddity is one that an implementer
//! may reasonably choose.

use std::{
    cell::Cell,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use fourway_conformance::Entry;

use crate::bugs::{self, Bug};

/// The oddity of this process, if any.
static ODD: OnceLock<Odd> = OnceLock::new();

/// Is this one chosen?
pub(crate) fn is(odd: Odd) -> bool {
    ODD.get() == Some(&odd)
}

/// The name of the chosen oddity.
pub(crate) fn chosen() -> Option<&'static str> {
    let odd = *ODD.get()?;
    STRANGE
        .iter()
        .find(|strange| strange.odd == odd)
        .map(|strange| strange.name)
}

/// The description of an odd runtime.
pub(crate) struct Strange {
    odd: Odd,
    pub(crate) name: &'static str,
    /// Its oddity, and why it is allowed.
    pub(crate) how: &'static str,
    /// Does it run without `--all`?
    pub(crate) always: bool,
}

macro_rules! oddities {
    ($($odd:ident, $how:literal, $always:literal;)*) => {
        /// One oddity.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Odd {
            $($odd),*
        }

        pub(crate) const STRANGE: &[Strange] = &[$(Strange {
            odd: Odd::$odd,
            name: stringify!($odd),
            how: $how,
            always: $always,
        }),*];

        /// A subject for each.
        pub(crate) fn variants(of: &Entry) -> Vec<Entry> {
            vec![$(of.variant(stringify!($odd), || {
                bugs::choose(Bug::None);
                ODD.get_or_init(|| Odd::$odd);
            })),*]
        }
    };
}

oddities! {
    OneWorker, "one thread for all tasks, whatever it is asked for, which it declares", true;
    RandomOrder, "ready tasks are polled in a random order; every eighth time it is the oldest one's turn (FA-1)", true;
    SlowPolls, "a task waits for a millisecond before its first poll and before every sixteenth, and so does each closure", true;
    CoarseTimers, "timers fire on multiples of five milliseconds: late, but never early (TI-1)", true;
    ManyWorkers, "more threads for tasks than it is asked for", false;
    RestlessWorkers, "a thread that has polled fifty times ends, and another one takes its place", false;
    TickingWorkers, "workers that sleep are woken every two milliseconds for nothing", false;
    FreshWakers, "a new waker for each poll, which is never the same as the one before", false;
    DestroysElsewhere, "a suspended task that is cancelled is destroyed on a thread that is started for it", false;
    EagerPool, "the pool starts 32 threads before it looks whether others are blocked", false;
    StingyPool, "the pool starts a second thread only when it has seen the first one blocked", false;
}

/// For [`Odd::RandomOrder`]: which of `n` waiting tasks is next.
pub(crate) fn pick(n: usize) -> usize {
    thread_local! {
        static STATE: Cell<(u32, usize)> = const { Cell::new((0x0f0a_57a1, 0)) };
    }
    let (mut random, turns) = STATE.get();
    // Xorshift.
    random ^= random << 13;
    random ^= random >> 17;
    random ^= random << 5;
    STATE.set((random, turns + 1));
    if turns % 8 == 0 {
        return 0;
    }
    usize::try_from(random).unwrap_or_default() % n.max(1)
}

/// For [`Odd::SlowPolls`].
pub(crate) fn dawdle() {
    if is(Odd::SlowPolls) {
        thread::sleep(Duration::from_millis(1));
    }
}

/// For [`Odd::CoarseTimers`]: at least `duration` from now, on the grid.
pub(crate) fn coarse(duration: Duration) -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    const GRID: u128 = 5_000_000;
    if !is(Odd::CoarseTimers) || duration.is_zero() {
        return duration;
    }
    let since = START.get_or_init(Instant::now).elapsed();
    let Some(due) = since.checked_add(duration) else {
        return duration;
    };
    let over = (GRID - due.as_nanos() % GRID) % GRID;
    let more = Duration::from_nanos(u64::try_from(over).unwrap_or_default());
    duration.saturating_add(more)
}

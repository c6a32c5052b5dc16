//! The clock of a manager: [`Clock`].

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fourway_core::{AnyRuntime, Timer, implement::wake};

use crate::sync::{Mutex, lock};

/// A source of time: a wall clock, and a watch that only goes forward.
///
/// Delays, timeouts, pauses between attempts and the periods of
/// [unique keys](crate::Unique::within) are measured on the watch. Start times and
/// schedules are compared with the wall clock, in short steps, so that a machine that slept or
/// whose clock was set neither skips nor doubles a run ([schedules](fourway_core::contract#JB-7)).
///
/// The default is the runtime's own [`now`](Timer::now) and the system's clock. Tests take a
/// [`ManualClock`].
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time on the wall. It may jump, in both directions.
    fn now(&self) -> SystemTime;

    /// The time that has passed since some moment. It never goes back.
    fn elapsed(&self) -> Duration;

    /// For how long the manager may sleep on the runtime's timer before it looks at the clock
    /// again; `None` if the clock only goes on with a [change](Self::on_change).
    fn step(&self) -> Option<Duration> {
        Some(Duration::from_millis(500))
    }

    /// The clock must wake `waker` when it has jumped. Every manager task that waits for the time
    /// calls this repeatedly, and several managers may share a clock. So a clock keeps every waker
    /// until it has woken it; of wakers that [wake the same task](Waker::will_wake) one is enough.
    /// Clocks that do not know about their jumps do nothing here.
    fn on_change(&self, waker: &Waker) {
        let _ = waker;
    }
}

/// The system's clock and the runtime's watch.
#[derive(Debug)]
pub(crate) struct SystemClock {
    runtime: AnyRuntime,
    origin: Instant,
}

impl SystemClock {
    pub(crate) fn new(runtime: AnyRuntime) -> Self {
        let origin = runtime.now();
        Self { runtime, origin }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn elapsed(&self) -> Duration {
        self.runtime.now().saturating_duration_since(self.origin)
    }
}

/// A clock that goes when it is told to, for tests.
///
/// # Examples
///
/// ```
/// use fourway_jobs::{Clock, ManualClock};
/// use std::time::{Duration, SystemTime};
///
/// let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
/// clock.advance(Duration::from_secs(90)); // an hour passes in no time
/// assert_eq!(clock.elapsed(), Duration::from_secs(90));
///
/// clock.set(SystemTime::UNIX_EPOCH); // somebody sets the clock on the wall
/// assert_eq!(clock.elapsed(), Duration::from_secs(90));
/// ```
#[derive(Clone)]
pub struct ManualClock {
    state: Arc<Mutex<Manual>>,
}

struct Manual {
    now: SystemTime,
    elapsed: Duration,
    wakers: Vec<Waker>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: SystemTime) -> Self {
        Self {
            state: Arc::new(Mutex::new(Manual {
                now,
                elapsed: Duration::ZERO,
                wakers: Vec::new(),
            })),
        }
    }

    /// Time passes, on the wall and on the watch.
    ///
    /// # Panics
    ///
    /// If a [`SystemTime`] or a [`Duration`] cannot express the new time. Both clocks stay where they
    /// are.
    pub fn advance(&self, by: Duration) {
        let has_passed = self.change(|manual| {
            let now = manual.now.checked_add(by)?;
            manual.elapsed = manual.elapsed.checked_add(by)?;
            manual.now = now;
            Some(())
        });
        // Not under the lock.
        has_passed.expect("the new time is too late for the types of times");
    }

    /// The wall clock is set, forward or back; the watch goes on. A machine that has slept looks
    /// the same: its watch stood still meanwhile.
    pub fn set(&self, now: SystemTime) {
        self.change(|manual| manual.now = now);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Manual) -> T) -> T {
        let mut manual = lock(&self.state);
        let output = change(&mut manual);
        let wakers = std::mem::take(&mut manual.wakers);
        drop(manual);
        wakers.into_iter().for_each(wake);
        output
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        lock(&self.state).now
    }

    fn elapsed(&self) -> Duration {
        lock(&self.state).elapsed
    }

    fn step(&self) -> Option<Duration> {
        None
    }

    fn on_change(&self, waker: &Waker) {
        let waker = waker.clone();
        let mut manual = lock(&self.state);
        let before = if manual.wakers.iter().any(|known| known.will_wake(&waker)) {
            Some(waker)
        } else {
            manual.wakers.push(waker);
            None
        };
        drop(manual);
        drop(before);
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manual = lock(&self.state);
        f.debug_struct("ManualClock")
            .field("now", &manual.now)
            .field("elapsed", &manual.elapsed)
            .finish_non_exhaustive()
    }
}

/// A clock, read once for each change of state: the wall time is the watch plus an offset, which is
/// refreshed once in a [step](Clock::step). So each wall time follows a jump of the clock within a
/// step, whoever asks.
#[derive(Debug)]
pub(crate) struct Watch {
    clock: Arc<dyn Clock>,
    /// What the wall clock shows when the watch shows zero, in nanoseconds since 1970.
    offset: AtomicU64,
    /// On the watch: when the offset is refreshed next.
    look_at: AtomicU64,
}

/// One moment, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Now {
    /// On the watch.
    pub(crate) watch: u64,
    /// On the wall, since 1970.
    pub(crate) wall: u64,
}

impl Watch {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let watch = Self {
            clock,
            offset: AtomicU64::new(0),
            look_at: AtomicU64::new(0),
        };
        // For zero is long ago.
        watch.look();
        watch
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn now(&self) -> Now {
        let mut watch = nanos(self.clock.elapsed());
        // Acquire: the partner of the Release in `look`. Who sees that the offset was refreshed sees
        // that offset.
        if watch >= self.look_at.load(Ordering::Acquire) {
            watch = self.look_in_passing();
        }
        // Relaxed: a number by itself; `look_at` orders it.
        let wall = self.offset.load(Ordering::Relaxed).wrapping_add(watch);
        Now { watch, wall }
    }

    #[cold]
    fn look_in_passing(&self) -> u64 {
        // The time is still that of the offset: two clocks that are read one after the other may
        // give a wall time before the last one.
        self.look().watch
    }

    /// Compares the two clocks anew.
    pub(crate) fn look(&self) -> Now {
        // The two clocks are not read at one moment, and this thread may be suspended in between.
        // That changes the difference without a jump of the clock, and must not show as times that
        // go back.
        const UNCERTAIN: u64 = 1_000_000;
        let read = || {
            let before = nanos(self.clock.elapsed());
            let wall = wall(self.clock.now());
            let watch = nanos(self.clock.elapsed());
            (wall, watch, watch - before)
        };
        let mut seen = read();
        for _ in 0..3 {
            if seen.2 > UNCERTAIN {
                seen = read();
            }
        }
        let (wall, watch, uncertain) = seen;
        // A clock without a step says when it goes on, but not to whoever asks for the time.
        let step = self.clock.step().map_or(0, nanos);
        let offset = wall.wrapping_sub(watch);
        let known = self.offset.load(Ordering::Relaxed);
        let change = (offset.wrapping_sub(known) as i64).unsigned_abs();
        if change > uncertain + UNCERTAIN {
            self.offset.store(offset, Ordering::Relaxed);
        }
        // After the offset: until then others look by themselves, and take no time of before a jump.
        self.look_at
            .store(watch.saturating_add(step), Ordering::Release);
        Now { watch, wall }
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn wall(time: SystemTime) -> u64 {
    nanos(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(crate) fn time(wall: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(wall)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_time_that_no_type_has_leaves_the_clock_alone() {
        let start = UNIX_EPOCH + Duration::from_secs(1);
        let clock = ManualClock::new(start);
        clock.advance(Duration::from_secs(1));
        let too_late = AssertUnwindSafe(|| clock.advance(Duration::MAX));
        assert!(catch_unwind(too_late).is_err());
        assert_eq!(clock.elapsed(), Duration::from_secs(1));
        assert_eq!(clock.now(), start + Duration::from_secs(1));
    }
}

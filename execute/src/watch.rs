//! Watching closures that run in place on an executor's thread: [`Overrun`].

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fourway_core::{Runtime, Spawner, task::Metadata};

use crate::sync::{Mutex, lock};

/// A closure that was declared [`short`](crate::short) keeps an executor's thread for longer
/// than its budget.
///
/// It is reported once while it runs, and once when it has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Overrun {
    /// Where, and under which name, the work was started.
    pub metadata: Metadata,
    /// The budget of the closure.
    pub budget: Duration,
    /// How long it has taken so far.
    pub elapsed: Duration,
    /// Has it ended?
    pub ended: bool,
}

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.ended { "kept" } else { "keeps" };
        write!(
            f,
            "{} {verb} an executor's thread for {:?}, with a budget of {:?}; work that may block is \
             declared as such, and goes to the pool",
            self.metadata, self.elapsed, self.budget
        )
    }
}

pub(crate) type Hook = Arc<dyn Fn(&Overrun) + Send + Sync>;

/// How long the watching thread stays without anything to watch.
const IDLE: Duration = Duration::from_secs(1);
/// The shortest interval between two checks. A report may be late by as much.
const SHORTEST_TICK: Duration = Duration::from_millis(5);

#[derive(Clone)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
}

struct Shared {
    budget: Duration,
    hook: Option<Hook>,
    overruns: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Vec<Running>,
    // How many closures have been watched: the thread ends when this has not changed for a while.
    count: u64,
    watching: bool,
}

impl State {
    /// Those that are over their budget and were not reported, which now count as reported; and the
    /// time until the next one is.
    fn look(
        &mut self,
        budget: Duration,
        now: Instant,
    ) -> (Vec<(Metadata, Duration)>, Option<Duration>) {
        let (mut due, mut first) = (Vec::new(), None::<Duration>);
        for running in self.running.iter_mut().filter(|running| !running.reported) {
            let elapsed = now.saturating_duration_since(running.since);
            if elapsed > budget {
                running.reported = true;
                due.push((running.metadata.clone(), elapsed));
            } else {
                let left = budget.saturating_sub(elapsed);
                first = Some(first.map_or(left, |first| first.min(left)));
            }
        }
        (due, first)
    }
}

struct Running {
    number: u64,
    since: Instant,
    metadata: Metadata,
    reported: bool,
}

impl Watch {
    /// The default.
    pub(crate) const BUDGET: Duration = Duration::from_millis(1);

    pub(crate) fn new(budget: Duration, hook: Option<Hook>) -> Self {
        Self {
            shared: Arc::new(Shared {
                budget,
                hook,
                overruns: AtomicU64::new(0),
                state: Mutex::default(),
            }),
        }
    }

    pub(crate) fn overruns(&self) -> u64 {
        // A statistic; no other access depends on it.
        self.shared.overruns.load(Ordering::Relaxed)
    }

    /// A task that runs it in place.
    pub(crate) fn spawn<R, F, T>(&self, rt: &R, metadata: Metadata, f: F) -> <R as Spawner>::Task<T>
    where
        R: Runtime,
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (watch, place) = (self.clone(), metadata.clone());
        rt.spawn_with(metadata, async move { watch.run(place, f) })
    }

    /// Calls it here, watched.
    pub(crate) fn run<T>(&self, metadata: Metadata, f: impl FnOnce() -> T) -> T {
        // The machine's time, not the runtime's: this measures a blocked thread, which a runtime's
        // own clock would not show.
        let since = Instant::now();
        let watched = self.enter(since, metadata);
        let output = f();
        drop(watched);
        output
    }

    fn enter(&self, since: Instant, metadata: Metadata) -> Watched<'_> {
        let mut state = lock(&self.shared.state);
        state.count += 1;
        let number = state.count;
        state.running.push(Running {
            number,
            since,
            metadata,
            reported: false,
        });
        let start = !std::mem::replace(&mut state.watching, true);
        drop(state);
        if start {
            self.start();
        }
        Watched {
            watch: self,
            number,
        }
    }

    /// A separate thread: the watched closures may keep all of the runtime's threads, one of these
    /// may drive its timers, and its pool may have one place only.
    fn start(&self) {
        let shared = self.shared.clone();
        let started = thread::Builder::new()
            .name("fourway-watch".to_owned())
            .spawn(move || shared.watch());
        if started.is_err() {
            // Without a thread, closures are only reported at their end, until a thread can be
            // started.
            lock(&self.shared.state).watching = false;
        }
    }
}

impl Shared {
    fn watch(&self) {
        // A hook may panic; the next closure then starts a thread again.
        let gone = Gone(self);
        let (mut seen, mut idle) = (0, Duration::ZERO);
        // No closure that begins from now on is over its budget before that. Not longer than the
        // thread stays: it could not end.
        let longest = self.budget.min(IDLE);
        let mut left = longest;
        loop {
            let tick = left.max(SHORTEST_TICK);
            // A plain sleep: with a wake-up, the watched closures would pay for waking this thread.
            thread::sleep(tick);
            left = longest;
            let mut state = lock(&self.state);
            if state.running.is_empty() && state.count == seen {
                idle += tick;
                if idle >= IDLE {
                    state.watching = false;
                    drop(state);
                    // `watching` was cleared above, under the lock: by now there may be another
                    // thread.
                    std::mem::forget(gone);
                    return;
                }
                continue;
            }
            (seen, idle) = (state.count, Duration::ZERO);
            let (due, first) = state.look(self.budget, Instant::now());
            left = first.map_or(longest, |first| first.min(longest));
            drop(state);
            for (metadata, elapsed) in due {
                self.report(metadata, elapsed, false);
            }
        }
    }

    fn report(&self, metadata: Metadata, elapsed: Duration, ended: bool) {
        if let Some(hook) = &self.hook {
            hook(&Overrun {
                metadata,
                budget: self.budget,
                elapsed,
                ended,
            });
        }
    }
}

struct Gone<'a>(&'a Shared);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).watching = false;
    }
}

struct Watched<'a> {
    watch: &'a Watch,
    number: u64,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let shared = &self.watch.shared;
        let mut state = lock(&shared.state);
        let place = state.running.iter().position(|r| r.number == self.number);
        let running = state.running.swap_remove(place.expect("entered"));
        drop(state);
        let elapsed = running.since.elapsed();
        if elapsed > shared.budget {
            shared.overruns.fetch_add(1, Ordering::Relaxed);
            // A second panic while one unwinds would abort the process.
            if !thread::panicking() {
                shared.report(running.metadata, elapsed, true);
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("budget", &self.shared.budget)
            .field("overruns", &self.overruns())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(fourway_shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn it_looks_again_when_the_first_is_over_its_budget() {
        let (ms, begin) = (Duration::from_millis, Instant::now());
        let running = |number, since| Running {
            number,
            since: begin + ms(since),
            metadata: Metadata::caller(),
            reported: false,
        };
        let mut state = State {
            running: vec![running(1, 100), running(2, 40)],
            ..State::default()
        };
        let mut look = |at| {
            let (due, left) = state.look(ms(400), begin + ms(at));
            let due: Vec<_> = due.into_iter().map(|(_, elapsed)| elapsed).collect();
            (due, left)
        };
        assert_eq!(look(400), (vec![], Some(ms(40))));
        assert_eq!(look(440), (vec![], Some(ms(0))));
        assert_eq!(look(445), (vec![ms(405)], Some(ms(55))));
        // Each is reported once.
        assert_eq!(look(501), (vec![ms(401)], None));
        assert_eq!(look(900), (vec![], None));
    }
}

//! Sleeping and waking of workers: see `IDLE.md` beside this file.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    poller::{Mark, Place, Ready},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
        in_order, now,
        thread::{self, Thread},
    },
};

pub(crate) struct Idle {
    workers: usize,
    /// Workers that are awake and look for work.
    searching: AtomicUsize,
    /// How many are in `sleepers`.
    asleep: AtomicUsize,
    /// Is there a sentinel, a sleeper that looks at the other workers now and then?
    sentinel: AtomicBool,
    /// In the poller, for one of them.
    pub(crate) place: Place,
    sleepers: Mutex<Vec<Arc<Sleeper>>>,
}

/// One worker's thread, as seen by the threads that wake it.
pub(crate) struct Sleeper {
    notified: AtomicBool,
    /// When it was notified. The standard library's lock also under the model checkers: only the
    /// waking thread and then the woken one look at it.
    at: std::sync::Mutex<Option<Instant>>,
    thread: Thread,
    polling: Mark,
}

impl Sleeper {
    /// For the calling thread.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            notified: AtomicBool::new(false),
            at: std::sync::Mutex::new(None),
            thread: thread::current(),
            polling: Mark::new(),
        })
    }

    /// When it was woken, if it was since the last call.
    pub(crate) fn notified_at(&self) -> Option<Instant> {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.take()
    }

    fn is_notified(&self) -> bool {
        // Acquire pairs with the Release in `wake`.
        self.notified.load(Ordering::Acquire)
    }

    /// The flag, not the thread's park token, says that it was notified: user code may have left a
    /// token behind, or taken ours.
    fn await_notice(&self) {
        while !self.is_notified() {
            thread::park();
        }
    }

    fn wake(&self, place: &Place) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now());
        // Pairs with the Acquire in `is_notified`.
        self.notified.store(true, Ordering::Release);
        place.interrupt(&self.polling);
        // In any case: the thread may have left the poller without being seen back from here.
        self.thread.unpark();
    }
}

/// How often the sentinel looks.
const WATCH: Duration = Duration::from_millis(1);

/// Why a worker woke up.
pub(crate) enum Woken<T> {
    /// It was notified, must look for work, and counts as searching.
    Notified,
    /// As the sentinel it has found a task itself. It counts as searching all the same, and must
    /// [say so](Idle::found): it may also have been notified of other work.
    Found(T),
}

impl Idle {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers,
            searching: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            sentinel: AtomicBool::new(false),
            place: Place::new(),
            sleepers: Mutex::new(Vec::new()),
        }
    }

    fn sleepers(&self) -> MutexGuard<'_, Vec<Arc<Sleeper>>> {
        // No user code runs under the lock, so that nothing can poison it.
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is new work in a queue: makes sure that a worker comes for it.
    #[inline]
    pub(crate) fn notify(&self) {
        // Pairs with the fence in `sleep`: either this sees the sleeper, or that sees
        // the work.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) > 0 && self.searching.load(Ordering::Relaxed) == 0 {
            self.wake_one();
        }
    }

    /// There is new work in a worker's own slot, which it is about to do itself.
    ///
    /// Call it after a `SeqCst` exchange of the slot, which pairs with the exchange of `sentinel`
    /// and the look at the slots in [`sleep`](Self::sleep).
    #[inline]
    pub(crate) fn notify_sentinel(&self) {
        in_order();
        if self.asleep.load(Ordering::SeqCst) > 0
            && !self.sentinel.load(Ordering::SeqCst)
            && self.searching.load(Ordering::SeqCst) == 0
        {
            self.wake_one();
        }
    }

    /// A thread that is awake, and stays so, has left the poller, or has relied on a worker that
    /// was in it or about to look. Makes sure that another worker takes the place. Also for a
    /// poller that has just been opened.
    #[inline]
    pub(crate) fn notify_poller(&self) {
        if !self.place.is_open() {
            return;
        }
        // Stands between leaving the place, or the end of a search, and the looks below. Pairs
        // with the fences in `sleep` and in `stand_guard`, after which the place is tried.
        in_order();
        if self.asleep.load(Ordering::SeqCst) > 0
            && self.place.is_free()
            && !self.sentinel.load(Ordering::SeqCst)
            && self.searching.load(Ordering::SeqCst) == 0
        {
            self.wake_one();
        }
    }

    #[cold]
    fn wake_one(&self) {
        let mut sleepers = self.sleepers();
        // A worker may have been woken since the caller looked.
        if self.searching.load(Ordering::Relaxed) > 0 {
            return;
        }
        // A worker in the poller stays there, as long as another one is asleep.
        let parked = sleepers.iter().rposition(|one| !one.polling.is_set());
        let Some(last) = sleepers.len().checked_sub(1) else {
            return;
        };
        let sleeper = sleepers.remove(parked.unwrap_or(last));
        self.awake(&sleepers);
        drop(sleepers);
        sleeper.wake(&self.place);
    }

    /// A sleeper was taken off the list, and counts as searching from this moment on, so that not
    /// every thread that queues something wakes another worker.
    fn awake(&self, sleepers: &[Arc<Sleeper>]) {
        self.searching.fetch_add(1, Ordering::SeqCst);
        self.asleep.store(sleepers.len(), Ordering::SeqCst);
    }

    pub(crate) fn wake_all(&self) {
        let mut sleepers = self.sleepers();
        let all = std::mem::take(&mut *sleepers);
        self.searching.fetch_add(all.len(), Ordering::SeqCst);
        self.asleep.store(0, Ordering::SeqCst);
        drop(sleepers);
        for sleeper in all {
            sleeper.wake(&self.place);
        }
    }

    /// A worker has run out of work. May it search with the others? At most half of the workers do,
    /// to stay out of each other's way.
    pub(crate) fn try_search(&self) -> bool {
        let searching = self.searching.load(Ordering::SeqCst);
        if searching > 0 && 2 * (searching + 1) > self.workers {
            return false;
        }
        self.searching.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// A searching worker has found something. `true` if no worker searches now: then the caller
    /// must notify if there is more.
    pub(crate) fn found(&self) -> bool {
        self.searching.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Sleeps until there is work.
    ///
    /// `visible`: is there work in a queue, or is it time to leave? `slots_used`: does any worker
    /// have a task in its own slot? `watch`, called every [`WATCH`] if this worker is the sentinel,
    /// takes a task that has been in such a slot since its last look.
    ///
    /// If it slept in the poller, the events that it found there are in `ready`. The caller must
    /// tell their listeners.
    pub(crate) fn sleep<T>(
        &self,
        me: &Arc<Sleeper>,
        was_searching: bool,
        visible: impl Fn() -> bool,
        slots_used: impl Fn() -> bool,
        watch: impl FnMut() -> Option<T>,
        ready: &mut Vec<Ready>,
    ) -> Woken<T> {
        {
            let mut sleepers = self.sleepers();
            // Relaxed: no other thread has it before it is in the list.
            me.notified.store(false, Ordering::Relaxed);
            sleepers.push(me.clone());
            self.asleep.store(sleepers.len(), Ordering::SeqCst);
        }
        if was_searching {
            self.searching.fetch_sub(1, Ordering::SeqCst);
        }
        // Pairs with the fence in `notify`. A thread that queued something and relied on us because
        // we were searching, or did not see us asleep, did so before this.
        fence(Ordering::SeqCst);
        if visible() && self.get_up(me) {
            return Woken::Notified;
        }
        let found = self.stand_guard(me, slots_used, watch, ready);
        if found.is_none() && ready.is_empty() {
            self.await_notice(me, ready);
        }
        if (found.is_some() || !ready.is_empty()) && !self.get_up(me) {
            // Woken for other work as well, which the caller looks for after this.
            me.await_notice();
        }
        found.map_or(Woken::Notified, Woken::Found)
    }

    /// Sleeps, in the poller if the place is free, until it is notified or something is ready.
    fn await_notice(&self, me: &Sleeper, ready: &mut Vec<Ready>) {
        while !me.is_notified() && ready.is_empty() {
            match self.place.take() {
                Some(turn) => turn.wait(&me.polling, || me.is_notified(), None, ready),
                // A worker that leaves the poller makes sure that another takes the place, see
                // `notify_poller`.
                None => thread::park(),
            }
        }
    }

    /// Is the sentinel for as long as one is needed and this worker is asleep.
    fn stand_guard<T>(
        &self,
        me: &Arc<Sleeper>,
        slots_used: impl Fn() -> bool,
        mut watch: impl FnMut() -> Option<T>,
        ready: &mut Vec<Ready>,
    ) -> Option<T> {
        // While all workers sleep no sentinel is needed: the first worker that wakes up and uses
        // its slot will wake another, which comes here.
        while self.others_awake() && !self.sentinel.swap(true, Ordering::SeqCst) {
            let mut found = None;
            while found.is_none() && ready.is_empty() && !me.is_notified() && self.others_awake() {
                match self.place.take() {
                    Some(turn) => turn.wait(&me.polling, || me.is_notified(), Some(WATCH), ready),
                    None => thread::park_timeout(WATCH),
                }
                found = watch();
            }
            self.sentinel.store(false, Ordering::SeqCst);
            in_order();
            // A worker that used its slot and saw a sentinel did so before this. A worker that was
            // notified, or has something ready, looks around anyway.
            if found.is_some() || !ready.is_empty() || me.is_notified() || !slots_used() {
                return found;
            }
        }
        None
    }

    fn others_awake(&self) -> bool {
        self.asleep.load(Ordering::SeqCst) < self.workers
    }

    /// Takes a worker off the list again; `false` if it was woken meanwhile. It counts
    /// as searching either way.
    fn get_up(&self, me: &Arc<Sleeper>) -> bool {
        let mut sleepers = self.sleepers();
        let at = sleepers.iter().position(|other| Arc::ptr_eq(other, me));
        let Some(at) = at else { return false };
        sleepers.remove(at);
        self.awake(&sleepers);
        true
    }
}

#[cfg(all(test, not(any(fourway_loom, fourway_shuttle))))]
mod tests {
    use super::*;

    fn asleep(idle: &Idle, many: usize) -> Vec<Arc<Sleeper>> {
        let all: Vec<_> = (0..many).map(|_| Sleeper::new()).collect();
        idle.sleepers().extend(all.iter().cloned());
        idle.asleep.store(many, Ordering::SeqCst);
        all
    }

    fn woken(sleepers: &[Arc<Sleeper>]) -> usize {
        sleepers.iter().filter(|one| one.is_notified()).count()
    }

    #[test]
    fn one_at_a_time_is_woken_until_it_has_found_something() {
        let idle = Idle::new(4);
        let sleepers = asleep(&idle, 3);
        for expected in 1..=3 {
            for _ in 0..2 {
                idle.notify();
                idle.notify_sentinel();
                assert_eq!(woken(&sleepers), expected);
            }
            assert!(idle.found(), "nobody else searches");
        }
    }

    #[test]
    fn half_of_the_workers_search_and_the_last_to_find_something_says_so() {
        let idle = Idle::new(4);
        assert!(idle.try_search() && idle.try_search());
        assert!(!idle.try_search());
        assert!(!idle.found());
        assert!(idle.found());
        assert!(idle.try_search());
    }
}

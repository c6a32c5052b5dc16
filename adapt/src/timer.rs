//! Timers on a thread of their own: [`Timers`].

mod pending;

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::{
    ThreadGroup,
    fork::{self, ForgetInChild, PerProcess, Process},
    later,
    sync::{Condvar, Mutex, MutexGuard, now},
    wake,
};
use fourway_core::{Timer, context, implement, time};

use self::pending::{Entry, Pending};

/// Timers driven by one thread, which starts with the first timer that has to
/// wait. A clone is another handle on the same timers.
///
/// The thread ends when no timer has been pending for a [second](KEEP_ALIVE), when it is
/// told to [`close`](Self::close), or when the last handle is dropped. In the first case, the next
/// timer starts another thread. In the other cases, the [process-wide](Self::global) timers take
/// over the pending ones, so that a timer always fires.
///
/// Wakers are called on the timer thread, which counts as running async code. One that does not return
/// holds up the timers behind it ([no blocking in async code](fourway_core::contract#BL-2)), until
/// these are [closed](Self::close).
///
/// In a forked child, timers from before the fork are served by the child's process-wide
/// ones ([forked children](fourway_core::contract#FK-1)).
#[derive(Clone)]
pub struct Timers {
    owner: Arc<Owner>,
}

/// How long the thread of [`Timers`] is kept while no timer is pending.
///
/// Long enough that code which sleeps again and again starts no thread each time; short
/// enough that the thread is gone soon after the last runtime ([orderly
/// shutdown](fourway_core::contract#SH-1)).
pub const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// The thread and the timers hold `Inner` alone.
struct Owner {
    inner: ForgetInChild<Arc<Inner>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.inner.close();
    }
}

struct Inner {
    /// In any other process its thread is not there, and its lock may be held for ever.
    process: Process,
    state: Mutex<State>,
    /// Those that the thread is about to call. Not its own, so that another thread can take them if one
    /// does not return; nor in the state, whose lock would be taken for each. Locked after the state,
    /// or alone.
    due: Mutex<VecDeque<Waker>>,
    changed: Condvar,
    /// Signalled when the thread does not look at the timers any more, and when a helper has ended.
    ended: Condvar,
    name: String,
    /// One that serves the timers, those before it that may still be ending, and helpers.
    threads: ThreadGroup,
}

#[derive(Default)]
struct State {
    pending: Pending,
    /// Does the thread look at the timers? It says under the lock that it ends, so that
    /// a timer is either seen by it or starts the next.
    running: bool,
    /// Is it calling wakers? These may take long.
    calling: bool,
    /// How many threads call wakers in its place, after the end.
    helpers: usize,
    alarm: Alarm,
    closed: bool,
}

/// When the thread is going to look at the timers. Dropping a timer does not change it: one
/// needless wake-up is cheaper than a notification for every timer that is set and dropped again,
/// as most timeouts are. The thread is notified only if no timer is left and it would sleep for
/// longer than it is kept, so that it can end. That happens at most once each [`KEEP_ALIVE`],
/// because the thread then looks after that time.
#[derive(Default)]
enum Alarm {
    /// Soon: it is awake, or has been notified.
    #[default]
    Soon,
    At(Instant),
}

impl Alarm {
    fn is_too_late_for(&self, deadline: Instant) -> bool {
        match self {
            Self::Soon => false,
            Self::At(time) => deadline < *time,
        }
    }
}

impl Timers {
    /// Timers whose thread will be called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        fork::watch();
        let inner = Arc::new(Inner {
            process: Process::this(),
            state: Mutex::default(),
            due: Mutex::default(),
            changed: Condvar::new(),
            ended: Condvar::new(),
            name: name.into(),
            threads: ThreadGroup::new(),
        });
        Self {
            owner: Arc::new(Owner {
                inner: ForgetInChild::new(inner),
            }),
        }
    }

    /// The timers of the process, which never close. A forked child has its own.
    pub fn global() -> &'static Self {
        static GLOBAL: PerProcess<Timers> = PerProcess::new();
        GLOBAL.get_or_init(|| Self::new("fourway-timer"))
    }

    /// Has `waker` called after so long. Unlike a [`Sleep`] it cannot be taken back. `waker` is not
    /// called at all if no thread can be started, or if these timers close before.
    pub(crate) fn wake_after(&self, time: Duration, waker: Waker) {
        if let Some(deadline) = now().checked_add(time) {
            self.owner.inner.set(None, deadline, waker);
        }
    }

    /// Lets the thread end; pending timers move to the process-wide thread.
    /// Does not wait.
    ///
    /// Their wakers are called, by the thread before it ends; or by another that is started for it,
    /// if it is busy with a waker. If a waker does not return either, those after it are left to
    /// [`wait_ended`](Self::wait_ended), or to another call of this. Only if the system has no
    /// thread, they are called here.
    pub fn close(&self) {
        self.owner.inner.close();
    }

    /// Waits until no thread of these timers calls wakers any more, after [`close`](Self::close), or
    /// until `deadline`. `false` if one still does: then [`join`](Self::join) would wait for it. The
    /// wakers that have to wait for the one that it calls are given to another thread.
    pub fn wait_ended(&self, deadline: Option<Instant>) -> bool {
        self.owner.inner.wait_ended(deadline)
    }

    /// Waits for the thread to end, after [`close`](Self::close), with the destructors of its
    /// thread-locals, and for those before it. The thread runs wakers, and at its end the
    /// destructors of the thread-locals that these have used: the wait is as long as they take. If
    /// several threads call it at once, each waits. The timer thread itself does not wait for
    /// itself, nor for a timer thread that is waiting for it.
    pub fn join(&self) {
        self.owner.inner.threads.join();
    }
}

impl Timer for Timers {
    type Sleep = Sleep;

    fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(later(now(), duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep {
            deadline,
            timers: Arc::clone(&self.owner.inner),
            entry: None,
        }
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.owner.inner;
        let pending = (!inner.is_inherited()).then(|| inner.lock().pending.len());
        f.debug_struct("Timers")
            .field("pending", &pending.unwrap_or(0))
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under the lock, so that nothing can poison it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_due(&self) -> MutexGuard<'_, VecDeque<Waker>> {
        // As above.
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn is_inherited(&self) -> bool {
        !self.process.is_this()
    }

    fn close(self: &Arc<Self>) {
        if self.is_inherited() {
            return;
        }
        let mut state = self.lock();
        state.closed = true;
        // The thread calls them, as wakers may be slow, or need what the caller holds. Behind a
        // waker that does not return they would wait without end.
        let unserved = match state.running && !state.calling {
            true => VecDeque::new(),
            false => self.help(&mut state),
        };
        drop(state);
        self.changed.notify_all();
        // At their next poll, the timers see that this thread is gone and turn to the process-wide
        // one.
        unserved.into_iter().for_each(wake);
    }

    /// Starts a thread that calls all wakers but those that are being called: the caller must not
    /// block ([dropping a handle never blocks](fourway_core::contract#SH-2)), and these may be stuck
    /// for the same reason as the one before them. Gives the wakers if there is no thread for them.
    fn help(self: &Arc<Self>, state: &mut State) -> VecDeque<Waker> {
        let mut due = self.lock_due();
        due.extend(std::iter::from_fn(|| state.pending.pop_first()));
        if due.is_empty() {
            return VecDeque::new();
        }
        drop(due);
        let inner = self.clone();
        let life = move || {
            let _mark = implement::enter(context::Context::Async, None);
            inner.call_due();
            // The one that started this holds the lock until it has counted it.
            inner.lock().helpers -= 1;
            inner.ended.notify_all();
        };
        match self.threads.spawn(self.name.clone(), None, life) {
            Ok(()) => {
                state.helpers += 1;
                VecDeque::new()
            }
            Err(_) => std::mem::take(&mut *self.lock_due()),
        }
    }

    fn wait_ended(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        if self.is_inherited() {
            return true;
        }
        let mut state = self.lock();
        while state.running || state.helpers > 0 {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now()));
            if left.is_some_and(|left| left.is_zero()) {
                // As in `close`: they must not wait for a waker that may never return. A thread
                // that calls none is left to begin, as wakers may need what the caller holds.
                let unserved = match state.closed && (state.calling || state.helpers > 0) {
                    true => self.help(&mut state),
                    false => VecDeque::new(),
                };
                drop(state);
                unserved.into_iter().for_each(wake);
                return false;
            }
            state = match left {
                Some(left) => {
                    let waited = self.ended.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => (self.ended.wait(state)).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }

    /// Has `waker` called at `deadline`, in place of that of an earlier entry. Gives the
    /// entry, and whether there is a thread for it; `None` if this is closed.
    fn set(
        self: &Arc<Self>,
        entry: Option<Entry>,
        deadline: Instant,
        waker: Waker,
    ) -> Option<(Entry, bool)> {
        let mut state = self.lock();
        if state.closed {
            // The waker is dropped outside of the lock.
            drop(state);
            return None;
        }
        let replaced = match entry {
            Some(entry) => state
                .pending
                .replace(entry, waker)
                .map(|before| (entry, before)),
            None => Err(waker),
        };
        let (entry, before) = match replaced {
            Ok((entry, before)) => (entry, Some(before)),
            Err(waker) => (state.pending.insert(deadline, waker), None),
        };
        let notify = state.alarm.is_too_late_for(deadline);
        if notify {
            state.alarm = Alarm::Soon;
        }
        let started = self.ensure_thread(&mut state);
        drop(state);
        drop(before);
        if notify {
            self.changed.notify_one();
        }
        Some((entry, started))
    }

    /// Is there a thread now?
    fn ensure_thread(self: &Arc<Self>, state: &mut State) -> bool {
        if !state.running {
            let inner = self.clone();
            let life = move || inner.run();
            let started = self.threads.spawn(self.name.clone(), None, life);
            // The thread takes the lock first, and so sees this.
            state.running = started.is_ok();
        }
        state.running
    }

    fn run(&self) {
        let _mark = implement::enter(context::Context::Async, None);
        // Since when has no timer been pending?
        let mut idle: Option<Instant> = None;
        let mut state = self.lock();
        while !state.closed {
            let now = now();
            if state.pending.first().is_some_and(|first| first <= now) {
                idle = None;
                state.calling = true;
                state.pending.take_due(now, &mut self.lock_due());
                drop(state);
                self.call_due();
                state = self.lock();
                state.calling = false;
                continue;
            }
            let left = match state.pending.first() {
                Some(deadline) => {
                    idle = None;
                    state.alarm = Alarm::At(deadline);
                    deadline.saturating_duration_since(now)
                }
                None => {
                    let idle = now.saturating_duration_since(*idle.get_or_insert(now));
                    let left = KEEP_ALIVE.saturating_sub(idle);
                    if left.is_zero() {
                        break;
                    }
                    state.alarm = Alarm::At(now + left);
                    left
                }
            };
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.alarm = Alarm::Soon;
        }
        // Only if this was closed. They stay there until their turn, as this one may not return:
        // others can still take them.
        while let Some(waker) = state.pending.pop_first() {
            state.calling = true;
            drop(state);
            wake(waker);
            state = self.lock();
        }
        (state.running, state.calling) = (false, false);
        // Of a time when many were due at once.
        self.lock_due().shrink_to_fit();
        drop(state);
        self.ended.notify_all();
    }

    fn call_due(&self) {
        loop {
            // The lock is not held in the body.
            let waker = self.lock_due().pop_front();
            let Some(waker) = waker else { return };
            wake(waker);
        }
    }
}

/// A timer of [`Timers`].
///
/// # Cancel safety
///
/// Dropping it has no effect, except that its waker is not called.
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Sleep {
    deadline: Instant,
    timers: Arc<Inner>,
    entry: Option<Entry>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        loop {
            if now() >= deadline {
                drop(self.forget());
                return Poll::Ready(());
            }
            if self.timers.is_inherited() {
                self.move_to_process();
            }
            // Cloned before the lock is taken, because it is user code.
            let waker = cx.waker().clone();
            let Some((key, started)) = self.timers.set(self.entry, deadline, waker) else {
                self.move_to_process();
                continue;
            };
            self.entry = Some(key);
            if !started {
                // No thread could be started. Slow, but right: the executor polls again until there
                // is one, or until the time has come.
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
    }
}

impl time::Sleep for Sleep {
    fn reset_after(self: Pin<&mut Self>, duration: Duration) {
        self.reset(later(now(), duration));
    }

    fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        self.deadline = deadline;
        // Without a waker, the timer was not polled, or its task was woken and is going to poll
        // again.
        let Some(waker) = self.forget() else { return };
        // A deadline that has passed has the thread wake at once.
        let set = self.timers.set(None, deadline, waker.clone());
        self.entry = set.map(|(entry, _)| entry);
        if set.is_none_or(|(_, started)| !started) {
            // Closed, or no thread: the poll that follows handles it.
            wake(waker);
        }
    }
}

impl Sleep {
    /// The thread of its timers is gone, or is the parent's.
    fn move_to_process(&mut self) {
        self.entry = None;
        let before = std::mem::replace(&mut self.timers, Arc::clone(&Timers::global().owner.inner));
        if before.is_inherited() {
            // The last one would drop the handle of a thread that is not there.
            std::mem::forget(before);
        }
    }

    /// Takes the timer back, and gives the waker that was waiting.
    fn forget(&mut self) -> Option<Waker> {
        if self.timers.is_inherited() {
            self.move_to_process();
        }
        let key = self.entry.take()?;
        let mut state = self.timers.lock();
        let waker = state.pending.remove(key);
        let oversleeps = state.pending.is_empty()
            && matches!(state.alarm, Alarm::At(time) if time > now() + KEEP_ALIVE);
        if oversleeps {
            state.alarm = Alarm::Soon;
        }
        drop(state);
        if oversleeps {
            self.timers.changed.notify_one();
        }
        waker
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        drop(self.forget());
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

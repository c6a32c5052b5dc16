//! The parts of the standard library that the models run on, made from those of
//! shuttle.
//!
//! Shuttle's own parts never time out, wake spuriously or fail. Here:
//!
//! * **Time** stands still until someone waits for it. A timed wait that runs out
//!   moves the clock; besides, it ticks now and then when it is read.
//! * **A timed wait** of less than a [`LONG`] time always runs out, sooner or
//!   later than anything else that happens. A longer wait may run out, or may last until it is
//!   notified. Then a lost notification is a deadlock, which shuttle reports. Either may run out at
//!   the very moment at which it is notified.
//! * **Any wait** may end without a reason.
//! * **Starting a thread** fails as often as the model asks for.

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
    sync::{LockResult, PoisonError},
    time::{Duration, Instant},
};

use ::shuttle::rand::{Rng, thread_rng};

pub use ::shuttle::sync::atomic;

pub use super::process::{LocalKey, OnceLock, thread_local};

use super::process::{advance, forget, time};

/// Waits of this length may outlast everything else that a model does.
pub const LONG: Duration = Duration::from_secs(1);
/// Waits of this length never run out.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Once in `of` times, as the scheduler decides.
pub fn one_in(of: u32) -> bool {
    thread_rng().gen_ratio(1, of)
}

/// Lets the other threads go on for a while.
fn pass_time() {
    while !one_in(2) {
        thread::yield_now();
    }
}

// ---------------------------------------------------------------------------
// The clock, and the parts that a process has once

std::thread_local! {
    static FAILURES: Cell<u32> = const { Cell::new(0) };
}

/// The time in the model.
pub fn now() -> Instant {
    if one_in(8) {
        advance(Duration::from_millis(1));
    }
    time()
}

/// Starts the process anew. Call it first in each execution.
pub fn begin() {
    forget();
    FAILURES.set(0);
}

/// From here on, starting a thread fails once in so many times. Zero: never.
pub fn fail_thread_starts(one_in: u32) {
    FAILURES.set(one_in);
}

// ---------------------------------------------------------------------------
// Locks

#[derive(Default)]
pub struct Mutex<T> {
    inner: ::shuttle::sync::Mutex<T>,
}

pub struct MutexGuard<'a, T> {
    inner: ::shuttle::sync::MutexGuard<'a, T>,
    mutex: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self {
            inner: ::shuttle::sync::Mutex::new(value),
        }
    }

    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let wrap = |inner| MutexGuard { inner, mutex: self };
        match self.inner.lock() {
            Ok(inner) => Ok(wrap(inner)),
            Err(poisoned) => Err(PoisonError::new(wrap(poisoned.into_inner()))),
        }
    }

    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.inner.get_mut()
    }
}

impl<T> std::fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mutex")
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[derive(Debug, Default)]
pub struct Condvar {
    inner: ::shuttle::sync::Condvar,
}

pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    #[track_caller]
    pub const fn new() -> Self {
        Self {
            inner: ::shuttle::sync::Condvar::new(),
        }
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        if one_in(8) {
            return give_up(guard);
        }
        let mutex = guard.mutex;
        let wrap = |inner| MutexGuard { inner, mutex };
        match self.inner.wait(guard.inner) {
            Ok(inner) => Ok(wrap(inner)),
            Err(poisoned) => Err(PoisonError::new(wrap(poisoned.into_inner()))),
        }
    }

    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let ends = time < FOREVER;
        let (guard, timed_out) = if ends && (time < LONG || one_in(2)) {
            (give_up(guard), true)
        } else {
            let guard = self.wait(guard);
            (guard, ends && one_in(4))
        };
        if timed_out {
            advance(time);
        }
        let result = WaitTimeoutResult(timed_out);
        match guard {
            Ok(guard) => Ok((guard, result)),
            Err(poisoned) => Err(PoisonError::new((poisoned.into_inner(), result))),
        }
    }

    pub fn notify_one(&self) {
        self.inner.notify_one();
    }

    pub fn notify_all(&self) {
        self.inner.notify_all();
    }
}

/// A wait that ended before anyone could notify it. It takes the lock again
/// after any time, so that anything may have happened meanwhile.
fn give_up<T>(guard: MutexGuard<'_, T>) -> LockResult<MutexGuard<'_, T>> {
    let mutex = guard.mutex;
    drop(guard);
    pass_time();
    mutex.lock()
}

// ---------------------------------------------------------------------------
// Threads

pub mod thread {
    use std::{
        io,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    pub use ::shuttle::thread::{Result, Thread, ThreadId, current, park, yield_now};
    pub use std::thread::{available_parallelism, panicking};

    use super::{FAILURES, LONG, advance, one_in, pass_time};

    /// Runs out, or is woken before; the caller cannot tell. A long wait does not always run out,
    /// so that a timeout does not save a thread from a lost wake-up.
    pub fn park_timeout(time: Duration) {
        if time < LONG || one_in(2) {
            pass_time();
            advance(time);
        } else {
            park();
        }
    }

    #[derive(Debug, Default)]
    pub struct Builder {
        inner: ::shuttle::thread::Builder,
    }

    impl Builder {
        pub fn new() -> Self {
            Self::default()
        }

        pub fn name(self, name: String) -> Self {
            Self {
                inner: self.inner.name(name),
            }
        }

        pub fn stack_size(self, _bytes: usize) -> Self {
            self
        }

        pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
        where
            F: FnOnce() -> T + Send + 'static,
            T: Send + 'static,
        {
            if FAILURES.get() > 0 && one_in(FAILURES.get()) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let finished = Arc::new(AtomicBool::new(false));
            let inner = self.inner.spawn({
                let finished = finished.clone();
                move || {
                    let result = f();
                    finished.store(true, Ordering::Relaxed);
                    result
                }
            })?;
            Ok(JoinHandle { inner, finished })
        }
    }

    #[derive(Debug)]
    pub struct JoinHandle<T> {
        inner: ::shuttle::thread::JoinHandle<T>,
        finished: Arc<AtomicBool>,
    }

    impl<T> JoinHandle<T> {
        pub fn join(self) -> Result<T> {
            self.inner.join()
        }

        pub fn thread(&self) -> &Thread {
            self.inner.thread()
        }

        pub fn is_finished(&self) -> bool {
            self.finished.load(Ordering::Relaxed)
        }
    }

    pub fn spawn<F, T>(f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Builder::new()
            .spawn(f)
            .expect("a model's own threads start")
    }
}

// ---------------------------------------------------------------------------
// Running models

/// Explores `model` with a random scheduler and with one that changes threads
/// rarely, at moments of its own choice.
///
/// `FOURWAY_MODEL_ITERATIONS` says how many executions each makes.
pub fn check(model: impl Fn() + Send + Sync + Copy + 'static) {
    use ::shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};

    fn run(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) {
        let mut config = ::shuttle::Config::new();
        config.stack_size = 0x2_0000;
        config.silence_warnings = true;
        config.max_steps = ::shuttle::MaxSteps::FailAfter(100_000);
        let model = move || {
            begin();
            // One of the schedulers wants something to choose in each execution.
            let other = thread::spawn(thread::yield_now);
            thread::yield_now();
            other.join().expect("does nothing");
            model();
        };
        ::shuttle::Runner::new(scheduler, config).run(model);
    }

    let iterations = std::env::var("FOURWAY_MODEL_ITERATIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1500);
    run(RandomScheduler::new(iterations), model);
    run(PctScheduler::new(2, iterations / 2), model);
    run(PctScheduler::new(4, iterations / 2), model);
}

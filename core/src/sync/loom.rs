//! The parts of the standard library that the models run on, made from those of loom.
//!
//! Loom explores all schedules, up to a number of preemptions, and all that the memory orderings
//! allow. Differences from the standard library:
//!
//! * **Time** stands still until someone waits for it.
//! * **A timed wait** of a thread [runs out](waits_run_out) at once, or when all others wait;
//!   whatever it does next may come before or after what the others do.
//! * **Parking** is made of a lock and a condition variable: loom's own loses a token that is given
//!   to a thread that yields, and takes a token for a thread that waits for a lock as the wake-up
//!   for the lock.

use std::{cell::Cell, time::Instant};

pub use ::loom::sync::{Condvar, Mutex, MutexGuard, atomic};

pub use super::process::{LocalKey, OnceLock, thread_local};

use super::process::{advance, forget, time};

/// The time in the model.
pub fn now() -> Instant {
    time()
}

std::thread_local! {
    // Of the system's thread, on which all threads of one model run.
    static AT_ONCE: Cell<bool> = const { Cell::new(false) };
}

/// From here on, timed waits run out at once; or, as in the beginning, when all other
/// threads wait.
pub fn waits_run_out(at_once: bool) {
    AT_ONCE.set(at_once);
}

/// Explores `model`, up to three preemptions unless `LOOM_MAX_PREEMPTIONS` says otherwise.
pub fn check(model: impl Fn() + Send + Sync + 'static) {
    check_up_to(3, model);
}

/// As [`check`], for models that have too many schedules with three preemptions.
pub fn check_up_to(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(move || {
        forget();
        waits_run_out(false);
        model();
    });
}

pub mod thread {
    use std::{io, sync::Arc, time::Duration};

    pub use ::loom::thread::yield_now;
    pub use std::thread::{Result, available_parallelism, panicking};

    use ::loom::sync::{Condvar, Mutex};
    pub use ::loom::thread::ThreadId;

    use super::{AT_ONCE, LocalKey, advance};

    static CURRENT: LocalKey<Thread> = LocalKey::new(|| Thread {
        id: ::loom::thread::current().id(),
        token: Arc::default(),
    });

    pub fn current() -> Thread {
        CURRENT.with(Thread::clone)
    }

    #[derive(Clone, Debug)]
    pub struct Thread {
        id: ThreadId,
        token: Arc<(Mutex<bool>, Condvar)>,
    }

    impl Thread {
        pub fn id(&self) -> ThreadId {
            self.id
        }

        pub fn unpark(&self) {
            *self.token.0.lock().expect("never poisoned") = true;
            self.token.1.notify_one();
        }
    }

    pub fn park() {
        let (token, given) = &*current().token;
        let mut token = token.lock().expect("never poisoned");
        while !*token {
            token = given.wait(token).expect("never poisoned");
        }
        *token = false;
    }

    /// Runs out, see [the module](super). Takes no token.
    pub fn park_timeout(time: Duration) {
        if !AT_ONCE.get() {
            yield_now();
        }
        advance(time);
    }

    #[derive(Debug, Default)]
    pub struct Builder;

    impl Builder {
        pub fn new() -> Self {
            Self
        }

        pub fn name(self, _name: String) -> Self {
            self
        }

        pub fn stack_size(self, _bytes: usize) -> Self {
            self
        }

        pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
        where
            F: FnOnce() -> T + Send + 'static,
            T: Send + 'static,
        {
            Ok(spawn(f))
        }
    }

    #[derive(Debug)]
    pub struct JoinHandle<T>(::loom::thread::JoinHandle<T>);

    impl<T> JoinHandle<T> {
        pub fn join(self) -> Result<T> {
            self.0.join()
        }

        pub fn thread(&self) -> &::loom::thread::Thread {
            self.0.thread()
        }

        /// Always `false`: a caller may always be too early to know.
        pub fn is_finished(&self) -> bool {
            false
        }
    }

    pub fn spawn<F, T>(f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        JoinHandle(::loom::thread::spawn(f))
    }
}

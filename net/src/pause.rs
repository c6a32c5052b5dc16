//! Waiting a moment before the next try: [`Pause`].

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fourway_adapt::timer::{Sleep, Timers};

use fourway_core::Timer;

use crate::error::is_exhausted;

/// Keeps an accept loop from spinning while the process has no descriptors: the listener
/// is ready all that time.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    until: Option<Instant>,
    length: Duration,
}

const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(500);

impl Pause {
    /// The pause before the next try, if one is needed.
    ///
    /// It uses a timer of the process, as a listener must not keep its runtime alive.
    pub(crate) fn sleep(&self) -> Option<Sleep> {
        let until = self.lock().until?;
        (until > Instant::now()).then(|| Timers::global().sleep_until(until))
    }

    /// Records the result of a try. Each failure in a row doubles the pause.
    pub(crate) fn after<T>(&self, result: io::Result<T>) -> io::Result<T> {
        match &result {
            Err(error) if is_exhausted(error) => {
                let mut state = self.lock();
                state.length = (state.length * 2).clamp(FIRST, LONGEST);
                state.until = Some(Instant::now() + state.length);
            }
            Ok(_) => {
                let mut state = self.lock();
                if state.until.is_some() {
                    *state = State::default();
                }
            }
            Err(_) => {}
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under this lock, so it cannot be poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Errors of `accept` that concern one connection, which is gone; the next may succeed. Linux
/// passes on the network's error for it.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | NetworkDown | NetworkUnreachable
    )
}

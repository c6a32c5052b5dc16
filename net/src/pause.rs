//! Waiting a moment before the next try: [`Pause`].

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fourway_adapt::timer::{Sleep, Timers};

use fourway_core::Timer;

use crate::error::{is_forked, is_shutdown};

/// Prevents an accept loop from spinning while `accept` fails, for example in a process without
/// free descriptors: the listener stays ready.
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

    /// Records the result of a try. Each failure in a row doubles the pause, whatever the error: an
    /// unknown error may be permanent.
    pub(crate) fn after<T>(&self, result: io::Result<T>) -> io::Result<T> {
        match &result {
            // No pause: these errors are returned at once, as a forked child has no timers.
            Err(error) if is_shutdown(error) || is_forked(error) => {}
            Err(_) => {
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
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under this lock, so it cannot be poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Errors of `accept` that concern one connection, which is gone; the next may succeed. Linux
/// passes on the network's error for it (`accept(2)`, "Error handling").
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable,
        TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    ) || is_passed_on(error)
}

/// The errors among them without an `ErrorKind`.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_passed_on(error: &io::Error) -> bool {
    const ENONET: i32 = 64;
    const EPROTO: i32 = 71;
    const ENOPROTOOPT: i32 = 92;
    const EHOSTDOWN: i32 = 112;
    // Without EOPNOTSUPP, which a socket that cannot listen gives as well, and EPERM, which a
    // process without permission gets: both are permanent, and skipping them would spin.
    matches!(
        error.raw_os_error(),
        Some(ENONET | EPROTO | ENOPROTOOPT | EHOSTDOWN)
    )
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_passed_on(_: &io::Error) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Refused;

    const EMFILE: i32 = 24;
    const EINVAL: i32 = 22;

    #[test]
    fn failures_in_a_row_make_longer_pauses() {
        for code in [EMFILE, EINVAL] {
            let pause = Pause::default();
            assert!(pause.sleep().is_none());
            let mut before = Duration::ZERO;
            for _ in 0..20 {
                pause
                    .after::<()>(Err(io::Error::from_raw_os_error(code)))
                    .unwrap_err();
                let length = pause.lock().length;
                assert!(length > before || length == LONGEST, "{code}: {length:?}");
                before = length;
            }
            assert_eq!(before, LONGEST);
            assert!(pause.sleep().is_some());
            pause.after(Ok(())).unwrap();
            assert!(pause.sleep().is_none());
        }
    }

    #[test]
    fn no_pause_for_what_is_final_here() {
        let pause = Pause::default();
        for refused in [Refused::ShutDown, Refused::Forked] {
            pause.after::<()>(Err(refused.error())).unwrap_err();
            assert!(pause.sleep().is_none());
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_of_one_connection() {
        const ECONNABORTED: i32 = 103;
        const EPROTO: i32 = 71;
        let is_of_one = |code| is_of_one_connection(&io::Error::from_raw_os_error(code));
        assert!([ECONNABORTED, EPROTO].into_iter().all(is_of_one));
        assert!(![EMFILE, EINVAL, 12, 23, 105].into_iter().any(is_of_one));
    }
}

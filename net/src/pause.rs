//! Waiting a moment before the next try: [`Pause`], [`pause`].

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use fourway_adapt::timer::{Sleep, Timers};

use fourway_core::Timer;

use crate::{
    error::{is_forked, is_shutdown},
    io::{Io, Socket},
};

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
    /// Waits before the next try, if that is needed. Any number of tasks may wait.
    ///
    /// # Errors
    ///
    /// At once if the listener cannot be used any more.
    pub(crate) async fn wait<S: Socket>(&self, listener: &Io<S>) -> io::Result<()> {
        // First: in a forked child the lock may be held for ever, and there may be no timers.
        listener.check_fork()?;
        let Some(mut sleep) = self.sleep() else {
            return Ok(());
        };
        let mut refused = pin!(listener.refused());
        poll_fn(|cx| {
            listener.check_fork()?;
            if let Poll::Ready(error) = refused.as_mut().poll(cx) {
                return Poll::Ready(Err(error));
            }
            Pin::new(&mut sleep).poll(cx).map(Ok)
        })
        .await
    }

    /// As `wait`, for one task, which keeps its `pause`.
    pub(crate) fn poll_wait<S: Socket>(
        &self,
        cx: &mut Context<'_>,
        listener: &Io<S>,
        pause: &mut Option<Sleep>,
    ) -> Poll<io::Result<()>> {
        listener.check_fork()?;
        if pause.is_none() {
            *pause = self.sleep();
        }
        let Some(sleep) = pause else {
            return Poll::Ready(Ok(()));
        };
        if let Poll::Ready(error) = listener.poll_refused(cx) {
            *pause = None;
            return Poll::Ready(Err(error));
        }
        ready!(Pin::new(sleep).poll(cx));
        *pause = None;
        Poll::Ready(Ok(()))
    }

    /// It uses a timer of the process, as a listener must not keep its runtime alive.
    fn sleep(&self) -> Option<Sleep> {
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

/// Waits for this long, by a timer of the process. It does not see the shutdown: the caller's next
/// use of the socket does.
///
/// # Errors
///
/// In a forked child, as the socket is the parent's.
pub(crate) async fn pause<S: Socket>(socket: &Io<S>, length: Duration) -> io::Result<()> {
    socket.check_fork()?;
    let mut sleep = Timers::global().sleep_until(Instant::now() + length);
    poll_fn(|cx| {
        socket.check_fork()?;
        Pin::new(&mut sleep).poll(cx).map(Ok)
    })
    .await
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
    use std::{net::TcpListener, task::Waker, thread};

    use fourway_core::{AnyRuntime, BlockOn, Runtime, Shutdown};
    use fourway_testing::{
        AGES, any, any_current_thread, any_smol, any_tokio, forked, poll_once, run,
    };

    use super::*;
    use crate::{Reactor, error::Refused};

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

    /// A listener that pauses for ever.
    fn pausing<R: Runtime>(rt: &R) -> (Io<TcpListener>, Pause) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let pause = Pause::default();
        pause.lock().until = Some(Instant::now() + Duration::from_secs(1 << 20));
        (Reactor::of(rt).unwrap().register(listener).unwrap(), pause)
    }

    fn on_each(test: fn(AnyRuntime)) {
        [any(), any_tokio(), any_current_thread(), any_smol()]
            .into_iter()
            .for_each(test);
    }

    #[test]
    fn who_pauses_is_told_of_the_shutdown() {
        on_each(|rt| {
            let (listener, pause) = pausing(&rt);
            let mut sleep = None;
            // By another runtime, as this one ends.
            run(&any(), async {
                let mut waiting = pin!(pause.wait(&listener));
                let mut polling = pin!(poll_fn(|cx| pause.poll_wait(cx, &listener, &mut sleep)));
                assert!(poll_once(waiting.as_mut()).await.is_pending());
                assert!(poll_once(polling.as_mut()).await.is_pending());
                let ender = rt.clone();
                // On a thread without async code, where a shutdown may block.
                let ending = thread::spawn(move || ender.shutdown(AGES).unwrap());
                assert!(is_shutdown(&waiting.await.unwrap_err()));
                assert!(is_shutdown(&polling.await.unwrap_err()));
                // Also who begins to wait only then.
                assert!(is_shutdown(&pause.wait(&listener).await.unwrap_err()));
                ending.join().unwrap();
            });
        });
    }

    #[test]
    fn a_forked_child_neither_pauses_nor_takes_the_lock() {
        on_each(|rt| {
            let (listener, pause) = pausing(&rt);
            let held = pause.lock();
            let _parents = forked((&listener, &pause), |(listener, pause)| {
                rt.block_on(async {
                    let cx = &mut Context::from_waker(Waker::noop());
                    let polled = pause.poll_wait(cx, listener, &mut None);
                    assert!(matches!(polled, Poll::Ready(Err(error)) if is_forked(&error)));
                    assert!(is_forked(&pause.wait(listener).await.unwrap_err()));
                });
            });
            drop(held);
        });
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

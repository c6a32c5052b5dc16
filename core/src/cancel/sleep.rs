//! Waiting on a thread for some time or for a token.

use std::{
    pin::pin,
    sync::{Arc, PoisonError},
    task::{Wake, Waker},
    time::{Duration, Instant},
};

use super::{CancellationToken, Cancelled, Reason};
use crate::{
    implement::{self, Host, Parking, lend},
    sync::{Condvar, Mutex, now},
};

/// A condition of its own, because other code may wait for the thread's park token.
#[derive(Default)]
struct Alarm {
    rung: Mutex<bool>,
    condition: Condvar,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.condition.notify_one();
    }
}

pub(super) fn sleep(token: &CancellationToken, duration: Duration) -> Result<(), Cancelled> {
    token.check()?;
    if let Some(host) = implement::host() {
        return sleep_in(&*host, token, duration);
    }
    // One clock for the whole sleep: a deadline that is set meanwhile may bring another one, by which
    // the end would be at another time.
    let clock = token.node.deadline().map(|deadline| deadline.clock.clone());
    let time = || -> Instant {
        match &clock {
            Some(clock) => clock.now(),
            None => now(),
        }
    };
    // `None`: beyond what the clock can express.
    let end = time().checked_add(duration);
    let alarm = Arc::new(Alarm::default());
    let mut registration = Registration { token, key: None };
    if token
        .node
        .register(&mut registration.key, &Waker::from(alarm.clone()))
        .is_none()
    {
        return Err(token.error());
    }
    // Lent only if the thread has to wait, and once, however often it wakes up. The slot is taken
    // back after the last wait, with no lock held.
    let mut lent = None;
    loop {
        // With no lock held: the clock is the runtime's, and checking an expired token wakes all
        // its waiters, this thread among them.
        let deadline = token.node.deadline();
        let until_deadline = deadline.map(|it| it.at.saturating_duration_since(it.clock.now()));
        if until_deadline.is_some_and(|left| left.is_zero()) {
            token.check()?;
        }
        let until_end = end.map(|end| end.saturating_duration_since(time()));
        if until_end.is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
        if lent.is_none() {
            lent = Some(lend());
        }
        // The hooks are user code: begun before the lock is taken, and ended after it.
        let _parking = Parking::begin();
        let mut rung = alarm.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *rung) {
            drop(rung);
            // If it was woken because of a deadline, its waker has been taken.
            let waker = Waker::from(alarm.clone());
            let registered = token.node.register(&mut registration.key, &waker);
            if registered.is_none() {
                return Err(token.error());
            }
            continue;
        }
        // A deadline that was set since then has rung the alarm.
        match [until_end, until_deadline].into_iter().flatten().min() {
            Some(left) => drop(alarm.condition.wait_timeout(rung, left)),
            None => drop(alarm.condition.wait(rung)),
        }
    }
}

/// On a thread whose runtime decides who runs: by a timer of it.
fn sleep_in(
    host: &dyn Host,
    token: &CancellationToken,
    duration: Duration,
) -> Result<(), Cancelled> {
    let mut slept = None;
    let waited = {
        let sleeping = async {
            slept = Some(token.run_until_cancelled(host.sleep(duration)).await);
        };
        host.wait_and_lend(pin!(sleeping))
    };
    match waited {
        Ok(()) => slept.expect("a host returns when the future is ready"),
        Err(_) => Err(Cancelled::new(Reason::Shutdown)),
    }
}

struct Registration<'a> {
    token: &'a CancellationToken,
    key: Option<usize>,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.token.node.unregister(key);
        }
    }
}

//! Timers of `async-io`, with a slot between the reactor and the user's waker.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use fourway_adapt::{
    fork::ForgetInChild,
    later,
    timer::{self, Timers},
};
use fourway_core::{Timer, context, implement, time};

use crate::{Smol, runtime::smol_is_usable};

impl Timer for Smol {
    type Sleep = Sleep;

    fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(later(Instant::now(), duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep {
            deadline,
            armed: None,
            own: None,
        }
    }
}

/// A timer of `async-io`.
///
/// Making a timer costs nothing; a timer that has to wait allocates once. The reactor would keep
/// the waker of a dropped timer until it turns the next time. Instead it keeps a slot, from which
/// dropping the timer takes the waker ([timers work anywhere](fourway_core::contract#TI-2)).
///
/// Wakers are called on the thread that turns the reactor: a worker, a thread in
/// `block_on`, or `async-io`'s own. It counts as running async code meanwhile.
///
/// # Cancel safety
///
/// Dropping it gives up the timer and has no other effect.
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Sleep {
    deadline: Instant,
    /// From the first poll that has to wait.
    armed: Option<ForgetInChild<Armed>>,
    /// In a forked child, in place of `armed`.
    own: Option<timer::Sleep>,
}

struct Armed {
    timer: async_io::Timer,
    slot: Arc<Slot>,
    /// The slot as a waker; always the same one, so that the reactor hears of
    /// the timer once, however many tasks poll it.
    waker: Waker,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        if Instant::now() >= deadline {
            self.armed = None;
            return Poll::Ready(());
        }
        if !smol_is_usable() {
            let own = self
                .own
                .get_or_insert_with(|| Timers::global().sleep_until(deadline));
            return Pin::new(own).poll(cx);
        }
        let armed = self.armed.get_or_insert_with(|| {
            let slot = Arc::new(Slot::default());
            ForgetInChild::new(Armed {
                timer: async_io::Timer::at(deadline),
                waker: Waker::from(slot.clone()),
                slot,
            })
        });
        let armed = &mut **armed;
        // Before the timer is asked: if it fires in between, it finds the waker.
        armed.slot.set(cx.waker());
        let poll = Pin::new(&mut armed.timer).poll(&mut Context::from_waker(&armed.waker));
        if poll.is_ready() {
            self.armed = None;
        }
        poll.map(drop)
    }
}

impl time::Sleep for Sleep {
    fn reset_after(self: Pin<&mut Self>, duration: Duration) {
        self.reset(later(Instant::now(), duration));
    }

    fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        self.deadline = deadline;
        if !smol_is_usable() {
            if let Some(own) = &mut self.own {
                Pin::new(own).reset(deadline);
            }
        } else if let Some(armed) = &mut self.armed {
            // Registered again under its waker, which is the slot.
            armed.timer.set_at(deadline);
        }
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        let waker = self.slot.lock().take();
        drop(waker);
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// The waker for the reactor. It passes the call on to the last waker that polled.
#[derive(Default)]
struct Slot {
    waker: Mutex<Option<Waker>>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        // No user code runs under the lock, so that nothing can poison it.
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, waker: &Waker) {
        if self.lock().as_ref().is_some_and(|w| w.will_wake(waker)) {
            return;
        }
        // Cloned and dropped outside of the lock, because it is user code.
        let waker = waker.clone();
        let before = self.lock().replace(waker);
        drop(before);
    }
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waker = self.lock().take();
        if let Some(waker) = waker {
            // The thread turns the reactor now: blocking it would hold up all I/O (BL-2, no
            // blocking in async code).
            let _mark = implement::enter(context::Context::Async, None);
            // A panic in it would end the thread that serves all timers and sockets.
            implement::wake(waker);
        }
    }
}

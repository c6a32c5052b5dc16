//! Timers of `async-io`, with a slot between the reactor and the user's waker.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use fourway_adapt::{
    WakerSlot,
    fork::ForgetInChild,
    later,
    timer::{self, Timers},
};
use fourway_core::{Timer, time};

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
    /// Its waker is always the same one, so that the reactor hears of the timer once, however many
    /// tasks poll it.
    slot: WakerSlot,
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
            ForgetInChild::new(Armed {
                timer: async_io::Timer::at(deadline),
                slot: WakerSlot::new(),
            })
        });
        let armed = &mut **armed;
        // Before the timer is asked: if it fires in between, it finds the waker.
        armed.slot.set(cx.waker());
        let poll = Pin::new(&mut armed.timer).poll(&mut Context::from_waker(armed.slot.waker()));
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

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

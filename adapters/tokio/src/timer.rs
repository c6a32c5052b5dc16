use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use fourway_adapt::{
    WakerSlot, discard,
    fork::ForgetInChild,
    later,
    timer::{self, Timers},
};
use fourway_core::Timer;
use tokio::{runtime::Handle, task::coop, time};

use crate::{Tokio, block_on::context_is_gone};

/// Tokio's timers, and its clock, which `tokio::time::pause` stops.
impl Timer for Tokio {
    type Sleep = Sleep;

    fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(later(self.now(), duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep {
            deadline: time::Instant::from_std(deadline),
            clock: self.shared.clock.clone(),
            native: None,
            moved: false,
            fallback: None,
        }
    }

    fn now(&self) -> Instant {
        now(&self.shared.clock)
    }
}

/// What a timer has of its runtime. Not more: a task that sleeps would own the runtime that
/// it runs on, which would never end (JO-5, every join resolves).
pub(crate) struct Clock {
    handle: Handle,
    /// Set before the native runtime goes.
    closed: AtomicBool,
    /// Has it a time driver? Found out with the first timer.
    has_time: OnceLock<bool>,
}

impl Clock {
    pub(crate) fn new(handle: Handle) -> Self {
        Self {
            handle,
            closed: AtomicBool::new(false),
            has_time: OnceLock::new(),
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        // Acquire pairs with the Release in `close`.
        self.closed.load(Ordering::Acquire)
    }

    /// Was the runtime built with `enable_time`? Tokio says so only by a panic, which
    /// the panic hook reports once.
    fn has_time(&self) -> bool {
        *self.has_time.get_or_init(|| {
            let made = catch_unwind(|| drop(time::sleep(Duration::ZERO)));
            made.map_err(discard).is_ok()
        })
    }
}

fn now(clock: &ForgetInChild<Clock>) -> Instant {
    if ForgetInChild::is_inherited(clock) || context_is_gone() {
        return Instant::now();
    }
    // A paused clock is the runtime's own, and looked up in its context.
    let _entered = clock.handle.enter();
    time::Instant::now().into_std()
}

/// A timer of [`Tokio`].
///
/// Tokio's own, made at the first poll that has to wait, which allocates. If the runtime
/// shuts down meanwhile, has no time driver, or is that of a forked child's parent, the
/// timers of fourway take over, so that it fires in any case.
///
/// # Cancel safety
///
/// Dropping it has no effect, except that its waker is not called.
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Sleep {
    deadline: time::Instant,
    clock: Arc<ForgetInChild<Clock>>,
    /// In a box, so that it can be forgotten: Tokio's list of timers goes through it, and
    /// to take it off that list in a forked child takes a lock that may be held for ever.
    native: Option<ForgetInChild<Armed>>,
    /// Since its last poll.
    moved: bool,
    fallback: Option<timer::Sleep>,
}

struct Armed {
    timer: Pin<Box<time::Sleep>>,
    /// Between Tokio's driver and a waker that may panic, from the first of these on: the driver's
    /// thread is a worker, and Tokio ends the process when one unwinds.
    slot: Option<WakerSlot>,
}

impl Armed {
    fn new(deadline: time::Instant) -> Self {
        Self {
            timer: Box::pin(time::sleep_until(native(deadline))),
            slot: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        WakerSlot::between(&mut self.slot, cx, |cx| {
            poll_native(self.timer.as_mut(), cx)
        })
    }
}

fn poll_native(mut timer: Pin<&mut time::Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    match timer.as_mut().poll(cx) {
        // The task has used up its budget, and Tokio's timers neither begin nor report that
        // they have fired. Beside work that is always ready, a time limit would never fire.
        Poll::Pending if !coop::has_budget_remaining() => pin!(coop::unconstrained(timer)).poll(cx),
        poll => poll,
    }
}

/// A deadline for Tokio, which rounds up, and panics if that overflows.
fn native(deadline: time::Instant) -> time::Instant {
    const TICK: Duration = Duration::from_millis(1);
    match deadline.checked_add(TICK) {
        Some(_) => deadline,
        None => deadline - TICK,
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let deadline = this.deadline;
        if let Some(fallback) = &mut this.fallback {
            return Pin::new(fallback).poll(cx);
        }
        let clock = &this.clock;
        if ForgetInChild::is_inherited(clock) {
            this.native = None;
            let fallback = Timers::global().sleep_until(deadline.into_std());
            return Pin::new(this.fallback.insert(fallback)).poll(cx);
        }
        let moved = std::mem::take(&mut this.moved);
        if (moved || this.native.is_none()) && !context_is_gone() {
            let _entered = clock.handle.enter();
            // Tokio's timers are never ready at the first poll, nor at the first one after a
            // move: they round up to the driver's next tick.
            if time::Instant::now() >= deadline {
                this.native = None;
                return Poll::Ready(());
            }
            if this.native.is_none() && !clock.is_closed() && clock.has_time() {
                this.native = Some(ForgetInChild::new(Armed::new(deadline)));
            }
        }
        if clock.is_closed() {
            this.native = None;
        }
        if let Some(native) = &mut this.native {
            // Polled after its runtime was shut down, Tokio's timer panics. That may still happen
            // on a runtime that other code shuts down.
            match catch_unwind(AssertUnwindSafe(|| native.poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => {
                    // This also drops the waker, which Tokio would keep.
                    this.native = None;
                    return Poll::Ready(());
                }
                Err(payload) => discard(payload),
            }
            this.native = None;
        }
        let fallback = this
            .fallback
            .insert(Timers::global().sleep_until(deadline.into_std()));
        Pin::new(fallback).poll(cx)
    }
}

impl fourway_core::time::Sleep for Sleep {
    fn reset_after(self: Pin<&mut Self>, duration: Duration) {
        let deadline = later(now(&self.clock), duration);
        self.reset(deadline);
    }

    fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        let this = &mut *self;
        this.deadline = time::Instant::from_std(deadline);
        // At most one of the two is there, and each keeps the waker that it has.
        if let Some(fallback) = &mut this.fallback {
            Pin::new(fallback).reset(deadline);
        } else if ForgetInChild::is_inherited(&this.clock) {
            // Its driver is the parent's; the next poll finds another timer.
            this.native = None;
        } else if let Some(native) = &mut this.native {
            native.timer.as_mut().reset(self::native(this.deadline));
            this.moved = true;
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

//! The task that wakes up for deadlines: [`Ticker`]. There is one while there are deadlines.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use fourway_core::{Timer, time::BoxSleep};

use crate::{clock::nanos, shared::Shared, store::Effects};

pub(crate) struct Ticker {
    shared: Arc<Shared>,
    sleep: Option<BoxSleep>,
    /// It has run, and would go on.
    is_pending: bool,
    is_over: bool,
}

impl Ticker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            sleep: None,
            is_pending: false,
            is_over: false,
        }
    }
}

impl Future for Ticker {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Not while it runs: the clock is user code and may panic.
        self.is_pending = false;
        let polled = self.tick(cx);
        self.is_pending = polled.is_pending();
        polled
    }
}

impl Ticker {
    fn tick(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let this = self;
        let shared = &this.shared;
        let clock = shared.watch.clock();
        let step = clock.step();
        loop {
            // Registered before it looks: a jump after that wakes it.
            clock.on_change(cx.waker());
            let now = shared.watch.look();
            let waker = cx.waker().clone();
            let mut fx = Effects::default();
            let sleep = shared.lock().tick(now, waker, step.map(nanos), &mut fx);
            this.is_over = sleep.is_none();
            shared.apply(&mut fx);
            let Some(sleep) = sleep else {
                return Poll::Ready(());
            };
            if step.is_none() {
                // The clock says when it has gone on.
                return Poll::Pending;
            }
            let sleep = Duration::from_nanos(sleep);
            match &mut this.sleep {
                Some(timer) => timer.as_mut().reset_after(sleep),
                none => *none = Some(shared.runtime.sleep(sleep)),
            }
            let timer = this.sleep.as_mut().expect("set above");
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        if !self.is_over && self.shared.is_here() {
            let waker = self.shared.lock().ticker_lost();
            drop(waker);
            // A ticker that never ran is not replaced, as a runtime that takes no more tasks drops
            // every task. A ticker that panicked is not replaced either, as the next would panic
            // too.
            self.shared.ticker_lost(self.is_pending);
        }
    }
}

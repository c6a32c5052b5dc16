//! A wait that no forked child goes on with: [`WaitInProcess`].

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use fourway_core::{cancel::WaitForCancellation, implement::fork::Process};

/// Waits for a token of a process. In a forked child it is ready at once, and what it waited for is
/// left alone: the token's lock may be held for ever (FK-1, forked children).
pub(crate) struct WaitInProcess {
    process: Process,
    /// `None` if there is nothing to wait for.
    waiting: Option<WaitForCancellation>,
}

impl WaitInProcess {
    pub(crate) fn new(process: Process, waiting: Option<WaitForCancellation>) -> Self {
        Self { process, waiting }
    }
}

impl Future for WaitInProcess {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let here = self.process.is_this();
        match &mut self.waiting {
            Some(waiting) if here => Pin::new(waiting).poll(cx).map(drop),
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for WaitInProcess {
    fn drop(&mut self) {
        if !self.process.is_this() {
            mem::forget(self.waiting.take());
        }
    }
}

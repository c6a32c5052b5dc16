use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{Call, CallError, driven::Drive, parts::Parts};
use crate::{Elapsed, Timer, task::Metadata, time};

/// A call and how long it may take.
pub struct Limited<C> {
    call: C,
    duration: Duration,
}

impl<C> Limited<C> {
    pub(super) fn new(call: C, duration: Duration) -> Self {
        Self { call, duration }
    }
}

impl<C> fmt::Debug for Limited<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited")
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}

impl<C: Call> Drive for Limited<C> {
    type Output = Result<C::Output, Elapsed>;
    type Runtime = <C as Parts>::Runtime;
    type Future = LimitedFuture<<C as Parts>::Runtime, C::Fallible>;

    fn runtime(&self) -> Self::Runtime {
        self.call.runtime()
    }

    fn future(self, metadata: Metadata) -> Self::Future {
        LimitedFuture {
            start: Some(Start {
                runtime: self.call.runtime(),
                duration: self.duration,
                future: self.call.fallible_with(metadata),
            }),
            timeout: None,
        }
    }
}

pin_project! {
    /// The fallible future of a call with a limit in time, which is counted from the first
    /// poll.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the call, as the end of the time does.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct LimitedFuture<R: Timer, F> {
        start: Option<Start<R, F>>,
        #[pin]
        timeout: Option<time::Timeout<F, R::Sleep>>,
    }
}

struct Start<R, F> {
    runtime: R,
    duration: Duration,
    future: F,
}

impl<R, F, T> Future for LimitedFuture<R, F>
where
    R: Timer,
    F: Future<Output = Result<T, CallError>>,
{
    type Output = Result<Result<T, Elapsed>, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(start) = this.start.take() {
            let timeout = start.runtime.timeout(start.duration, start.future);
            this.timeout.set(Some(timeout));
        }
        let timeout = this.timeout.as_pin_mut().expect("set at the first poll");
        Poll::Ready(match ready!(timeout.poll(cx)) {
            Ok(Ok(output)) => Ok(Ok(output)),
            Ok(Err(error)) => Err(error),
            Err(elapsed) => Ok(Err(elapsed)),
        })
    }
}

impl<R: Timer, F> fmt::Debug for LimitedFuture<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedFuture")
            .field("started", &self.start.is_none())
            .finish_non_exhaustive()
    }
}

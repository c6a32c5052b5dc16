//! hyper's executor and timer: [`Hyper`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use fourway_core::{Spawner, Timer, time::Sleep};
use pin_project_lite::pin_project;

/// A runtime as `hyper::rt::Executor` and `hyper::rt::Timer`.
///
/// As an executor it spawns detached tasks, which hyper ends itself. As a timer it resets its
/// existing sleeps, where hyper would otherwise make new ones.
///
/// It is for programs that drive hyper over their own I/O. Programs with `fourway-hyper` take it from
/// there: it is the same type, `fourway_hyper::Hyper`, and needs no dependency on this crate.
///
/// hyper's I/O is not here. The crate `fourway-hyper` has it for the sockets of `fourway-net`,
/// with a server and a client around them; any other `hyper::rt::{Read, Write}` that works on the
/// runtime can be used as well.
///
/// # Examples
///
/// ```
/// use fourway_core::Runtime;
/// use fourway_interop::hyper::Hyper;
/// use hyper::{client::conn::http2, rt::{Read, Write}};
/// use std::time::Duration;
///
/// fn client<R: Runtime>(rt: R) -> http2::Builder<Hyper<R>> {
///     let mut builder = http2::Builder::new(Hyper::new(rt.clone()));
///     builder
///         .timer(Hyper::new(rt))
///         .keep_alive_interval(Duration::from_secs(20));
///     builder
/// }
/// # async fn connect<R: Runtime, T: Read + Write + Unpin + Send + 'static>(rt: R, io: T) {
/// # let _ = client(rt).handshake::<_, http_body_util::Empty<&[u8]>>(io).await;
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Hyper<R> {
    runtime: R,
}

impl<R> Hyper<R> {
    /// Wraps `runtime`.
    pub fn new(runtime: R) -> Self {
        Self { runtime }
    }

    /// The runtime underneath.
    pub fn get_ref(&self) -> &R {
        &self.runtime
    }
}

impl<R, F> hyper::rt::Executor<F> for Hyper<R>
where
    R: Spawner,
    F: Future<Output: Send + 'static> + Send + 'static,
{
    #[track_caller]
    fn execute(&self, future: F) {
        self.runtime.spawn_detached(future);
    }
}

impl<R: Timer> hyper::rt::Timer for Hyper<R> {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let sleep = self.runtime.sleep(duration);
        Box::pin(HyperSleep { sleep })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let sleep = self.runtime.sleep_until(deadline);
        Box::pin(HyperSleep { sleep })
    }

    // hyper computes its deadlines from it, and the runtime's clock may go another way than the
    // system's.
    fn now(&self) -> Instant {
        self.runtime.now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, new_deadline: Instant) {
        let ours = sleep.as_mut().downcast_mut_pin::<HyperSleep<R::Sleep>>();
        match ours {
            Some(ours) => ours.project().sleep.reset(new_deadline),
            // Made by another timer.
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}

pin_project! {
    /// A timer of [`Hyper`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it only cancels the wake-up.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct HyperSleep<S> {
        #[pin]
        sleep: S,
    }
}

impl<S: Sleep> Future for HyperSleep<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.poll(cx)
    }
}

impl<S: Sleep> hyper::rt::Sleep for HyperSleep<S> {}

impl<S> fmt::Debug for HyperSleep<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperSleep").finish_non_exhaustive()
    }
}

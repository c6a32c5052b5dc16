//! Streamed bodies: a request's, [`Lent`] to the attempts, and an answer's, [`Passing`].

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use fourway_core::Runtime;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};

use crate::{Metrics, gateway::Admission, log::Line};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The body type of answers.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The body of a request. An attempt that did not begin to send it leaves it to the next one.
pub(crate) struct Lender<R: Runtime>(Arc<Shared<R>>);

struct Shared<R: Runtime> {
    /// `None` once an attempt has begun to read it.
    body: Mutex<Option<Incoming>>,
    /// How many pieces were passed on.
    passed: AtomicU64,
    /// An attempt waits for the client's next piece.
    is_awaited: AtomicBool,
    /// It did not come in time.
    is_late: AtomicBool,
    /// It was malformed, or the client has gone.
    is_broken: AtomicBool,
    runtime: R,
    timeout: Duration,
    /// The request counts until its body has ended: the answer may end before.
    admission: Arc<Admission<R>>,
}

impl<R: Runtime> Lender<R> {
    /// Of a client that sends its next piece within `timeout`.
    pub(crate) fn new(
        body: Incoming,
        runtime: R,
        timeout: Duration,
        admission: Arc<Admission<R>>,
    ) -> Self {
        Self(Arc::new(Shared {
            body: Mutex::new(Some(body)),
            passed: AtomicU64::new(0),
            is_awaited: AtomicBool::new(false),
            is_late: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
            runtime,
            timeout,
            admission,
        }))
    }

    /// For one attempt.
    pub(crate) fn lend(&self) -> Lent<R> {
        Lent {
            from: self.0.clone(),
            body: None,
            silence: None,
        }
    }

    /// Has no attempt begun to read it?
    pub(crate) fn is_untouched(&self) -> bool {
        self.0.lock().is_some()
    }

    /// How many pieces were passed on.
    pub(crate) fn passed(&self) -> u64 {
        // Relaxed: seeing a piece a moment later is harmless.
        self.0.passed.load(Ordering::Relaxed)
    }

    /// Does an attempt wait for the client, for as long as the client's limit allows?
    pub(crate) fn is_awaited(&self) -> bool {
        // Relaxed: as above.
        self.0.is_awaited.load(Ordering::Relaxed)
    }

    /// Did an attempt fail because the client stopped in the middle?
    pub(crate) fn is_late(&self) -> bool {
        // Relaxed: the error that follows it comes through a channel, which orders the two.
        self.0.is_late.load(Ordering::Relaxed)
    }

    /// Did an attempt fail because the client's body did?
    pub(crate) fn is_broken(&self) -> bool {
        // Relaxed: as above.
        self.0.is_broken.load(Ordering::Relaxed)
    }
}

impl<R: Runtime> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, Option<Incoming>> {
        // No code panics under this lock.
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of one attempt. A body that another attempt has read is used up, so only requests
/// without a body are repeated then.
pub(crate) struct Lent<R: Runtime> {
    from: Arc<Shared<R>>,
    body: Option<Incoming>,
    /// Also limits a client after an answer that came before the end of the request.
    silence: Option<Pin<Box<R::Sleep>>>,
}

// None of its fields are pinned.
impl<R: Runtime> Unpin for Lent<R> {}

impl<R: Runtime> hyper::body::Body for Lent<R> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.body.is_none() {
            let body = this.from.lock().take();
            this.body = body;
        }
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(cx);
        this.from
            .is_awaited
            .store(frame.is_pending(), Ordering::Relaxed);
        if frame.is_ready() {
            this.silence = None;
            this.from.passed.fetch_add(1, Ordering::Relaxed);
            if matches!(frame, Poll::Ready(Some(Err(_)))) {
                // Relaxed: see `is_late`.
                this.from.is_broken.store(true, Ordering::Relaxed);
            }
            return frame.map_err(Into::into);
        }
        if is_silent(&mut this.silence, &this.from.runtime, this.from.timeout, cx) {
            // Relaxed: see `is_late`.
            this.from.is_late.store(true, Ordering::Relaxed);
            // Counted here: after an early answer nobody else learns of it.
            this.from.admission.metrics().body_timeouts.add();
            return late("the client stopped in the middle of its request");
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Some(body) => body.is_end_stream(),
            None => self
                .from
                .lock()
                .as_ref()
                .is_none_or(Incoming::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => {
                let body = self.from.lock();
                let hint = body.as_ref().map(Incoming::size_hint);
                hint.unwrap_or_else(|| SizeHint::with_exact(0))
            }
        }
    }
}

/// Has nothing come for so long?
fn is_silent<R: Runtime>(
    silence: &mut Option<Pin<Box<R::Sleep>>>,
    runtime: &R,
    timeout: Duration,
    cx: &mut Context<'_>,
) -> bool {
    let sleep = silence.get_or_insert_with(|| Box::pin(runtime.sleep(timeout)));
    let is_over = sleep.as_mut().poll(cx).is_ready();
    if is_over {
        *silence = None;
    }
    is_over
}

fn late<T>(problem: &str) -> Poll<Option<Result<T, BoxError>>> {
    let error = io::Error::new(io::ErrorKind::TimedOut, problem);
    Poll::Ready(Some(Err(error.into())))
}

/// The body of an answer: logged when it ends, and cut off when the upstream stops in
/// the middle of it.
pub(crate) struct Passing<R: Runtime> {
    pub(crate) body: Body,
    pub(crate) runtime: R,
    /// At most this long for each piece.
    pub(crate) timeout: Duration,
    pub(crate) silence: Option<Pin<Box<R::Sleep>>>,
    pub(crate) line: Line,
    pub(crate) metrics: Arc<Metrics>,
    /// Kept until its end.
    pub(crate) _admission: Option<Arc<Admission<R>>>,
}

// None of its fields are pinned.
impl<R: Runtime> Unpin for Passing<R> {}

impl<R: Runtime> hyper::body::Body for Passing<R> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.silence = None;
                // Trailers end the answer, and are not passed on: they may be of one hop only, and an
                // HTTP/2 client that finds one of those resets a stream that it has got all of.
                let frame = frame.filter(|frame| !frame.as_ref().is_ok_and(Frame::is_trailers));
                match &frame {
                    Some(Ok(frame)) => {
                        let bytes = frame.data_ref().map_or(0, Bytes::len);
                        this.line.entry.bytes += bytes as u64;
                    }
                    Some(Err(_)) => {}
                    None => this.line.entry.is_complete = true,
                }
                Poll::Ready(frame)
            }
            Poll::Pending => {
                // The timeout runs only while the client reads: a slow client does not poll.
                if !is_silent(&mut this.silence, &this.runtime, this.timeout, cx) {
                    return Poll::Pending;
                }
                this.metrics.timeouts.add();
                late("the upstream stopped in the middle of its answer")
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<R: Runtime> Drop for Passing<R> {
    fn drop(&mut self) {
        // An answer with a known length is not polled for more.
        self.line.entry.is_complete |= self.body.is_end_stream();
    }
}

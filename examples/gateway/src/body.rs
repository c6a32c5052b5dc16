//! Streamed bodies: a request's, [`Lent`] to the attempts, and an answer's, [`Passing`].

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use fourway_core::Runtime;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};

use crate::{Log, Metrics, log::Entry};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The body type of answers.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The body of a request. An attempt that did not begin to send it leaves it to the next one.
#[derive(Clone)]
pub(crate) struct Lender(Arc<Shared>);

struct Shared {
    /// `None` once an attempt has begun to read it.
    body: Mutex<Option<Incoming>>,
    /// How many pieces were passed on.
    passed: AtomicU64,
}

impl Lender {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(Arc::new(Shared {
            body: Mutex::new(Some(body)),
            passed: AtomicU64::new(0),
        }))
    }

    /// For one attempt.
    pub(crate) fn lend(&self) -> Lent {
        Lent {
            from: self.clone(),
            body: None,
        }
    }

    /// Has no attempt begun to read it?
    pub(crate) fn is_untouched(&self) -> bool {
        self.lock().is_some()
    }

    /// How many pieces were passed on.
    pub(crate) fn passed(&self) -> u64 {
        // Relaxed: seeing a piece a moment later is harmless.
        self.0.passed.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Incoming>> {
        // No code panics under this lock.
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of one attempt. A body that another attempt has read is used up, so only requests
/// without a body are repeated then.
pub(crate) struct Lent {
    from: Lender,
    body: Option<Incoming>,
}

impl hyper::body::Body for Lent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.body.is_none() {
            let body = self.from.lock().take();
            self.body = body;
        }
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(cx);
        if frame.is_ready() {
            self.from.0.passed.fetch_add(1, Ordering::Relaxed);
        }
        frame.map_err(Into::into)
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

/// The body of an answer: logged when it ends, and cut off when the upstream stops in
/// the middle of it.
pub(crate) struct Passing<R: Runtime, T> {
    pub(crate) body: Body,
    pub(crate) runtime: R,
    /// At most this long for each piece.
    pub(crate) timeout: Duration,
    pub(crate) silence: Option<Pin<Box<R::Sleep>>>,
    pub(crate) entry: Entry,
    pub(crate) log: Log,
    pub(crate) metrics: Arc<Metrics>,
    /// Kept until its end.
    pub(crate) _admission: T,
}

// None of its fields are pinned.
impl<R: Runtime, T> Unpin for Passing<R, T> {}

impl<R: Runtime, T> hyper::body::Body for Passing<R, T> {
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
                match &frame {
                    Some(Ok(frame)) => {
                        let bytes = frame.data_ref().map_or(0, Bytes::len);
                        this.entry.bytes += bytes as u64;
                    }
                    Some(Err(_)) => {}
                    None => this.entry.is_complete = true,
                }
                Poll::Ready(frame)
            }
            Poll::Pending => {
                // The timeout runs only while the client reads: a slow client does not poll.
                let (runtime, timeout) = (&this.runtime, this.timeout);
                let silence = this
                    .silence
                    .get_or_insert_with(|| Box::pin(runtime.sleep(timeout)));
                if silence.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.silence = None;
                this.metrics.timeouts.add();
                let error = io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the upstream stopped in the middle of its answer",
                );
                Poll::Ready(Some(Err(error.into())))
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

impl<R: Runtime, T> Drop for Passing<R, T> {
    fn drop(&mut self) {
        // An answer with a known length is not polled for more.
        self.entry.is_complete |= self.body.is_end_stream();
        self.metrics
            .logged(self.log.line(|| self.entry.to_string()));
    }
}

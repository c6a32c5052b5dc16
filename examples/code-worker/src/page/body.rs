//! The body of an answer: a text, or all messages of a worker to a client.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use hyper::body::{Bytes, Frame};

use crate::worker::Connection;

pub(super) struct Body {
    first: Option<Bytes>,
    answers: Option<Answers>,
}

/// Dropped when the client is gone; the connection and its sessions end with it.
struct Answers {
    connection: Arc<Connection>,
    gone: Box<dyn Fn() + Send>,
}

impl Drop for Answers {
    fn drop(&mut self) {
        (self.gone)();
    }
}

impl Body {
    pub(super) fn empty() -> Self {
        Self {
            first: None,
            answers: None,
        }
    }

    pub(super) fn text(text: &'static str) -> Self {
        Self {
            first: Some(Bytes::from_static(text.as_bytes())),
            answers: None,
        }
    }

    /// This line, and then the messages to the client, until the client has asked for the end.
    pub(super) fn answers(
        first: String,
        connection: Arc<Connection>,
        gone: impl Fn() + Send + 'static,
    ) -> Self {
        Self {
            first: Some(first.into()),
            answers: Some(Answers {
                connection,
                gone: Box::new(gone),
            }),
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    // Polled only when there is room to write to the client: so unread messages stay in the outbox,
    // where writers must wait.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(answers) = &self.answers else {
            return Poll::Ready(None);
        };
        let connection = &answers.connection;
        // The outbox keeps the waker; the future keeps nothing.
        let pop = |cx: &mut Context<'_>| pin!(connection.outbox().pop()).poll(cx);
        let mut next = pop(cx);
        if next.is_pending() && connection.is_over() {
            // The same: the requests keep it.
            if pin!(connection.idle()).poll(cx).is_pending() {
                return Poll::Pending;
            }
            // The last reply may have come in between. If not, it has gone out.
            next = pop(cx);
            if next.is_pending() {
                return Poll::Ready(None);
            }
        }
        next.map(|answer| answer.map(|answer| Ok(Frame::data(Bytes::from(answer.line())))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.answers.is_none()
    }
}

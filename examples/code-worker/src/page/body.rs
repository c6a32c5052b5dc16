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
        // The outbox keeps the waker; the future keeps nothing.
        match pin!(answers.connection.outbox().pop()).poll(cx) {
            Poll::Ready(Some(answer)) => {
                Poll::Ready(Some(Ok(Frame::data(Bytes::from(answer.line())))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            // The last reply has gone out; its arrival woke this task.
            Poll::Pending if answers.connection.is_over() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.answers.is_none()
    }
}

//! A limit for how long a stream may have no room for more bytes: [`Stall`].

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use fourway_core::{Runtime, time::Sleep};

/// Observes the polls of a stream that send.
pub(crate) struct Stall<R: Runtime> {
    runtime: R,
    limit: Option<Duration>,
    /// Kept from one stall to the next: a slow peer has many short ones.
    sleep: Option<Pin<Box<R::Sleep>>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has room, as far as is known.
    Moves,
    /// The limit runs.
    Stalls,
    /// The limit has passed.
    Over,
}

impl<R: Runtime> Stall<R> {
    pub(crate) fn new(runtime: R, limit: Option<Duration>) -> Self {
        Self {
            runtime,
            limit,
            sleep: None,
            state: State::Moves,
        }
    }

    /// Starts the limit when a poll that sends is pending, ends it when such a poll is ready, and
    /// gives an error of the kind `TimedOut` in place of `poll` once it has passed, from then on.
    pub(crate) fn sent<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.state == State::Over {
            // hyper may write on or shut the stream down after the error.
            return Poll::Ready(Err(over()));
        }
        let (Poll::Pending, Some(limit)) = (&poll, self.limit) else {
            self.state = State::Moves;
            return poll;
        };
        let is_new = self.state != State::Stalls;
        self.state = State::Stalls;
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if is_new {
                    sleep.as_mut().reset_after(limit);
                }
                sleep
            }
            none => none.insert(Box::pin(self.runtime.sleep(limit))),
        };
        ready!(sleep.as_mut().poll(cx));
        self.state = State::Over;
        Poll::Ready(Err(over()))
    }

    #[cfg(all(test, feature = "server"))]
    pub(crate) fn runs(&self) -> bool {
        self.state == State::Stalls
    }

    /// Has the limit passed?
    #[cfg(feature = "server")]
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }
}

fn over() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "the peer took too little of what was sent for too long",
    )
}

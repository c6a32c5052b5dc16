//! A stream whose peer is observed while hyper owns it: [`Watched`].

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use fourway_core::Runtime;
use futures_io::{AsyncRead, AsyncWrite};

use super::streams::Noted;
use crate::stall::Stall;

/// A stream with a limit for how long it may have no room for more bytes. It records what the peer
/// has sent, and hands the stream back when hyper drops it.
pub(super) struct Watched<R: Runtime, T> {
    /// `Some` until the drop.
    stream: Option<T>,
    stall: Stall<R>,
    heard: Heard,
    noted: Arc<Noted>,
    back: Returned<T>,
}

/// The stream after hyper has dropped it.
pub(super) struct Remains<T> {
    pub(super) stream: T,
    pub(super) heard: Heard,
    /// There was no room for too long.
    pub(super) is_stalled: bool,
}

/// The place where a dropped [`Watched`] puts its stream. The connection's task takes the stream
/// after it has dropped hyper's connection. The owner of an upgraded stream drops it later, and
/// this place with it.
pub(super) struct Returned<T>(Arc<Mutex<Option<Remains<T>>>>);

impl<R: Runtime, T> Watched<R, T> {
    pub(super) fn new(
        stream: T,
        runtime: &R,
        limit: Option<Duration>,
        noted: &Arc<Noted>,
    ) -> (Self, Returned<T>) {
        let back = Arc::new(Mutex::new(None));
        let this = Self {
            stream: Some(stream),
            stall: Stall::new(runtime.clone(), limit),
            heard: Heard::default(),
            noted: noted.clone(),
            back: Returned(back.clone()),
        };
        (this, Returned(back))
    }

    /// Records whether there is room, and keeps to the limit.
    fn sent<V>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<V>>) -> Poll<io::Result<V>> {
        // Relaxed: see `Streams`, which reads it.
        self.noted
            .is_full
            .store(poll.is_pending(), Ordering::Relaxed);
        self.stall.sent(cx, poll)
    }
}

fn inner<T>(stream: &mut Option<T>) -> &mut T {
    stream.as_mut().expect("it is there until it is dropped")
}

impl<R: Runtime, T: AsyncRead + Unpin> AsyncRead for Watched<R, T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let read = ready!(Pin::new(inner(&mut this.stream)).poll_read(cx, buf))?;
        this.heard.more(&buf[..read]);
        Poll::Ready(Ok(read))
    }
}

impl<R: Runtime, T: AsyncWrite + Unpin> AsyncWrite for Watched<R, T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.heard.answered();
        let poll = Pin::new(inner(&mut this.stream)).poll_write(cx, buf);
        this.sent(cx, poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.heard.answered();
        let poll = Pin::new(inner(&mut this.stream)).poll_write_vectored(cx, bufs);
        this.sent(cx, poll)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(inner(&mut this.stream)).poll_flush(cx);
        this.sent(cx, poll)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(inner(&mut this.stream)).poll_close(cx);
        this.sent(cx, poll)
    }
}

impl<R: Runtime, T> Drop for Watched<R, T> {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            let remains = Remains {
                stream,
                heard: self.heard,
                is_stalled: self.stall.is_over(),
            };
            self.back.put(remains);
        }
    }
}

impl<T> Returned<T> {
    /// Called once, so the place is empty.
    fn put(&self, remains: Remains<T>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(remains);
    }

    pub(super) fn take(self) -> Option<Remains<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What is known of the bytes from the peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    version: Version,
    /// The peer has sent bytes since the last answer.
    something: bool,
}

#[derive(Clone, Copy, Debug)]
enum Version {
    /// All bytes so far, this many, are a prefix of HTTP/2's preface.
    Unknown(u8),
    Http1,
    Http2,
}

impl Default for Version {
    fn default() -> Self {
        Self::Unknown(0)
    }
}

/// An HTTP/2 connection begins with this preface (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Heard {
    fn more(&mut self, bytes: &[u8]) {
        self.something |= !bytes.is_empty();
        let Version::Unknown(known) = &mut self.version else {
            return;
        };
        let left = &PREFACE[usize::from(*known)..];
        let common = left.len().min(bytes.len());
        if left[..common] != bytes[..common] {
            self.version = Version::Http1;
        } else if common == left.len() {
            self.version = Version::Http2;
        } else {
            // The cast is exact: `common` is less than 24.
            *known += common as u8;
        }
    }

    fn answered(&mut self) {
        self.something = false;
    }

    /// Has the head of an HTTP/1 request begun? Called while hyper waits for a head.
    pub(super) fn is_in_a_head(self) -> bool {
        self.something && matches!(self.version, Version::Http1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a byte when it has room.
    struct Sink(bool);

    impl AsyncWrite for Sink {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.0 {
                Poll::Ready(Ok(1))
            } else {
                Poll::Pending
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn whoever_takes_a_little_begins_anew() {
        let limit = Some(fourway_testing::AGES);
        let (mut watched, back) =
            Watched::new(Sink(false), &fourway_testing::any(), limit, &Arc::default());
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        for _ in 0..2 {
            watched.stream = Some(Sink(false));
            assert!(Pin::new(&mut watched).poll_write(cx, b"x").is_pending());
            assert!(watched.stall.runs());
            watched.stream = Some(Sink(true));
            assert!(Pin::new(&mut watched).poll_write(cx, b"x").is_ready());
            assert!(!watched.stall.runs());
            assert!(Pin::new(&mut watched).poll_flush(cx).is_pending());
            assert!(watched.stall.runs());
            assert!(Pin::new(&mut watched).poll_close(cx).is_ready());
            assert!(!watched.stall.runs());
        }
        drop(watched);
        assert!(back.take().is_some_and(|remains| !remains.is_stalled));
    }

    /// Whatever hyper does with the stream after the error.
    #[test]
    fn a_limit_that_has_passed_stays_so() {
        let rt = fourway_testing::any();
        let limit = Some(std::time::Duration::from_millis(1));
        let (mut watched, back) = Watched::new(Sink(false), &rt, limit, &Arc::default());
        let late = std::future::poll_fn(|cx| Pin::new(&mut watched).poll_write(cx, b"x"));
        let error = fourway_testing::run(&rt, late).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let is_late = |poll: Poll<io::Result<()>>| matches!(poll, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut);
        assert!(is_late(Pin::new(&mut watched).poll_close(cx)));
        assert!(is_late(Pin::new(&mut watched).poll_flush(cx)));
        watched.stream = Some(Sink(true));
        let write = Pin::new(&mut watched).poll_write(cx, b"x");
        assert!(is_late(write.map_ok(|_| ())));
        drop(watched);
        assert!(back.take().is_some_and(|remains| remains.is_stalled));
    }

    fn heard(pieces: &[&[u8]]) -> Heard {
        let mut heard = Heard::default();
        pieces.iter().for_each(|piece| heard.more(piece));
        heard
    }

    #[test]
    fn a_head_of_http_1_is_known_by_its_first_bytes() {
        assert!(heard(&[b"GET / HTTP/1.1\r\n"]).is_in_a_head());
        assert!(heard(&[b"P", b"O"]).is_in_a_head());
        assert!(heard(&[b"PR", b"OPFIND"]).is_in_a_head());
        // The version may be either.
        assert!(!heard(&[b"P", b"RI"]).is_in_a_head());
        assert!(!heard(&[&PREFACE[..10], &PREFACE[10..], b"more"]).is_in_a_head());
        assert!(!heard(&[]).is_in_a_head());
    }

    #[test]
    fn after_an_answer_another_head_has_to_begin() {
        let mut heard = heard(&[b"GET / HTTP/1.1\r\n\r\n"]);
        heard.answered();
        assert!(!heard.is_in_a_head());
        heard.more(b"G");
        assert!(heard.is_in_a_head());
    }
}

//! Streams of `futures-io` as hyper's: [`Io`].

#![allow(
    unsafe_code,
    reason = "hyper takes the number of bytes that have been read on trust"
)]

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};
use pin_project_lite::pin_project;

pin_project! {
    /// An `AsyncRead + AsyncWrite` of `futures-io` as `hyper::rt::{Read, Write}`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use fourway_hyper::{Hyper, Io};
    /// # use fourway_core::Runtime;
    /// # use fourway_net::Net;
    /// # async fn example<R: Runtime>(rt: R) -> Result<(), Box<dyn std::error::Error>> {
    /// use hyper::client::conn::http1;
    ///
    /// let stream = rt.connect_tcp("example.org:80").await?;
    /// let (mut sender, connection) = http1::handshake(Io::new(stream)).await?;
    /// rt.spawn_detached(connection);
    /// # let request = hyper::Request::new(http_body_util::Empty::<&[u8]>::new());
    /// let response = sender.send_request(request).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Clone, Copy, Debug)]
    pub struct Io<S> {
        #[pin]
        stream: S,
    }
}

impl<S> Io<S> {
    /// Wraps a stream.
    pub fn new(stream: S) -> Self {
        Self { stream }
    }

    /// The stream underneath.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream underneath.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

/// The size of hyper's buffers at first, and while little arrives. `AsyncRead` needs an initialised
/// buffer, which these are not. Up to this size it reads into a buffer of the thread's, so that
/// a waiting connection touches no page of its buffer before it needs it.
const SMALL: usize = 8 * 1024;

thread_local! {
    /// Zeros, between two reads. On the stack they would be written anew for each read, most of which
    /// take some hundred bytes: 2 % of a server's time with small requests.
    static ZEROS: Cell<Option<Box<[u8; SMALL]>>> = const { Cell::new(None) };
}

/// Reads by `read` into a buffer of zeros, and gives `take` what was read.
fn with_zeros(
    read: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>,
    take: impl FnOnce(&[u8]),
) -> Poll<io::Result<()>> {
    // Taken out, as a stream may read from another `Io`. Without the place, as at the thread's end,
    // each read has a buffer of its own.
    let kept = ZEROS.try_with(Cell::take).ok().flatten();
    let mut zeros = kept.unwrap_or_else(|| Box::new([0; SMALL]));
    let poll = read(&mut *zeros).map_ok(|read| {
        let read = zeros.get_mut(..read).expect(TOO_MUCH);
        take(read);
        // The next connection of this thread does not see these bytes.
        read.fill(0);
    });
    // A stream that fails may have written something before. One that is pending has nothing to write
    // by the meaning of `AsyncRead`: to clear the buffer then, at each wait of a connection, would cost
    // half of what is saved here.
    if !matches!(poll, Poll::Ready(Err(_))) {
        let _ = ZEROS.try_with(|place| place.set(Some(zeros)));
    }
    poll
}

/// The most that is read at once into a grown buffer of up to 400 KiB: this bounds the bytes that
/// are initialised in vain.
const AT_ONCE: usize = 64 * 1024;

const TOO_MUCH: &str = "a stream has read more than there is room for";

impl<S: AsyncRead> Read for Io<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.remaining().min(AT_ONCE);
        let stream = self.project().stream;
        if room <= SMALL {
            let read = |zeros: &mut [u8]| stream.poll_read(cx, &mut zeros[..room]);
            return with_zeros(read, |read| {
                assert!(read.len() <= room, "{TOO_MUCH}");
                buf.put_slice(read);
            });
        }
        let into = buf.initialize_unfilled_to(room);
        let read = ready!(stream.poll_read(cx, into))?;
        assert!(read <= room, "{TOO_MUCH}");
        // SAFETY: as many bytes were initialised just above, or before.
        unsafe { buf.advance(read) };
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite> Write for Io<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_close(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Waker};

    use hyper::rt::ReadBuf;

    use super::*;

    /// Gives a few bytes of another stream, if there is one, and checks its buffer.
    struct Nested(Option<Box<Io<Nested>>>);

    impl AsyncRead for Nested {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            assert!(buf.iter().all(|byte| *byte == 0), "bytes of others");
            let mut read = 0;
            if let Some(inner) = &mut self.0 {
                let mut inner_bytes = [0; 100];
                let mut inner_buf = ReadBuf::new(&mut inner_bytes);
                ready!(Pin::new(inner).poll_read(cx, inner_buf.unfilled()))?;
                read = inner_buf.filled().len();
            }
            buf[..=read].fill(b'x');
            Poll::Ready(Ok(read + 1))
        }
    }

    /// Writes bytes, and fails nevertheless.
    struct Fails;

    impl AsyncRead for Fails {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            buf.fill(b'x');
            Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
        }
    }

    #[test]
    fn what_a_failed_read_has_written_is_not_for_the_next_one() {
        let cx = &mut Context::from_waker(Waker::noop());
        for room in [2, SMALL] {
            let mut bytes = vec![0; room];
            let mut buf = ReadBuf::new(&mut bytes);
            let failed = pin!(Io::new(Fails)).poll_read(cx, buf.unfilled());
            assert!(matches!(failed, Poll::Ready(Err(_))));
            let next = pin!(Io::new(Nested(None))).poll_read(cx, buf.unfilled());
            assert!(matches!(next, Poll::Ready(Ok(()))));
            assert_eq!(buf.filled(), b"x");
        }
    }

    #[test]
    fn each_read_has_a_buffer_of_zeros() {
        let cx = &mut Context::from_waker(Waker::noop());
        let inner = Io::new(Nested(None));
        let mut outer = pin!(Io::new(Nested(Some(Box::new(inner)))));
        for room in [2, 100, SMALL] {
            let mut bytes = vec![0; room];
            let mut buf = ReadBuf::new(&mut bytes);
            assert!(outer.as_mut().poll_read(cx, buf.unfilled()).is_ready());
            assert_eq!(buf.filled(), b"xx");
        }
    }
}

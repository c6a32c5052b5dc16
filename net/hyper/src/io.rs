//! Streams of `futures-io` as hyper's: [`Io`].

#![allow(
    unsafe_code,
    reason = "hyper takes the number of bytes that have been read on trust"
)]

use std::{
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
/// buffer, which these are not. Up to this size it reads into memory on the thread's stack, so that
/// a waiting connection touches no page of its buffer before it needs it.
const SMALL: usize = 8 * 1024;

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
            let mut small = [0; SMALL];
            let read = ready!(stream.poll_read(cx, &mut small[..room]))?;
            assert!(read <= room, "{TOO_MUCH}");
            buf.put_slice(&small[..read]);
            return Poll::Ready(Ok(()));
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

//! A child's ends: [`ChildStdin`], [`ChildStdout`], [`ChildStderr`].

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context, Poll},
};

use futures_io::{AsyncRead, AsyncWrite};

use crate::{
    Reactor,
    io::{Io, Socket},
    split,
};

/// A pipe, which is never a file on a disk, as a reactor has no use for those.
impl Socket for File {}

/// What a child reads. It reads an end when this is dropped or closed.
#[derive(Debug)]
pub struct ChildStdin {
    /// Empty once it is closed: a pipe has an end in no other way.
    io: Option<Io<File>>,
}

/// What a child writes.
#[derive(Debug)]
pub struct ChildStdout {
    io: Io<File>,
}

/// What a child writes of errors.
#[derive(Debug)]
pub struct ChildStderr {
    io: Io<File>,
}

split::descriptor!(ChildStdout);
split::descriptor!(ChildStderr);

/// Which our end alone is non-blocking: the child's is as ever.
fn register(reactor: &Reactor, pipe: OwnedFd) -> io::Result<Io<File>> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    reactor.register(File::from(pipe))
}

fn into_blocking(io: Io<File>) -> io::Result<OwnedFd> {
    let pipe = io.into_socket()?;
    rustix::io::ioctl_fionbio(&pipe, false)?;
    Ok(pipe.into())
}

impl ChildStdin {
    pub(super) fn new(reactor: &Reactor, pipe: OwnedFd) -> io::Result<Self> {
        let io = register(reactor, pipe)?;
        Ok(Self { io: Some(io) })
    }

    /// The standard library's, which blocks: what another command
    /// [writes to](super::Command::stdout), for example.
    ///
    /// # Errors
    ///
    /// * It is closed: [`BrokenPipe`](io::ErrorKind::BrokenPipe).
    /// * This is a forked child: [`is_forked`](crate::is_forked).
    pub fn into_std(self) -> io::Result<std::process::ChildStdin> {
        let io = self.io.ok_or(io::ErrorKind::BrokenPipe)?;
        into_blocking(io).map(Into::into)
    }

    fn open(&self) -> io::Result<&Io<File>> {
        self.io
            .as_ref()
            .ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

/// What was written is there for the child to read: there is nothing to flush. After
/// [`poll_close`](AsyncWrite::poll_close) writing gives
/// [`BrokenPipe`](io::ErrorKind::BrokenPipe), as it does when the child reads no more.
impl AsyncWrite for ChildStdin {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.open()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.open()?.poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        drop(self.io.take());
        Poll::Ready(Ok(()))
    }
}

macro_rules! read {
    ($pipe:ty, $std:ty) => {
        impl $pipe {
            pub(super) fn new(reactor: &Reactor, pipe: OwnedFd) -> io::Result<Self> {
                let io = register(reactor, pipe)?;
                Ok(Self { io })
            }

            /// The standard library's, which blocks: what another command
            /// [reads](super::Command::stdin), for example.
            ///
            /// # Errors
            ///
            /// This is a forked child: [`is_forked`](crate::is_forked).
            pub fn into_std(self) -> io::Result<$std> {
                into_blocking(self.io).map(Into::into)
            }
        }

        impl AsyncRead for $pipe {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.io.poll_read(cx, buf)
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                self.io.poll_read_vectored(cx, bufs)
            }
        }
    };
}

read!(ChildStdout, std::process::ChildStdout);
read!(ChildStderr, std::process::ChildStderr);

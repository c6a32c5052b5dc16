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
    provide::Stream,
    split,
};

/// A pipe. It is never a file on a disk, which a reactor cannot watch.
impl Socket for File {
    type Provided = dyn Stream;
}

/// The input of a child. The child reads an end when this is dropped or closed.
#[derive(Debug)]
pub struct ChildStdin {
    /// Empty once it is closed: only closing the descriptor ends a pipe.
    io: Option<Io<File>>,
}

/// The output of a child.
#[derive(Debug)]
pub struct ChildStdout {
    io: Io<File>,
}

/// The error output of a child.
#[derive(Debug)]
pub struct ChildStderr {
    io: Io<File>,
}

split::descriptor!(ChildStdout);
split::descriptor!(ChildStderr);

/// Makes only our end non-blocking; the child's end is unchanged.
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

    /// The standard library's, which blocks: as the [output](super::Command::stdout) of another
    /// command, for example.
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

/// Written bytes are available to the child at once: there is nothing to flush. After
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

            /// The standard library's, which blocks: as the [input](super::Command::stdin) of
            /// another command, for example.
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

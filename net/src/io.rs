//! A socket that is registered with its runtime's reactor: [`Io`].

use std::{
    fmt,
    io::{self, Read, Write},
    net,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix,
    },
    task::{Context, Poll},
};

use fourway_adapt::fork::ForgetInChild;

use crate::error::Refused;
#[cfg(any(feature = "smol", feature = "std-thread"))]
use crate::reactor::async_io;
#[cfg(feature = "std-thread")]
use crate::reactor::std_thread;
#[cfg(feature = "tokio")]
use crate::reactor::tokio;

/// The direction of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// A socket of the standard library, or another waitable object. It owns its descriptor and keeps
/// the same one as long as it lives; no operation by a shared reference changes it.
pub(crate) trait Socket: AsFd + AsRawFd {}

impl Socket for net::TcpStream {}
impl Socket for net::TcpListener {}
impl Socket for net::UdpSocket {}
impl Socket for unix::net::UnixStream {}
impl Socket for unix::net::UnixListener {}
impl Socket for unix::net::UnixDatagram {}

/// A non-blocking socket of the standard library, and its registration with a reactor.
pub(crate) struct Io<S: Socket> {
    // In a forked child neither is dropped: removing a descriptor from a poller that is shared with
    // the parent would remove the parent's. Empty once `into_socket` has taken it.
    registered: ForgetInChild<Option<Registered<S>>>,
}

enum Registered<S: Socket> {
    #[cfg(feature = "tokio")]
    Tokio(tokio::Registered<S>),
    #[cfg(feature = "std-thread")]
    StdThread(std_thread::Registered<S>),
    #[cfg(any(feature = "smol", feature = "std-thread"))]
    AsyncIo(async_io::Registered<S>),
    #[cfg(not(any(feature = "tokio", feature = "smol", feature = "std-thread")))]
    #[allow(dead_code, reason = "nobody makes a socket without a reactor")]
    None(std::convert::Infallible, S),
}

impl<S: Socket> Io<S> {
    #[cfg(feature = "tokio")]
    pub(crate) fn tokio(registered: tokio::Registered<S>) -> Self {
        Self::new(Registered::Tokio(registered))
    }

    #[cfg(feature = "std-thread")]
    pub(crate) fn std_thread(registered: std_thread::Registered<S>) -> Self {
        Self::new(Registered::StdThread(registered))
    }

    #[cfg(any(feature = "smol", feature = "std-thread"))]
    pub(crate) fn async_io(registered: async_io::Registered<S>) -> Self {
        Self::new(Registered::AsyncIo(registered))
    }

    #[cfg(any(feature = "tokio", feature = "smol", feature = "std-thread"))]
    fn new(registered: Registered<S>) -> Self {
        // A fork must be noticed even if no fourway runtime was made.
        fourway_adapt::fork::watch();
        Self {
            registered: ForgetInChild::new(Some(registered)),
        }
    }

    fn registered(&self) -> &Registered<S> {
        let registered = self.registered.as_ref();
        registered.expect("it is taken out when this ends")
    }

    /// The socket, to change it or its connection.
    ///
    /// In a forked child both are still the parent's: the descriptors are copies, but what they
    /// refer to is shared. So it refuses there what would close the parent's connection, set its
    /// options or take its errors.
    pub(crate) fn own(&self) -> io::Result<&S> {
        self.check_fork()?;
        Ok(self.socket())
    }

    /// The socket itself, to look at. Changes go through [`own`](Self::own).
    pub(crate) fn socket(&self) -> &S {
        match self.registered() {
            #[cfg(feature = "tokio")]
            Registered::Tokio(registered) => registered.socket(),
            #[cfg(feature = "std-thread")]
            Registered::StdThread(registered) => registered.socket(),
            #[cfg(any(feature = "smol", feature = "std-thread"))]
            Registered::AsyncIo(registered) => registered.socket(),
            #[cfg(not(any(feature = "tokio", feature = "smol", feature = "std-thread")))]
            Registered::None(_, socket) => socket,
        }
    }

    #[cfg_attr(
        not(any(feature = "tokio", feature = "smol", feature = "std-thread")),
        allow(unreachable_code, reason = "there is no socket without a reactor")
    )]
    /// The socket, without its registration. It is still non-blocking.
    pub(crate) fn into_socket(mut self) -> io::Result<S> {
        self.check_fork()?;
        let registered = self.registered.take();
        match registered.expect("it is taken out once") {
            #[cfg(feature = "tokio")]
            Registered::Tokio(registered) => registered.into_socket(),
            #[cfg(feature = "std-thread")]
            Registered::StdThread(registered) => registered.into_socket(),
            #[cfg(any(feature = "smol", feature = "std-thread"))]
            Registered::AsyncIo(registered) => registered.into_socket(),
            #[cfg(not(any(feature = "tokio", feature = "smol", feature = "std-thread")))]
            Registered::None(_, socket) => Ok(socket),
        }
    }

    #[inline]
    fn check_fork(&self) -> io::Result<()> {
        if ForgetInChild::is_inherited(&self.registered) {
            return Err(Refused::Forked.error());
        }
        Ok(())
    }

    /// Tries `op` until it does not say "would block", waiting in between. Keeps the last
    /// waker of each direction.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        op: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.poll_drained(cx, direction, op, |_| false)
    }

    /// As `poll`; `is_drained` tells from an output that a further `op` would give "would block".
    fn poll_drained<T>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        op: impl FnMut(&S) -> io::Result<T>,
        is_drained: impl FnMut(&T) -> bool,
    ) -> Poll<io::Result<T>> {
        self.check_fork()?;
        let op = uninterrupted(op);
        match self.registered() {
            #[cfg(feature = "tokio")]
            Registered::Tokio(registered) => registered.poll(cx, direction, op, is_drained),
            #[cfg(feature = "std-thread")]
            Registered::StdThread(registered) => registered.poll(cx, direction, op, is_drained),
            #[cfg(any(feature = "smol", feature = "std-thread"))]
            Registered::AsyncIo(registered) => registered.poll(cx, direction, op, is_drained),
            #[cfg(not(any(feature = "tokio", feature = "smol", feature = "std-thread")))]
            Registered::None(never, _) => {
                let _ = (cx, direction, op, is_drained);
                match *never {}
            }
        }
    }

    /// As `poll`, for any number of tasks at a time.
    ///
    /// Cancel safety: `op` runs in a poll whose result is given at once, so that dropping it
    /// loses nothing.
    pub(crate) async fn run<T>(
        &self,
        direction: Direction,
        op: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        self.check_fork()?;
        let op = uninterrupted(op);
        match self.registered() {
            #[cfg(feature = "tokio")]
            Registered::Tokio(registered) => registered.run(direction, op).await,
            #[cfg(feature = "std-thread")]
            Registered::StdThread(registered) => registered.run(direction, op).await,
            #[cfg(any(feature = "smol", feature = "std-thread"))]
            Registered::AsyncIo(registered) => registered.run(direction, op).await,
            #[cfg(not(any(feature = "tokio", feature = "smol", feature = "std-thread")))]
            Registered::None(never, _) => {
                let _ = (direction, op);
                match *never {}
            }
        }
    }
}

/// Repeats a call that a signal interrupted.
fn uninterrupted<S, T>(mut op: impl FnMut(&S) -> io::Result<T>) -> impl FnMut(&S) -> io::Result<T> {
    move |socket| {
        loop {
            match op(socket) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// For streams.
impl<S> Io<S>
where
    S: Socket,
    for<'a> &'a S: Read + Write,
{
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let room = buf.len();
        let drained = move |read: &usize| 0 < *read && *read < room;
        let read = |mut socket: &S| socket.read(buf);
        self.poll_drained(cx, Direction::Read, read, drained)
    }

    pub(crate) fn poll_read_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, Direction::Read, |mut socket| socket.read_vectored(bufs))
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let drained = |written: &usize| 0 < *written && *written < buf.len();
        let write = |mut socket: &S| socket.write(buf);
        self.poll_drained(cx, Direction::Write, write, drained)
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = |mut socket: &S| socket.write_vectored(bufs);
        self.poll(cx, Direction::Write, write)
    }
}

impl<S: Socket> AsFd for Io<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl<S: Socket + fmt::Debug> fmt::Debug for Io<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket().fmt(f)
    }
}

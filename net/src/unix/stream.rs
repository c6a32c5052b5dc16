//! A connection: [`UnixStream`].

use std::{
    io,
    net::Shutdown,
    os::unix::net::{self, SocketAddr},
};

use fourway_core::Runtime;

use crate::{OwnedReadHalf, OwnedWriteHalf, Reactor, io::Io, split};

/// A connection between processes of a machine. Made by
/// [`Net::connect_unix`](crate::Net::connect_unix),
/// [`UnixListener::accept`](crate::UnixListener::accept) and [`pair`](Self::pair).
///
/// Reads and writes by `AsyncRead` and `AsyncWrite` of `futures-io`. Forked children:
/// [`TcpStream`](crate::TcpStream).
#[derive(Debug)]
pub struct UnixStream {
    io: Io<net::UnixStream>,
}

split::stream!(UnixStream);
split::descriptor!(UnixStream);

impl UnixStream {
    /// Two streams that are connected with each other.
    ///
    /// # Errors
    ///
    /// As [`Reactor::of`], and the system's error.
    pub fn pair<R: Runtime>(runtime: &R) -> io::Result<(Self, Self)> {
        let reactor = Reactor::of_system(runtime)?;
        let (a, b) = net::UnixStream::pair()?;
        Ok((
            Self::with_reactor(&reactor, a)?,
            Self::with_reactor(&reactor, b)?,
        ))
    }

    /// Takes one of the standard library's, which waits by `runtime`'s reactor from now on. Makes
    /// it non-blocking.
    ///
    /// # Errors
    ///
    /// As [`Reactor::of`], and the system's error.
    pub fn from_std<R: Runtime>(runtime: &R, stream: net::UnixStream) -> io::Result<Self> {
        Self::with_reactor(&Reactor::of_system(runtime)?, stream)
    }

    /// As [`from_std`](Self::from_std), for callers that have the reactor.
    ///
    /// # Errors
    ///
    /// The runtime is shut down: [`is_shutdown`](crate::is_shutdown); and the system's error.
    pub fn with_reactor(reactor: &Reactor, stream: net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let io = reactor.register(stream)?;
        Ok(Self { io })
    }

    /// Turns it into the standard library's again, which blocks.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::into_std`](crate::TcpStream::into_std).
    pub fn into_std(self) -> io::Result<net::UnixStream> {
        let stream = self.io.into_socket()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    /// Two halves, for two owners.
    #[must_use]
    pub fn into_split(self) -> (OwnedReadHalf<Self>, OwnedWriteHalf<Self>) {
        split::split(self)
    }

    /// As [`TcpStream::shutdown`](crate::TcpStream::shutdown).
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self.io.own()?.shutdown(how) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    /// Its own address.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket()?.local_addr()
    }

    /// The peer's address.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket()?.peer_addr()
    }
}

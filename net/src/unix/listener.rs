//! Accepting connections: [`UnixListener`].

use std::{
    io,
    os::unix::net::{self, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready},
};

use fourway_adapt::timer::Sleep;
use fourway_core::Runtime;
use futures_core::Stream;

use super::UnixStream;
use crate::{
    Reactor,
    io::{Direction, Io},
    pause::Pause,
    split,
};

/// Accepts connections between processes of a machine. Made by
/// [`Net::listen_unix`](crate::Net::listen_unix).
///
/// Dropping it closes it and leaves its file, as the standard library's.
#[derive(Debug)]
pub struct UnixListener {
    io: Io<net::UnixListener>,
    reactor: Reactor,
    pause: Pause,
}

split::descriptor!(UnixListener);

impl UnixListener {
    /// Takes one of the standard library's, which waits by `runtime`'s reactor from now on. Makes
    /// it non-blocking.
    ///
    /// # Errors
    ///
    /// As [`Reactor::of`], and the system's error.
    pub fn from_std<R: Runtime>(runtime: &R, listener: net::UnixListener) -> io::Result<Self> {
        Self::with_reactor(Reactor::of_system(runtime)?, listener)
    }

    pub(crate) fn with_reactor(reactor: Reactor, listener: net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            io: reactor.register(listener)?,
            reactor,
            pause: Pause::default(),
        })
    }

    /// Turns it into the standard library's again, which blocks.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::into_std`](crate::TcpStream::into_std).
    pub fn into_std(self) -> io::Result<net::UnixListener> {
        let listener = self.io.into_socket()?;
        listener.set_nonblocking(false)?;
        Ok(listener)
    }

    /// The next connection, and its peer's address. Any number of tasks may wait for one.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::accept`](crate::TcpListener::accept).
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses no connection: the next call gives it.
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        self.pause.wait(&self.io).await?;
        let accepted = self
            .io
            .run(Direction::Read, net::UnixListener::accept)
            .await;
        self.pause.after(accepted.and_then(|it| self.adopt(it)))
    }

    /// As [`TcpListener::incoming`](crate::TcpListener::incoming).
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming {
            listener: self,
            pause: None,
        }
    }

    fn adopt(
        &self,
        (stream, peer): (net::UnixStream, SocketAddr),
    ) -> io::Result<(UnixStream, SocketAddr)> {
        Ok((UnixStream::with_reactor(&self.reactor, stream)?, peer))
    }

    /// Its address.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket()?.local_addr()
    }
}

/// The connections of a listener. Made by [`UnixListener::incoming`].
///
/// For one task at a time: it keeps the last waker. [`UnixListener::accept`] serves many.
#[derive(Debug)]
#[must_use = "nothing is accepted before it is polled"]
pub struct UnixIncoming<'a> {
    listener: &'a UnixListener,
    pause: Option<Sleep>,
}

impl Stream for UnixIncoming<'_> {
    type Item = io::Result<(UnixStream, SocketAddr)>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { listener, pause } = self.get_mut();
        if let Err(error) = ready!(listener.pause.poll_wait(cx, &listener.io, pause)) {
            return Poll::Ready(Some(Err(error)));
        }
        let accept = net::UnixListener::accept;
        let accepted = ready!(listener.io.poll(cx, Direction::Read, accept));
        let accepted = accepted.and_then(|it| listener.adopt(it));
        Poll::Ready(Some(listener.pause.after(accepted)))
    }
}

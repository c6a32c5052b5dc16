//! Accepting connections: [`TcpListener`].

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use fourway_adapt::timer::Sleep;
use fourway_core::Runtime;
use futures_core::Stream;

use super::TcpStream;
use crate::{
    Reactor,
    io::{Direction, Io},
    pause::{Pause, is_of_one_connection},
    provide::Listener,
    split,
};

/// Accepts TCP connections. Made by [`Net::listen_tcp`](crate::Net::listen_tcp).
///
/// Dropping it closes it: connections that wait to be accepted are reset.
#[derive(Debug)]
pub struct TcpListener {
    io: Io<std::net::TcpListener>,
    reactor: Reactor,
    pause: Pause,
}

split::descriptor!(TcpListener);

impl TcpListener {
    /// Takes one of the standard library's, which waits by `runtime`'s reactor from now on. Makes
    /// it non-blocking.
    ///
    /// # Errors
    ///
    /// As [`Reactor::of`], and the system's error.
    pub fn from_std<R: Runtime>(runtime: &R, listener: std::net::TcpListener) -> io::Result<Self> {
        Self::with_reactor(&Reactor::of(runtime)?, listener)
    }

    /// As [`from_std`](Self::from_std), for callers that have the reactor.
    ///
    /// # Errors
    ///
    /// The runtime is shut down: [`is_shutdown`](crate::is_shutdown); and the system's error.
    pub fn with_reactor(reactor: &Reactor, listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            io: reactor.register(listener)?,
            reactor: reactor.clone(),
            pause: Pause::default(),
        })
    }

    /// One of a runtime's own network.
    pub(super) fn provided(reactor: Reactor, listener: Box<dyn Listener>) -> Self {
        Self {
            io: Io::provide(listener),
            reactor,
            pause: Pause::default(),
        }
    }

    /// Turns it into the standard library's again, which blocks.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::into_std`].
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        let listener = self.io.into_socket()?;
        listener.set_nonblocking(false)?;
        Ok(listener)
    }

    /// The next connection, and its peer's address. Any number of tasks may wait for one.
    ///
    /// # Errors
    ///
    /// * The runtime is shut down: [`is_shutdown`](crate::is_shutdown). Every later call fails,
    ///   too.
    /// * Descriptors have run out: [`is_exhausted`](crate::is_exhausted). Connections that are not
    ///   yet accepted go on waiting.
    /// * Other errors of the system, which are rare. Errors of one connection, which is gone, are
    ///   skipped.
    ///
    /// After an error of the system the next call waits before it tries again: a millisecond at
    /// first, and twice as long after each failure in a row, up to half a second. So a loop that
    /// calls it again at once does not spin. The shutdown ends this wait.
    /// [`is_final`](crate::is_final) recognises the errors after which no call will succeed.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses no connection: the next call gives it.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        if self.io.provided().is_some() {
            return poll_fn(|cx| self.poll_provided(cx)).await;
        }
        self.pause.wait(&self.io).await?;
        let accepted = self.io.run(Direction::Read, accept).await;
        self.pause.after(accepted.and_then(|it| self.adopt(it)))
    }

    /// Connections as a stream without an end: after the shutdown it gives
    /// [`is_shutdown`](crate::is_shutdown) again and again.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming {
            listener: self,
            pause: None,
        }
    }

    /// Of a runtime's own network.
    fn poll_provided(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let provided = self.io.waiting()?.ok_or(io::ErrorKind::Unsupported)?;
        let (stream, peer) = ready!(provided.poll(cx, |it, cx| it.poll_accept(cx)))?;
        Poll::Ready(Ok((TcpStream::provided(stream), peer)))
    }

    fn adopt(
        &self,
        (stream, peer): (std::net::TcpStream, SocketAddr),
    ) -> io::Result<(TcpStream, SocketAddr)> {
        Ok((TcpStream::with_reactor(&self.reactor, stream)?, peer))
    }

    /// Its address.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self.io.provided() {
            Some(provided) => provided.local_addr(),
            None => self.io.socket()?.local_addr(),
        }
    }
}

fn accept(listener: &std::net::TcpListener) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    loop {
        match listener.accept() {
            Err(error) if is_of_one_connection(&error) => {}
            result => return result,
        }
    }
}

/// The connections of a listener. Made by [`TcpListener::incoming`].
///
/// For one task at a time: it keeps the last waker. [`TcpListener::accept`] serves many.
#[derive(Debug)]
#[must_use = "nothing is accepted before it is polled"]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
    pause: Option<Sleep>,
}

impl Stream for Incoming<'_> {
    type Item = io::Result<(TcpStream, SocketAddr)>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { listener, pause } = self.get_mut();
        if listener.io.provided().is_some() {
            return listener.poll_provided(cx).map(Some);
        }
        if let Err(error) = ready!(listener.pause.poll_wait(cx, &listener.io, pause)) {
            return Poll::Ready(Some(Err(error)));
        }
        let accepted = ready!(listener.io.poll(cx, Direction::Read, accept));
        let accepted = accepted.and_then(|it| listener.adopt(it));
        Poll::Ready(Some(listener.pause.after(accepted)))
    }
}

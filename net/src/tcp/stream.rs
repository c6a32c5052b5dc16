//! A connection: [`TcpStream`].

use std::{
    future::poll_fn,
    io,
    net::{Shutdown, SocketAddr},
    sync::atomic::Ordering,
    time::Duration,
};

use fourway_core::Runtime;
use socket2::SockRef;

use crate::{
    Keepalive, OwnedReadHalf, OwnedWriteHalf, Reactor,
    io::{Direction, Io},
    options::{buffer_size, linger},
    provide::Stream,
    split,
};

/// A TCP connection. Made by [`Net::connect_tcp`](crate::Net::connect_tcp) and
/// [`TcpListener::accept`](crate::TcpListener::accept).
///
/// Reads and writes by `AsyncRead` and `AsyncWrite` of `futures-io`. Dropping it closes it, as the
/// standard library's: bytes that the system has taken are still sent, unless the peer sends bytes
/// that are not read any more, which resets the connection.
///
/// Options that have no method here: `socket2::SockRef::from(&stream)`.
///
/// In a forked child, one from before the fork is still the parent's. There every method that would
/// change it gives [`is_forked`](crate::is_forked); addresses and options can be read.
///
/// Of a runtime with a network of its own, such as a simulation, it has no descriptor. Options are
/// kept, and have no effect; `AsFd` lends a placeholder's descriptor, and panics if the process has
/// none left for it: see [`provide::Stream`](crate::provide::Stream).
#[derive(Debug)]
pub struct TcpStream {
    pub(super) io: Io<std::net::TcpStream>,
}

split::stream!(TcpStream);
split::descriptor!(TcpStream);

impl TcpStream {
    /// Takes one of the standard library's, which waits by `runtime`'s reactor from now on. Makes
    /// it non-blocking.
    ///
    /// # Errors
    ///
    /// As [`Reactor::of`], and the system's error.
    pub fn from_std<R: Runtime>(runtime: &R, stream: std::net::TcpStream) -> io::Result<Self> {
        Self::with_reactor(&Reactor::of(runtime)?, stream)
    }

    /// As [`from_std`](Self::from_std), for callers that have the reactor.
    ///
    /// # Errors
    ///
    /// The runtime is shut down: [`is_shutdown`](crate::is_shutdown); and the system's error.
    pub fn with_reactor(reactor: &Reactor, stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let io = reactor.register(stream)?;
        Ok(Self { io })
    }

    /// One of a runtime's own network.
    pub(super) fn provided(stream: Box<dyn Stream>) -> Self {
        let io = Io::provide(stream);
        Self { io }
    }

    /// Turns it into the standard library's again, which blocks.
    ///
    /// # Errors
    ///
    /// In a forked child, for one from before the fork: [`is_forked`](crate::is_forked); for one
    /// without a descriptor: [`Unsupported`](io::ErrorKind::Unsupported); and the system's error.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        let stream = self.io.into_socket()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    /// Two halves, for two owners.
    #[must_use]
    pub fn into_split(self) -> (OwnedReadHalf<Self>, OwnedWriteHalf<Self>) {
        split::split(self)
    }

    /// The next bytes, without taking them. Waits until there are some; with an empty buffer it
    /// gives 0 at once, as reading does.
    ///
    /// # Errors
    ///
    /// As reading.
    ///
    /// # Cancel safety
    ///
    /// Dropping it takes nothing.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        let provided = self.io.waiting()?;
        if buf.is_empty() {
            self.io.check_fork()?;
            return Ok(0);
        }
        if let Some(provided) = provided {
            return poll_fn(|cx| provided.poll(cx, |it, cx| it.poll_peek(cx, buf))).await;
        }
        self.io
            .run(Direction::Read, |stream| stream.peek(buf))
            .await
    }

    /// Waits until there are bytes to read, or an end or an error.
    ///
    /// For connections that may be silent for long: no buffer is needed before.
    ///
    /// # Errors
    ///
    /// As reading.
    ///
    /// # Cancel safety
    ///
    /// Dropping it has no effect.
    pub async fn readable(&self) -> io::Result<()> {
        // An end counts as readable.
        self.peek(&mut [0]).await.map(drop)
    }

    /// Shuts down reading, writing or both. After writing is shut down, the peer reads an end, once
    /// it has read the earlier bytes. It has no effect on a stream that was shut down, or that the
    /// peer has reset.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let result = match self.io.waiting()? {
            Some(provided) => provided.socket.shutdown(how),
            None => self.io.own()?.shutdown(how),
        };
        match result {
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
        match self.io.provided() {
            Some(provided) => provided.local_addr(),
            None => self.io.socket()?.local_addr(),
        }
    }

    /// The peer's address.
    ///
    /// # Errors
    ///
    /// The system's error: the peer may be gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self.io.provided() {
            Some(provided) => provided.peer_addr(),
            None => self.io.socket()?.peer_addr(),
        }
    }

    /// Takes the pending error of the socket, if there is one.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.io.own()?.take_error()
    }

    /// Are written bytes sent at once, without waiting for more (`TCP_NODELAY`)?
    ///
    /// # Errors
    ///
    /// The system's error, as for all options below.
    pub fn nodelay(&self) -> io::Result<bool> {
        match self.io.provided_nodelay() {
            Some(yes) => Ok(yes.load(Ordering::Relaxed)),
            None => self.io.socket()?.nodelay(),
        }
    }

    /// Sets [`nodelay`](Self::nodelay).
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn set_nodelay(&self, yes: bool) -> io::Result<()> {
        match self.io.waiting()? {
            Some(provided) => {
                // Relaxed: nothing else depends on it.
                provided.nodelay.store(yes, Ordering::Relaxed);
                Ok(())
            }
            None => self.io.own()?.set_nodelay(yes),
        }
    }

    /// How many hops a packet lives.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn ttl(&self) -> io::Result<u32> {
        self.io.socket()?.ttl()
    }

    /// Sets [`ttl`](Self::ttl).
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn set_ttl(&self, hops: u32) -> io::Result<()> {
        self.io.own()?.set_ttl(hops)
    }

    /// Has the system probe a silent peer; `None`: no probes.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn set_keepalive(&self, keepalive: Option<Keepalive>) -> io::Result<()> {
        let socket = self.own_options()?;
        match keepalive {
            Some(keepalive) => socket.set_tcp_keepalive(&keepalive.to_socket2()),
            None => socket.set_keepalive(false),
        }
    }

    /// Is a silent peer probed?
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn keepalive(&self) -> io::Result<bool> {
        self.options()?.keepalive()
    }

    /// What to do with unsent bytes on drop: `Some(Duration::ZERO)` discards them and resets the
    /// connection; `None`, the default, goes on sending them. Other times, rounded up to whole
    /// seconds, make the drop block, which async code must not do.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn set_linger(&self, time: Option<Duration>) -> io::Result<()> {
        let time = time.map(linger);
        match self.io.waiting()? {
            Some(provided) => provided.socket.set_linger(time),
            None => self.own_options()?.set_linger(time),
        }
    }

    /// How many unread bytes the system keeps.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn recv_buffer_size(&self) -> io::Result<usize> {
        self.options()?.recv_buffer_size()
    }

    /// Sets [`recv_buffer_size`](Self::recv_buffer_size). Linux makes it twice that. The system has
    /// a limit of its own, and takes it for more.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
        self.own_options()?.set_recv_buffer_size(buffer_size(bytes))
    }

    /// How many unsent bytes the system keeps.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn send_buffer_size(&self) -> io::Result<usize> {
        self.options()?.send_buffer_size()
    }

    /// Sets [`send_buffer_size`](Self::send_buffer_size), as
    /// [`set_recv_buffer_size`](Self::set_recv_buffer_size).
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        self.own_options()?.set_send_buffer_size(buffer_size(bytes))
    }

    /// To read them.
    fn options(&self) -> io::Result<SockRef<'_>> {
        Ok(SockRef::from(self.io.socket()?))
    }

    /// To set them.
    fn own_options(&self) -> io::Result<SockRef<'_>> {
        Ok(SockRef::from(self.io.own()?))
    }
}

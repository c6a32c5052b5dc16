//! Datagrams: [`UdpSocket`].

use std::{
    future::{Future, IntoFuture, poll_fn},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use fourway_core::Runtime;
use socket2::SockRef;

use crate::{
    Endpoint, Reactor,
    endpoint::no_address,
    io::{Direction, Io},
    options::buffer_size,
    provide::Datagrams,
    split,
};

/// A UDP socket to be made. Made by [`Net::bind_udp`](crate::Net::bind_udp), and bound when it
/// is awaited.
#[derive(Debug)]
#[must_use = "nothing is bound before it is awaited"]
pub struct BindUdp<R> {
    runtime: R,
    on: Endpoint,
}

impl<R: Runtime> BindUdp<R> {
    pub(crate) fn new(runtime: R, on: Endpoint) -> Self {
        Self { runtime, on }
    }

    async fn run(self) -> io::Result<UdpSocket> {
        let reactor = Reactor::of(&self.runtime)?;
        let addresses = self.on.resolve(&self.runtime).await?;
        if addresses.is_empty() {
            // The standard library has another kind for it than connecting and listening have.
            return Err(no_address());
        }
        if let Some(network) = reactor.network() {
            let mut last = no_address();
            for address in addresses {
                match network.bind(address) {
                    Ok(socket) => return Ok(UdpSocket::provided(socket)),
                    Err(error) => last = error,
                }
            }
            return Err(last);
        }
        let socket = std::net::UdpSocket::bind(&*addresses)?;
        UdpSocket::with_reactor(&reactor, socket)
    }
}

impl<R: Runtime> IntoFuture for BindUdp<R> {
    type Output = io::Result<UdpSocket>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// A UDP socket. Any number of tasks may wait in its methods.
///
/// A datagram that is longer than the receive buffer is cut, as on every system. Forked children:
/// [`TcpStream`](crate::TcpStream).
///
/// Of a runtime with a network of its own, such as a simulation, it has no descriptor:
/// [`send_by`](Self::send_by), [`poll_recv_by`](Self::poll_recv_by) and multicast groups give
/// [`Unsupported`](io::ErrorKind::Unsupported), and options are as those of a
/// [`TcpStream`](crate::TcpStream).
#[derive(Debug)]
pub struct UdpSocket {
    io: Io<std::net::UdpSocket>,
}

split::descriptor!(UdpSocket);

impl UdpSocket {
    /// Takes one of the standard library's, which waits by `runtime`'s reactor from now on. Makes
    /// it non-blocking. For options that have to be set before it is bound, make it by `socket2`.
    ///
    /// # Errors
    ///
    /// As [`Reactor::of`], and the system's error.
    pub fn from_std<R: Runtime>(runtime: &R, socket: std::net::UdpSocket) -> io::Result<Self> {
        Self::with_reactor(&Reactor::of(runtime)?, socket)
    }

    /// As [`from_std`](Self::from_std), for callers that have the reactor.
    ///
    /// # Errors
    ///
    /// The runtime is shut down: [`is_shutdown`](crate::is_shutdown); and the system's error.
    pub fn with_reactor(reactor: &Reactor, socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let io = reactor.register(socket)?;
        Ok(Self { io })
    }

    /// One of a runtime's own network.
    fn provided(socket: Box<dyn Datagrams>) -> Self {
        let io = Io::provide(socket);
        Self { io }
    }

    /// Turns it into the standard library's again, which blocks.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::into_std`](crate::TcpStream::into_std).
    pub fn into_std(self) -> io::Result<std::net::UdpSocket> {
        let socket = self.io.into_socket()?;
        socket.set_nonblocking(false)?;
        Ok(socket)
    }

    /// Sets the peer of [`send`](Self::send) and [`recv`](Self::recv). It sends nothing and does
    /// not wait.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        if let Some(provided) = self.io.waiting()? {
            return provided.socket.connect(peer);
        }
        self.io.own()?.connect(peer)
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// The system's error; [`is_shutdown`](crate::is_shutdown).
    ///
    /// # Cancel safety
    ///
    /// If dropped before it is ready, it has sent nothing.
    pub async fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        if let Some(provided) = self.io.waiting()? {
            return poll_fn(|cx| provided.poll(cx, |it, cx| it.poll_send(cx, datagram, Some(to))))
                .await;
        }
        let send = |socket: &std::net::UdpSocket| socket.send_to(datagram, to);
        self.io.run(Direction::Write, send).await
    }

    /// Receives a datagram, and gives its sender.
    ///
    /// # Errors
    ///
    /// The system's error; [`is_shutdown`](crate::is_shutdown).
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses no datagram.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        if let Some(provided) = self.io.waiting()? {
            return poll_fn(|cx| provided.poll(cx, |it, cx| it.poll_recv(cx, buf))).await;
        }
        let recv = |socket: &std::net::UdpSocket| socket.recv_from(buf);
        self.io.run(Direction::Read, recv).await
    }

    /// As [`recv_from`](Self::recv_from), without taking it.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        if let Some(provided) = self.io.waiting()? {
            return poll_fn(|cx| provided.poll(cx, |it, cx| it.poll_peek(cx, buf))).await;
        }
        let peek = |socket: &std::net::UdpSocket| socket.peek_from(buf);
        self.io.run(Direction::Read, peek).await
    }

    /// Sends a datagram to the peer of [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to). [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) may
    /// concern an earlier datagram.
    ///
    /// # Cancel safety
    ///
    /// As [`send_to`](Self::send_to).
    pub async fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        if let Some(provided) = self.io.waiting()? {
            return poll_fn(|cx| provided.poll(cx, |it, cx| it.poll_send(cx, datagram, None)))
                .await;
        }
        let send = |socket: &std::net::UdpSocket| socket.send(datagram);
        self.io.run(Direction::Write, send).await
    }

    /// Receives a datagram of the peer of [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    ///
    /// # Cancel safety
    ///
    /// As [`recv_from`](Self::recv_from).
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(provided) = self.io.waiting()? {
            let received = poll_fn(|cx| provided.poll(cx, |it, cx| it.poll_recv(cx, buf))).await;
            return received.map(|(length, _)| length);
        }
        let recv = |socket: &std::net::UdpSocket| socket.recv(buf);
        self.io.run(Direction::Read, recv).await
    }

    /// As [`send`](Self::send), by the caller's own operation, such as one that sends many
    /// datagrams at a time. It is tried again whenever there may be room, until its result is not
    /// [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// The operation's error; [`is_shutdown`](crate::is_shutdown).
    ///
    /// # Cancel safety
    ///
    /// If dropped before it is ready, the operation has only given "would block".
    pub async fn send_by<T>(
        &self,
        op: impl FnMut(&std::net::UdpSocket) -> io::Result<T>,
    ) -> io::Result<T> {
        self.io.run(Direction::Write, op).await
    }

    /// As [`recv`](Self::recv), by the caller's own operation, as for [`send_by`](Self::send_by).
    /// It keeps the last waker, and so serves one task. It does not disturb the waits of the async
    /// methods.
    ///
    /// # Errors
    ///
    /// As [`send_by`](Self::send_by).
    pub fn poll_recv_by<T>(
        &self,
        cx: &mut Context<'_>,
        op: impl FnMut(&std::net::UdpSocket) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.io.poll(cx, Direction::Read, op)
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

    /// The address of the peer of [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// The system's error: there may be no peer.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self.io.provided() {
            Some(provided) => provided.peer_addr(),
            None => self.io.socket()?.peer_addr(),
        }
    }

    /// May it send to broadcast addresses?
    ///
    /// # Errors
    ///
    /// The system's error, as for all below.
    pub fn set_broadcast(&self, yes: bool) -> io::Result<()> {
        self.io.own()?.set_broadcast(yes)
    }

    /// How many hops a datagram lives.
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

    /// Joins a group, by the interface with that address.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.system()?.join_multicast_v4(&group, &interface)
    }

    /// Leaves a group.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.system()?.leave_multicast_v4(&group, &interface)
    }

    /// Joins a group, by the interface with that number.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn join_multicast_v6(&self, group: Ipv6Addr, interface: u32) -> io::Result<()> {
        self.system()?.join_multicast_v6(&group, interface)
    }

    /// Leaves a group.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn leave_multicast_v6(&self, group: Ipv6Addr, interface: u32) -> io::Result<()> {
        self.system()?.leave_multicast_v6(&group, interface)
    }

    /// How many unreceived bytes the system keeps. Linux doubles the value.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(self.io.own()?).set_recv_buffer_size(buffer_size(bytes))
    }

    /// How many unsent bytes the system keeps. Linux doubles the value.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(self.io.own()?).set_send_buffer_size(buffer_size(bytes))
    }

    /// The system's socket, for what would have an effect outside of a network of the runtime's own.
    fn system(&self) -> io::Result<&std::net::UdpSocket> {
        match self.io.provided() {
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
            None => self.io.own(),
        }
    }
}

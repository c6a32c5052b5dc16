//! Sockets that a runtime brings itself, such as those of a simulated network.
//!
//! For implementers of runtimes and layers. Users have [`Net`](crate::Net), and need not know whether
//! a [`TcpStream`](crate::TcpStream) is of the system or of a [`Network`].
//!
//! A runtime [installs](install) its network among its
//! [extensions](fourway_core::Spawner::extensions). From then on each TCP and UDP socket of the
//! runtime, and each name, is the network's. Such a runtime has no sockets of the system: those that
//! are made from descriptors (`from_std`, Unix sockets, pipes of child processes, signals) give
//! [`Unsupported`](std::io::ErrorKind::Unsupported), so that nothing leaves a simulation unnoticed.
//! `AsFd`, which cannot fail, lends a placeholder.
//!
//! What needs a descriptor, of a socket that has none: see [`Stream`].

use std::{
    fmt,
    future::Future,
    io,
    net::{Shutdown, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use fourway_core::{Runtime, implement::Extensions};

use crate::error::Refused;

/// A future of an operation.
pub type Boxed<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// Sockets for one runtime.
///
/// Its methods are called in tasks and closures of the runtime, and on other threads. None of them
/// blocks, and a future that is dropped has made nothing.
///
/// # Errors
///
/// The kinds of the system's errors, as users tell them apart by these:
/// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused), [`AddrInUse`](io::ErrorKind::AddrInUse)
/// and so on. After [`close`](Self::close): [`shut_down`].
pub trait Network: Send + Sync + 'static {
    /// Connects to one address; from the address `from`, if there is one. Happy eyeballs and time
    /// limits are the caller's.
    fn connect(&self, to: SocketAddr, from: Option<SocketAddr>) -> Boxed<Box<dyn Stream>>;

    /// Listens on an address; on port 0, on one that is free.
    ///
    /// # Errors
    ///
    /// See the [trait](Self#errors).
    fn listen(&self, on: SocketAddr) -> io::Result<Box<dyn Listener>>;

    /// A socket for datagrams at an address; on port 0, at one that is free.
    ///
    /// # Errors
    ///
    /// See the [trait](Self#errors).
    fn bind(&self, on: SocketAddr) -> io::Result<Box<dyn Datagrams>>;

    /// The addresses of a name, each with that port. The name is none that is an address itself.
    fn resolve(&self, name: &str, port: u16) -> Boxed<Vec<SocketAddr>>;

    /// The shutdown of the runtime begins: from now on each operation, including those that wait,
    /// gives [`shut_down`]. Called once.
    fn close(&self);
}

/// A connection of a [`Network`].
///
/// A poll that gives `Pending` keeps the waker, beside those that earlier polls of other tasks have
/// left, and wakes all of them when one of them may go on. Dropping it closes the connection, and
/// never blocks.
///
/// A [`TcpStream`](crate::TcpStream) that has one inside behaves as one of the system, but for what
/// needs a descriptor:
///
/// * `into_std` gives [`Unsupported`](io::ErrorKind::Unsupported).
/// * `set_nodelay` and `nodelay` keep the value, which has no effect.
/// * Other options (`ttl`, `keepalive`, buffer sizes), and the descriptor that `AsFd` lends, are of a
///   placeholder: a socket of the system without a connection, which is made when it is needed first.
///   It keeps the options, and they have no effect. That of a [`UdpSocket`](crate::UdpSocket) cannot
///   send: it is connected to itself and shut down for writing.
///
/// Its polls may be ready without end. After some in a row the caller yields.
pub trait Stream: fmt::Debug + Send + Sync + 'static {
    /// Reads what there is; 0 is the end.
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// As `poll_read`, without taking the bytes.
    fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes as much as there is room for.
    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>>;

    /// As [`TcpStream::shutdown`](crate::TcpStream::shutdown).
    ///
    /// # Errors
    ///
    /// As there.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;

    /// Its own address.
    ///
    /// # Errors
    ///
    /// If there is none any more.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The peer's address.
    ///
    /// # Errors
    ///
    /// If there is none any more.
    fn peer_addr(&self) -> io::Result<SocketAddr>;

    /// As [`TcpStream::set_linger`](crate::TcpStream::set_linger).
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported), by default.
    fn set_linger(&self, time: Option<Duration>) -> io::Result<()> {
        let _ = time;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Accepts connections of a [`Network`]. As to wakers, a placeholder and the drop, as [`Stream`].
pub trait Listener: fmt::Debug + Send + Sync + 'static {
    /// The next connection, and its peer's address. An error is given to the caller as it is;
    /// there is no pause before the next call.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Stream>, SocketAddr)>>;

    /// Its address.
    ///
    /// # Errors
    ///
    /// If there is none any more.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Datagrams of a [`Network`]. As to wakers, a placeholder and the drop, as [`Stream`].
///
/// [`UdpSocket::send_by`](crate::UdpSocket::send_by),
/// [`poll_recv_by`](crate::UdpSocket::poll_recv_by) and multicast groups need a socket of the
/// system, and give [`Unsupported`](io::ErrorKind::Unsupported).
pub trait Datagrams: fmt::Debug + Send + Sync + 'static {
    /// Sends a datagram; without an address, to the peer of [`connect`](Self::connect).
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        datagram: &[u8],
        to: Option<SocketAddr>,
    ) -> Poll<io::Result<usize>>;

    /// Receives a datagram and gives its sender. One that is longer than `buf` is cut.
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>>;

    /// As `poll_recv`, without taking it.
    fn poll_peek(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>>;

    /// From now on datagrams are received from this peer alone.
    ///
    /// # Errors
    ///
    /// See [`Network`](Network#errors).
    fn connect(&self, peer: SocketAddr) -> io::Result<()>;

    /// Its own address.
    ///
    /// # Errors
    ///
    /// If there is none any more.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The peer of [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected).
    fn peer_addr(&self) -> io::Result<SocketAddr>;
}

/// The runtime with these extensions has the sockets of `network` from now on. `false` if it has
/// another network, or is shut down: then `network` is dropped, and closed before that if the other
/// one, or the shutdown, came at the same time.
///
/// The network is closed and dropped when the extensions are closed. Until then they keep it, so it
/// must not keep a handle on the runtime.
pub fn install(extensions: &Extensions, network: impl Network) -> bool {
    let mut ours = None;
    let installed = extensions.get_or_insert_with(|| {
        let made = Installed(Arc::new(Closes(Arc::new(network))));
        ours.insert(made).clone()
    });
    // Ours was made, but another call may have been faster to put its own there.
    let is_ours = |ours: Installed| installed.is_some_and(|it| Arc::ptr_eq(&it.0, &ours.0));
    ours.is_some_and(is_ours)
}

/// The error of sockets whose runtime is shut down: [`is_shutdown`](crate::is_shutdown).
#[must_use]
pub fn shut_down() -> io::Error {
    Refused::ShutDown.error()
}

/// The network of the runtime, if it brings one.
pub(crate) fn of<R: Runtime>(runtime: &R) -> Option<Arc<dyn Network>> {
    in_extensions(&runtime.extensions()?)
}

pub(crate) fn in_extensions(extensions: &Extensions) -> Option<Arc<dyn Network>> {
    let installed: Installed = extensions.get()?;
    Some(installed.0.0.clone())
}

/// The extensions' value. Sockets and reactors have the network alone, so that the value is dropped
/// with the extensions.
#[derive(Clone)]
struct Installed(Arc<Closes>);

struct Closes(Arc<dyn Network>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

//! Sockets on every runtime: [`Net`].

use std::{fs, io, path::Path};

use fourway_core::Runtime;

use crate::{
    BindUdp, ConnectTcp, ConnectUnix, Endpoint, ListenTcp, Reactor, Resolve, UnixDatagram,
    UnixListener, unix::check_path,
};

/// Sockets on any runtime.
///
/// Every [`Runtime`] has it; there is nothing to implement. The [crate's docs](crate) describe the
/// common behaviour and the reactors.
///
/// # Examples
///
/// ```no_run
/// use fourway_core::{Runtime, Spawner};
/// use fourway_net::{Net, is_shutdown};
/// use futures_util::io::copy;
/// use std::io;
///
/// /// Sends back what it receives, until the runtime is shut down.
/// async fn echo<R: Runtime>(rt: R) -> io::Result<()> {
///     let listener = rt.listen_tcp("127.0.0.1:7777").await?;
///     loop {
///         match listener.accept().await {
///             Ok((stream, _peer)) => rt.spawn_detached(async move {
///                 let (read, mut write) = stream.into_split();
///                 let _ = copy(read, &mut write).await;
///             }),
///             Err(error) if is_shutdown(&error) => return Ok(()),
///             Err(error) => eprintln!("{error}"),
///         }
///     }
/// }
/// ```
pub trait Net: Runtime {
    /// Connects to a host, by happy eyeballs (RFC 8305): it tries the addresses of a name one
    /// after the other, IPv6 and IPv4 in turn, starts the next when one has failed or has taken
    /// 250 ms, and gives the stream that is connected first.
    ///
    /// Set what differs from the defaults, and await it: see [`ConnectTcp`].
    ///
    /// # Errors
    ///
    /// A [`ConnectError`](crate::ConnectError) in an `io::Error` if no address could be connected
    /// to; an error of [`resolve`](Self::resolve); [`is_shutdown`](crate::is_shutdown);
    /// [`is_forked`](crate::is_forked) on a runtime from before a fork.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the sockets that it has made.
    fn connect_tcp(&self, to: impl Into<Endpoint>) -> ConnectTcp<Self> {
        ConnectTcp::new(self.clone(), to.into())
    }

    /// Listens on an address; on port 0, on one that is free: see
    /// [`local_addr`](crate::TcpListener::local_addr). Of several addresses, on the first that
    /// can be had.
    ///
    /// Set what differs from the defaults, and await it: see [`ListenTcp`].
    ///
    /// # Errors
    ///
    /// The system's error for the last address that was tried, such as
    /// [`AddrInUse`](io::ErrorKind::AddrInUse); an error of [`resolve`](Self::resolve);
    /// [`is_shutdown`](crate::is_shutdown); [`is_forked`](crate::is_forked) on a runtime from before a
    /// fork.
    fn listen_tcp(&self, on: impl Into<Endpoint>) -> ListenTcp<Self> {
        ListenTcp::new(self.clone(), on.into())
    }

    /// A UDP socket at an address.
    ///
    /// # Errors
    ///
    /// As [`listen_tcp`](Self::listen_tcp).
    fn bind_udp(&self, on: impl Into<Endpoint>) -> BindUdp<Self> {
        BindUdp::new(self.clone(), on.into())
    }

    /// Connects to a Unix socket.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) if there is none,
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if there is no listener,
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a path that is empty, too long or has a NUL
    /// byte, [`is_shutdown`](crate::is_shutdown), [`is_forked`](crate::is_forked), and other errors of the system.
    ///
    /// So it knows no abstract names of Linux; the standard library's `UnixStream::connect_addr`
    /// does, and [`UnixStream::from_std`](crate::UnixStream::from_std) takes its stream.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the sockets that it has made.
    fn connect_unix(&self, path: impl AsRef<Path>) -> ConnectUnix<Self> {
        ConnectUnix::new(self.clone(), path.as_ref().to_owned())
    }

    /// Listens on a Unix socket, which it creates at `path`. The caller removes the file after
    /// closing the listener.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if `path` exists, even without a listener;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) as for [`connect_unix`](Self::connect_unix);
    /// [`is_shutdown`](crate::is_shutdown), [`is_forked`](crate::is_forked), and other errors of the
    /// system.
    fn listen_unix(&self, path: impl AsRef<Path>) -> io::Result<UnixListener> {
        // Before it makes a file.
        let reactor = Reactor::of_system(self)?;
        let path = path.as_ref();
        check_path(path)?;
        let listener = std::os::unix::net::UnixListener::bind(path)?;
        UnixListener::with_reactor(reactor, listener).inspect_err(|_| remove(path))
    }

    /// A Unix socket for datagrams, which it makes at `path`.
    ///
    /// # Errors
    ///
    /// As [`listen_unix`](Self::listen_unix).
    fn bind_unix_datagram(&self, path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        // Before it makes a file.
        let reactor = Reactor::of_system(self)?;
        let path = path.as_ref();
        check_path(path)?;
        let socket = std::os::unix::net::UnixDatagram::bind(path)?;
        UnixDatagram::with_reactor(&reactor, socket).inspect_err(|_| remove(path))
    }

    /// The addresses of a name, in the order that the system prefers, by its own resolver
    /// (`getaddrinfo`), in an [offloaded](fourway_core::Offload) closure.
    ///
    /// # Errors
    ///
    /// The resolver's error; [`is_shutdown`](crate::is_shutdown); [`is_forked`](crate::is_forked);
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a text that is not `HOST:PORT`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives up the result. The system has no way to interrupt the resolver: a hung one
    /// holds a slot of the pool until the system's own timeout.
    fn resolve(&self, endpoint: impl Into<Endpoint>) -> Resolve<Self> {
        let endpoint = endpoint.into();
        let runtime = self.clone();
        Resolve { runtime, endpoint }
    }

    /// The reactor of the runtime's sockets.
    ///
    /// # Errors
    ///
    /// As [`Reactor::of`].
    fn reactor(&self) -> io::Result<Reactor> {
        Reactor::of(self)
    }
}

/// Removes the file of a socket that was bound here and could not be registered, so that the path is
/// free for the next try.
fn remove(path: &Path) {
    // Another process may have removed it already; the caller has an error to give in any case.
    let _ = fs::remove_file(path);
}

impl<R: Runtime> Net for R {}

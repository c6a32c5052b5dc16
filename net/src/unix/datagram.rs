//! Datagrams: [`UnixDatagram`].

use std::{
    io,
    os::unix::net::{self, SocketAddr},
    path::Path,
    time::Duration,
};

use fourway_core::Runtime;

use crate::{
    Reactor,
    io::{Direction, Io},
    pause::pause,
    split,
};

/// A Unix socket for datagrams. Made by
/// [`Net::bind_unix_datagram`](crate::Net::bind_unix_datagram), [`pair`](Self::pair) and
/// [`unbound`](Self::unbound). Any number of tasks may wait in its methods.
#[derive(Debug)]
pub struct UnixDatagram {
    io: Io<net::UnixDatagram>,
}

split::descriptor!(UnixDatagram);

impl UnixDatagram {
    /// Two sockets that are connected with each other.
    ///
    /// # Errors
    ///
    /// As [`Reactor::of`], and the system's error.
    pub fn pair<R: Runtime>(runtime: &R) -> io::Result<(Self, Self)> {
        let (a, b) = net::UnixDatagram::pair()?;
        Ok((Self::from_std(runtime, a)?, Self::from_std(runtime, b)?))
    }

    /// A socket without an address, to send from.
    ///
    /// # Errors
    ///
    /// As [`Reactor::of`], and the system's error.
    pub fn unbound<R: Runtime>(runtime: &R) -> io::Result<Self> {
        Self::from_std(runtime, net::UnixDatagram::unbound()?)
    }

    /// Takes one of the standard library's, which waits by `runtime`'s reactor from now on. Makes
    /// it non-blocking.
    ///
    /// # Errors
    ///
    /// As [`Reactor::of`], and the system's error.
    pub fn from_std<R: Runtime>(runtime: &R, socket: net::UnixDatagram) -> io::Result<Self> {
        Self::with_reactor(&Reactor::of_system(runtime)?, socket)
    }

    pub(crate) fn with_reactor(reactor: &Reactor, socket: net::UnixDatagram) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let io = reactor.register(socket)?;
        Ok(Self { io })
    }

    /// Turns it into the standard library's again, which blocks.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::into_std`](crate::TcpStream::into_std).
    pub fn into_std(self) -> io::Result<net::UnixDatagram> {
        let socket = self.io.into_socket()?;
        socket.set_nonblocking(false)?;
        Ok(socket)
    }

    /// Sets the peer of [`send`](Self::send) and [`recv`](Self::recv). It does not wait.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.io.own()?.connect(path)
    }

    /// Sends a datagram to the socket at `path`. Waits while its queue is full: it tries again after
    /// a millisecond, and later every 64 ms, as the system tells the room of a peer's queue only to
    /// sockets that are [connected](Self::connect) with it. So a sender that is faster than its peer
    /// is slowed, also if it is the only one: to about a queue's length (10 datagrams by default on
    /// Linux) a millisecond. Of the shutdown it learns at its next try.
    ///
    /// # Errors
    ///
    /// The system's error; [`is_shutdown`](crate::is_shutdown).
    ///
    /// # Cancel safety
    ///
    /// If dropped before it is ready, it has sent nothing.
    pub async fn send_to(&self, datagram: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        let path = path.as_ref();
        send_by(&self.io, |socket| socket.send_to(datagram, path)).await
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
        let recv = |socket: &net::UnixDatagram| socket.recv_from(buf);
        self.io.run(Direction::Read, recv).await
    }

    /// Sends a datagram to the peer. Waits while its queue is full.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    ///
    /// # Cancel safety
    ///
    /// As [`send_to`](Self::send_to).
    pub async fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        let send = |socket: &net::UnixDatagram| socket.send(datagram);
        self.io.run(Direction::Write, send).await
    }

    /// Receives a datagram of the peer.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    ///
    /// # Cancel safety
    ///
    /// As [`recv_from`](Self::recv_from).
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let recv = |socket: &net::UnixDatagram| socket.recv(buf);
        self.io.run(Direction::Read, recv).await
    }

    /// Its own address.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket()?.local_addr()
    }
}

/// Sends by `op`, which names the peer.
///
/// "Would block" has two reasons. The socket's own buffer is full: the reactor tells when there is
/// room. Or the peer's queue is full, while the socket itself counts as ready: waiting for readiness
/// would spin. So after the second "would block" in a row it pauses.
async fn send_by<T>(
    io: &Io<net::UnixDatagram>,
    mut op: impl FnMut(&net::UnixDatagram) -> io::Result<T>,
) -> io::Result<T> {
    let mut length = Duration::from_millis(1);
    loop {
        let mut is_first = true;
        let send = |socket: &net::UnixDatagram| match op(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !is_first => Ok(None),
            sent => {
                is_first = false;
                sent.map(Some)
            }
        };
        if let Some(sent) = io.run(Direction::Write, send).await? {
            return Ok(sent);
        }
        pause(io, length).await?;
        length = (length * 2).min(Duration::from_millis(64));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use fourway_core::Timer;
    use fourway_testing::{Counter, each, run};
    use futures_util::future::{Either, select};

    use super::*;

    /// A peer's queue that another sender has filled, of which no event tells.
    #[test]
    fn a_full_queue_is_looked_at_now_and_then() {
        each(|rt| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("socket");
            let peer = net::UnixDatagram::bind(&path).unwrap();
            let filler = net::UnixDatagram::unbound().unwrap();
            filler.set_nonblocking(true).unwrap();
            while filler.send_to(b"x", &path).is_ok() {}
            let tries = Counter::default();
            run(&rt, async {
                let sender = UnixDatagram::unbound(&rt).unwrap();
                let mut sending = pin!(send_by(&sender.io, |socket| {
                    tries.add();
                    socket.send_to(b"late", &path)
                }));
                let moment = pin!(rt.sleep(Duration::from_millis(100)));
                let waits = select(sending.as_mut(), moment).await;
                assert!(matches!(waits, Either::Right(_)));
                // Doubled each time, from a millisecond on: spinning would be thousands.
                assert!(tries.get() < 60, "{} tries", tries.get());
                // Room for one.
                peer.recv(&mut [0; 8]).unwrap();
                assert_eq!(sending.await.unwrap(), 4);
            });
        });
    }
}

//! Addresses without an answer, without a listener, or without a route.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

/// An address with a listener whose queue is full and that never accepts: the system does not
/// answer new connections.
#[derive(Debug)]
pub struct Silent {
    address: SocketAddr,
    _sockets: Vec<Socket>,
}

impl Silent {
    /// On the loopback.
    ///
    /// # Panics
    ///
    /// If listening there fails.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it opens sockets")]
    pub fn new() -> Self {
        let make = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = make();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut sockets = vec![listener];
        for _ in 0..8 {
            let socket = make();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            sockets.push(socket);
        }
        Self {
            address,
            _sockets: sockets,
        }
    }

    /// The address, for as long as this lives.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// An address without a listener, which belongs to a socket, so that no listener gets it meanwhile.
#[derive(Debug)]
pub struct Nobody {
    address: SocketAddr,
    _socket: Socket,
}

impl Nobody {
    /// On the loopback.
    ///
    /// # Panics
    ///
    /// If a socket cannot be bound there.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it opens a socket")]
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        Self {
            address: socket.local_addr().unwrap().as_socket().unwrap(),
            _socket: socket,
        }
    }

    /// The address, for as long as this lives.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// An unreachable address, and the kind of error that the system reports for it.
///
/// Linux always has one: it has no route for a stream to the broadcast address of the loopback. On
/// other systems it is an address for documentation (RFC 5737, RFC 3849), unless the machine has a
/// route for it.
#[must_use]
pub fn unreachable() -> Option<(SocketAddr, io::ErrorKind)> {
    let candidates = [
        SocketAddr::from(([127, 255, 255, 255], 9)),
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9)),
        SocketAddr::from(([198, 51, 100, 1], 9)),
    ];
    candidates.into_iter().find_map(|address| {
        // Without a route the error comes at once. A later error is a router's answer.
        let error = TcpStream::connect_timeout(&address, Duration::from_millis(100)).err()?;
        let kind = error.kind();
        is_unreachable(kind).then_some((address, kind))
    })
}

fn is_unreachable(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable};
    matches!(kind, HostUnreachable | NetworkUnreachable)
}

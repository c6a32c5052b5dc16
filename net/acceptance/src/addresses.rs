//! Addresses without an answer.

use std::net::SocketAddr;

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

/// An address without a listener.
///
/// # Panics
///
/// If listening on the loopback fails.
#[must_use]
pub fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

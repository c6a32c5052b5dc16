//! Pairs of sockets, and addresses at which nobody answers.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::{io, net::SocketAddr};

use fourway_core::Runtime;
use fourway_net::{Net, TcpListener, TcpStream};
use futures_util::future::join;
use socket2::{Domain, Socket, Type};

/// One that listens, on a free port.
pub(crate) async fn listener<R: Runtime>(rt: &R) -> (TcpListener, SocketAddr) {
    let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Two streams that are connected with each other.
pub(crate) async fn pair<R: Runtime>(rt: &R) -> (TcpStream, TcpStream) {
    let (listener, address) = listener(rt).await;
    let (a, b) = join(rt.connect_tcp(address).into_future(), listener.accept()).await;
    (a.unwrap(), b.unwrap().0)
}

/// An address at which somebody listens and nobody accepts, nor is there room for one more that
/// waits: the system does not answer whoever connects.
pub(crate) struct Silent {
    pub(crate) address: SocketAddr,
    _sockets: Vec<Socket>,
}

impl Silent {
    pub(crate) fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut sockets = vec![listener];
        for _ in 0..8 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            sockets.push(socket);
        }
        Self {
            address,
            _sockets: sockets,
        }
    }
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

pub(crate) fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.kind(),
    }
}

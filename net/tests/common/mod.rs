//! Pairs of sockets.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::{io, net::SocketAddr};

use fourway_core::Runtime;
use fourway_net::{Net, TcpListener, TcpStream};
use futures_util::future::join;

/// A listener on a free port.
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

pub(crate) fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.kind(),
    }
}

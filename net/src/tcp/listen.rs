//! Beginning to listen: [`ListenTcp`].

use std::{
    future::{Future, IntoFuture},
    io,
    net::SocketAddr,
    pin::Pin,
};

use fourway_core::Runtime;
use socket2::{Domain, Protocol, Socket, Type};

use super::TcpListener;
use crate::{Endpoint, Reactor, endpoint::no_address, options::buffer_size};

/// A listener to be made. Made by [`Net::listen_tcp`](crate::Net::listen_tcp), and begun when
/// it is awaited.
#[derive(Debug)]
#[must_use = "nothing listens before it is awaited"]
pub struct ListenTcp<R> {
    runtime: R,
    on: Endpoint,
    options: Options,
}

#[derive(Debug)]
struct Options {
    backlog: i32,
    reuse_address: bool,
    reuse_port: bool,
    only_v6: Option<bool>,
    recv_buffer: Option<usize>,
    send_buffer: Option<usize>,
}

impl<R: Runtime> ListenTcp<R> {
    pub(crate) fn new(runtime: R, on: Endpoint) -> Self {
        let options = Options {
            backlog: 1024,
            reuse_address: true,
            reuse_port: false,
            only_v6: None,
            recv_buffer: None,
            send_buffer: None,
        };
        Self {
            runtime,
            on,
            options,
        }
    }

    /// How many connections may wait to be accepted. Default: 1024; the system has its own limit.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.options.backlog = i32::try_from(connections).unwrap_or(i32::MAX);
        self
    }

    /// May it listen where connections of an earlier listener have not quite ended
    /// (`SO_REUSEADDR`)? Default: yes.
    pub fn reuse_address(mut self, yes: bool) -> Self {
        self.options.reuse_address = yes;
        self
    }

    /// May other listeners use the same port, so that the system spreads connections among them
    /// (`SO_REUSEPORT`)? Default: no.
    pub fn reuse_port(mut self, yes: bool) -> Self {
        self.options.reuse_port = yes;
        self
    }

    /// Does an IPv6 address refuse connections by IPv4? Default: the system's setting.
    pub fn only_v6(mut self, yes: bool) -> Self {
        self.options.only_v6 = Some(yes);
        self
    }

    /// The initial value for accepted connections: see
    /// [`TcpStream::set_recv_buffer_size`](crate::TcpStream::set_recv_buffer_size).
    pub fn recv_buffer_size(mut self, bytes: usize) -> Self {
        self.options.recv_buffer = Some(bytes);
        self
    }

    /// As [`recv_buffer_size`](Self::recv_buffer_size), for the send buffer.
    pub fn send_buffer_size(mut self, bytes: usize) -> Self {
        self.options.send_buffer = Some(bytes);
        self
    }

    async fn run(self) -> io::Result<TcpListener> {
        let reactor = Reactor::of(&self.runtime)?;
        let addresses = self.on.resolve(&self.runtime).await?;
        let mut last = no_address();
        for address in addresses {
            let listens = match reactor.network() {
                Some(network) => network
                    .listen(address)
                    .map(|listener| TcpListener::provided(reactor.clone(), listener)),
                None => listen(address, &self.options)
                    .and_then(|socket| TcpListener::with_reactor(&reactor, socket)),
            };
            match listens {
                Ok(listener) => return Ok(listener),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn listen(address: SocketAddr, options: &Options) -> io::Result<std::net::TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(options.reuse_address)?;
    if options.reuse_port {
        reuse_port(&socket)?;
    }
    if let (Some(only), true) = (options.only_v6, address.is_ipv6()) {
        socket.set_only_v6(only)?;
    }
    if let Some(bytes) = options.recv_buffer {
        socket.set_recv_buffer_size(buffer_size(bytes))?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(buffer_size(bytes))?;
    }
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

#[cfg(not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin")))]
fn reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))]
fn reuse_port(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl<R: Runtime> IntoFuture for ListenTcp<R> {
    type Output = io::Result<TcpListener>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

//! `fourway-net`'s sockets as a network: [`Sockets`].

use std::{io, net::SocketAddr, process::ExitStatus, time::Duration};

use fourway_core::AnyRuntime;
use fourway_net::{
    Net, TcpListener, TcpStream, UdpSocket,
    process::{self, Command, Stdio},
    signal::{self, SignalKind},
};
use futures_util::{AsyncReadExt, AsyncWriteExt};

use crate::network::{
    Boxed, Child, DatagramSocket, Datagrams, Listener, Network, Processes, Signals, Stream,
};

/// The sockets, child processes and signals of [`fourway_net`] on a runtime.
#[derive(Clone, Debug)]
pub struct Sockets(AnyRuntime);

impl Sockets {
    /// On `runtime`.
    #[must_use]
    pub fn new(runtime: AnyRuntime) -> Self {
        Self(runtime)
    }
}

impl Network for Sockets {
    fn runtime(&self) -> &AnyRuntime {
        &self.0
    }

    fn listen(&self) -> Boxed<'static, Box<dyn Listener>> {
        let rt = self.0.clone();
        Box::pin(async move {
            let listener = rt.listen_tcp("127.0.0.1:0").await?;
            Ok(Box::new(listener) as _)
        })
    }

    fn connect(&self, to: Vec<SocketAddr>, time: Duration) -> Boxed<'static, Box<dyn Stream>> {
        let connect = self.0.connect_tcp(to).timeout(time);
        let connect = connect.attempt_delay(Duration::from_millis(10));
        Box::pin(async move { Ok(Box::new(connect.await?) as _) })
    }

    fn processes(&self) -> Option<&dyn Processes> {
        Some(self)
    }

    fn datagrams(&self) -> Option<&dyn Datagrams> {
        Some(self)
    }
}

impl Listener for TcpListener {
    fn address(&self) -> SocketAddr {
        self.local_addr().expect("it listens")
    }

    fn accept(&self) -> Boxed<'_, Box<dyn Stream>> {
        Box::pin(async { Ok(Box::new(TcpListener::accept(self).await?.0) as _) })
    }
}

impl Stream for TcpStream {
    fn read<'a>(&'a mut self, buf: &'a mut [u8]) -> Boxed<'a, usize> {
        Box::pin(AsyncReadExt::read(self, buf))
    }

    fn peek<'a>(&'a mut self, buf: &'a mut [u8]) -> Boxed<'a, usize> {
        Box::pin(TcpStream::peek(self, buf))
    }

    fn write<'a>(&'a mut self, buf: &'a [u8]) -> Boxed<'a, usize> {
        Box::pin(AsyncWriteExt::write(self, buf))
    }

    fn end(&mut self) -> Boxed<'_, ()> {
        Box::pin(self.close())
    }

    fn reset(self: Box<Self>) {
        let reset = self.set_linger(Some(Duration::ZERO));
        reset.expect("a connection can be reset");
    }

    fn into_std(self: Box<Self>) -> io::Result<std::net::TcpStream> {
        TcpStream::into_std(*self)
    }
}

impl Datagrams for Sockets {
    fn bind(&self) -> Boxed<'static, Box<dyn DatagramSocket>> {
        let rt = self.0.clone();
        Box::pin(async move { Ok(Box::new(rt.bind_udp("127.0.0.1:0").await?) as _) })
    }
}

impl DatagramSocket for UdpSocket {
    fn address(&self) -> SocketAddr {
        self.local_addr().expect("it is bound")
    }

    fn send_to<'a>(&'a self, datagram: &'a [u8], to: SocketAddr) -> Boxed<'a, usize> {
        Box::pin(UdpSocket::send_to(self, datagram, to))
    }

    fn recv_from<'a>(&'a self, buf: &'a mut [u8]) -> Boxed<'a, (usize, SocketAddr)> {
        Box::pin(UdpSocket::recv_from(self, buf))
    }
}

impl Processes for Sockets {
    fn start(&self, script: &str, kill_on_drop: bool) -> io::Result<Box<dyn Child>> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).kill_on_drop(kill_on_drop);
        command.stdin(Stdio::null());
        // So that a child left by mistake holds no pipe of the test's parent.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Box::new(command.spawn(&self.0)?))
    }

    fn signals(&self) -> io::Result<Box<dyn Signals>> {
        let signals = signal::Signals::new(&self.0, [SignalKind::USER1])?;
        Ok(Box::new(signals))
    }
}

impl Child for process::Child {
    fn id(&self) -> u32 {
        process::Child::id(self)
    }

    fn wait(&mut self) -> Boxed<'_, ExitStatus> {
        Box::pin(process::Child::wait(self))
    }
}

impl Signals for signal::Signals {
    fn recv(&mut self) -> Boxed<'_, ()> {
        Box::pin(async { signal::Signals::recv(self).await.map(drop) })
    }
}

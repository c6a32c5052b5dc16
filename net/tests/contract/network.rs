//! What the cases see of sockets, and ours: [`Ours`].

use std::{future::Future, io, net::SocketAddr, pin::Pin, time::Duration};

use fourway_core::{AnyRuntime, Timer};
use fourway_net::{Net, TcpListener, TcpStream};
use futures_util::{AsyncReadExt, AsyncWriteExt};

pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

pub(crate) trait Network: Send + Sync {
    fn runtime(&self) -> &AnyRuntime;
    fn listen(&self) -> Boxed<'static, Box<dyn Listener>>;
    fn connect(&self, to: Vec<SocketAddr>, time: Duration) -> Boxed<'static, Box<dyn Stream>>;
}

pub(crate) trait Listener: Send + Sync {
    fn address(&self) -> SocketAddr;
    fn accept(&self) -> Boxed<'_, Box<dyn Stream>>;
}

pub(crate) trait Stream: Send {
    fn read<'a>(&'a mut self, buf: &'a mut [u8]) -> Boxed<'a, usize>;
    fn peek<'a>(&'a mut self, buf: &'a mut [u8]) -> Boxed<'a, usize>;
    fn write<'a>(&'a mut self, buf: &'a [u8]) -> Boxed<'a, usize>;
    fn end(&mut self) -> Boxed<'_, ()>;
    fn reset(self: Box<Self>);
    fn into_std(self: Box<Self>) -> io::Result<std::net::TcpStream>;
}

pub(crate) struct Ours(pub(crate) AnyRuntime);

impl Network for Ours {
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
}

impl Listener for TcpListener {
    fn address(&self) -> SocketAddr {
        self.local_addr().unwrap()
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
        self.set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn into_std(self: Box<Self>) -> io::Result<std::net::TcpStream> {
        TcpStream::into_std(*self)
    }
}

/// A moment, for what is not to happen.
pub(crate) async fn moment(rt: &AnyRuntime) {
    rt.sleep(Duration::from_millis(20)).await;
}

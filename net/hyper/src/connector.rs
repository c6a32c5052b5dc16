//! hyper-util's client over our sockets: [`client`] and [`Connector`].

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use fourway_core::{AnyRuntime, Runtime};
use fourway_net::{Net, TcpStream};
use hyper::{
    Uri,
    body::Body,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::client::legacy::{
    Client,
    connect::{Connected, Connection},
};
use tower_service::Service;

use crate::{Hyper, Io, stall::Stall};

/// A client with a pool of connections and the default settings. For other settings, give a
/// [`Connector`] to hyper-util's builder, as this does.
///
/// # Examples
///
/// ```
/// # use fourway_core::Runtime;
/// # use http_body_util::Empty;
/// # async fn example<R: Runtime>(rt: R) -> Result<(), Box<dyn std::error::Error>> {
/// let client = fourway_hyper::client::<_, Empty<&[u8]>>(&rt);
/// let response = client.get("http://example.org/".parse()?).await?;
/// assert!(response.status().is_success());
/// # Ok(())
/// # }
/// ```
pub fn client<R, B>(runtime: &R) -> Client<Connector<R>, B>
where
    R: Runtime,
    B: Body<Data: Send> + Send,
{
    Client::builder(Hyper::new(runtime.clone()))
        .timer(Hyper::new(runtime.clone()))
        .pool_timer(Hyper::new(runtime.clone()))
        .build(Connector::new(runtime.clone()))
}

/// Connects hyper-util's client by TCP: it looks up names and takes the address that answers first,
/// as [`Net::connect_tcp`] does.
///
/// Only for `http`. A connector for `https` is wrapped around this one, which then has to take the
/// addresses that it is given: see [`enforce_http`](Self::enforce_http).
#[derive(Clone, Debug)]
pub struct Connector<R> {
    runtime: R,
    timeout: Option<Duration>,
    send_timeout: Option<Duration>,
    nodelay: bool,
    enforce_http: bool,
}

impl<R> Connector<R> {
    /// With the defaults below.
    pub fn new(runtime: R) -> Self {
        Self {
            runtime,
            timeout: None,
            send_timeout: None,
            nodelay: true,
            enforce_http: true,
        }
    }

    /// At most this long for a connection, by the runtime's clock. Default: the system's limit,
    /// which is minutes.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// How long the socket of a connection may have no room for more of a request; then the
    /// connection ends with an error of the kind `TimedOut`. Default: no limit.
    ///
    /// Without it, a server that answers before it has read a request, and then reads no more, keeps
    /// the connection and the request's body for ever: hyper has no limit for that. Linux tells of
    /// room only when about a third of the socket's send buffer is free, so a server that takes less
    /// than that in this time is cut off, too.
    #[must_use]
    pub fn send_timeout(mut self, time: Duration) -> Self {
        self.send_timeout = Some(time);
        self
    }

    /// Is what is written sent at once? Default: yes.
    #[must_use]
    pub fn nodelay(mut self, yes: bool) -> Self {
        self.nodelay = yes;
        self
    }

    /// Is an address of another scheme than `http` refused? Default: yes, as what is asked for by
    /// `https` must not be sent in the clear.
    ///
    /// A connector that speaks TLS over this one, such as hyper-rustls' or hyper-tls', gives it the
    /// address of the request, and so needs it to take `https`. It then connects to port 443 if the
    /// address has none.
    #[must_use]
    pub fn enforce_http(mut self, yes: bool) -> Self {
        self.enforce_http = yes;
        self
    }
}

impl<R: Runtime> Service<Uri> for Connector<R> {
    type Response = HttpStream;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let Self {
            runtime,
            timeout,
            send_timeout,
            nodelay,
            enforce_http,
        } = self.clone();
        Connecting(Box::pin(async move {
            let scheme = uri.scheme_str().unwrap_or("http");
            if enforce_http && scheme != "http" {
                let problem = format!(
                    "`{scheme}` is not `http`: wrap a connector that knows it, and set \
                     `enforce_http(false)`"
                );
                return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
            }
            let Some(host) = uri.host() else {
                let problem = "the address has no host";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
            };
            let default = if scheme == "https" { 443 } else { 80 };
            let connect = runtime.connect_tcp((host, uri.port_u16().unwrap_or(default)));
            let connect = connect.nodelay(nodelay);
            let stream = match timeout {
                Some(time) => connect.timeout(time).await?,
                None => connect.await?,
            };
            let stall = send_timeout
                .map(|limit| Box::new(Stall::new(AnyRuntime::new(runtime), Some(limit))));
            let io = Io::new(stream);
            Ok(HttpStream { io, stall })
        }))
    }
}

/// A connection that is being made by a [`Connector`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Connecting(Pin<Box<dyn Future<Output = io::Result<HttpStream>> + Send>>);

impl Future for Connecting {
    type Output = io::Result<HttpStream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Connecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting").finish_non_exhaustive()
    }
}

/// The connection that a [`Connector`] gives.
pub struct HttpStream {
    io: Io<TcpStream>,
    /// Most connections have none, and those that have one seldom use it.
    stall: Option<Box<Stall<AnyRuntime>>>,
}

impl HttpStream {
    /// Keeps to the limit for sending.
    fn sent<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut self.stall {
            Some(stall) => stall.sent(cx, poll),
            None => poll,
        }
    }
}

impl Connection for HttpStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write(cx, buf);
        self.sent(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_flush(cx);
        self.sent(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_shutdown(cx);
        self.sent(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.sent(cx, poll)
    }
}

impl fmt::Debug for HttpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpStream").field(&self.io).finish()
    }
}

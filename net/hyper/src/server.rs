//! Serving connections until it is asked to stop: [`Server`].

mod connection;
mod connections;
mod pieces;
mod refusal;
mod streams;
mod watched;

use std::{
    error::Error,
    fmt,
    future::{Future, ready},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use fourway_core::{Runtime, cancel::CancellationToken};
use fourway_net::{TcpListener, TcpStream, is_final};
use futures_io::{AsyncRead, AsyncWrite};
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    service::Service,
};
use hyper_util::server::conn::auto;

pub use self::streams::StreamExecutor;
use self::{
    connection::{Connection, Limits},
    connections::Connections,
};
use crate::Hyper;

/// Serves HTTP/1 and HTTP/2, each connection in its own task.
///
/// # Examples
///
/// ```
/// use fourway_core::{Runtime, cancel::CancellationToken};
/// use fourway_hyper::Server;
/// use fourway_net::Net;
/// use hyper::{Response, service::service_fn};
/// use std::{convert::Infallible, io, time::Duration};
///
/// async fn serve<R: Runtime>(rt: &R, stop: &CancellationToken) -> io::Result<()> {
///     let listener = rt.listen_tcp("127.0.0.1:8080").await?;
///     let hello = service_fn(async |_| {
///         Ok::<_, Infallible>(Response::new(String::from("hello")))
///     });
///     let drain = Server::new(rt)
///         .max_connections(10_000)
///         .stop(stop) // then it accepts no more, and ends what runs
///         .grace(Duration::from_secs(10))
///         .serve(listener, hello)
///         .await;
///     println!("{} connections were cut off", drain.cut);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
#[must_use = "nothing is served before `serve` is awaited"]
pub struct Server<R> {
    limits: Limits<R>,
    max_connections: usize,
    stop: Option<CancellationToken>,
    grace: Duration,
    on_accept_error: Option<OnAcceptError>,
}

type OnAcceptError = Arc<dyn Fn(&io::Error) + Send + Sync>;
type OnMalformed = Arc<dyn Fn(SocketAddr, &hyper::Error) + Send + Sync>;
type OnTimeout = Arc<dyn Fn(SocketAddr, Timeout) + Send + Sync>;

/// The reason why a connection was closed or an HTTP/2 stream reset: the peer was too slow. See
/// [`Server::on_timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Timeout {
    /// The head of a request began and was not complete in time: [`Server::head_timeout`].
    Head,
    /// The peer took nothing, or too little, of a response: [`Server::send_timeout`].
    Send,
}

/// How serving ended.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Drain {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Errors of `accept`, for example in a process without free descriptors.
    pub accept_errors: u64,
    /// Connections that had not ended at the end of the grace period, and were dropped. With HTTP/2 each
    /// counts once, however many requests it had.
    pub cut: usize,
    /// The error that ended the accept loop: the runtime was shut down, or the listener no longer
    /// listened. None after a requested stop.
    pub error: Option<io::Error>,
}

impl<R: Runtime> Server<R> {
    /// With the defaults below.
    pub fn new(runtime: &R) -> Self {
        let mut builder = auto::Builder::new(StreamExecutor::new(runtime.clone()));
        builder.http1().timer(Hyper::new(runtime.clone()));
        builder.http2().timer(Hyper::new(runtime.clone()));
        let limits = Limits {
            runtime: runtime.clone(),
            builder,
            first_byte: Some(Duration::from_secs(30)),
            head: Some(Duration::from_secs(30)),
            send: Some(Duration::from_secs(60)),
            send_rate: 240,
            ping: Some(Duration::from_secs(60)),
            ping_interval: Duration::from_secs(30),
            nodelay: true,
            on_timeout: None,
            on_malformed: None,
        };
        Self {
            limits,
            max_connections: usize::MAX,
            stop: None,
            grace: Duration::from_secs(30),
            on_accept_error: None,
        }
    }

    /// At most this many connections at a time; others wait to be accepted. Default: no limit
    /// but that of descriptors, which it survives ([one socket holds up no
    /// other](fourway_core::contract#NE-3)). A connection of HTTP/1 that was upgraded no longer counts: its
    /// stream belongs to the service. A tunnel of HTTP/2 is a stream of a connection, which counts.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// How long a new connection may take for its first byte and the handshake of
    /// [`serve_over`](Self::serve_over); then it is closed. Default: 30 seconds. Before its first
    /// byte a connection has no buffer.
    pub fn first_byte_timeout(mut self, time: Option<Duration>) -> Self {
        self.limits.first_byte = time;
        self
    }

    /// How long a connection may take until the head of a request is complete. The time starts
    /// with the connection (after a handshake), and with HTTP/1 again after each response, so it
    /// limits idle connections, too. After it the connection is closed. If an HTTP/1 request has
    /// begun, the client gets 408 first. Bytes that may still begin HTTP/2 get no answer. Default:
    /// 30 seconds.
    ///
    /// It limits an HTTP/2 connection only up to its first request. After that, the connection may be
    /// idle, and a head may be incomplete, for as long as the peer answers pings: see
    /// [`ping_timeout`](Self::ping_timeout).
    pub fn head_timeout(mut self, time: Option<Duration>) -> Self {
        self.limits.head = time;
        self
    }

    /// How long a socket may have no room for more of a response; then its connection is closed,
    /// because its peer takes nothing, or too little. Default: 60 seconds.
    ///
    /// Linux tells of room only when about a third of the socket's send buffer is free, which may
    /// be some hundred kilobytes. A slow peer that takes as much in this time stays connected; a peer
    /// that takes less is cut off.
    ///
    /// With HTTP/2 it also limits each stream whose response has bytes that wait for all of this time.
    /// The stream is reset, and the connection's other streams go on, if
    ///
    /// * no byte of it is sent in this time although the socket has room: the peer keeps its window
    ///   closed; or
    /// * it is sent too slowly, or waits for other streams that are: see
    ///   [`send_rate`](Self::send_rate).
    ///
    /// This is looked at once in this time, so it may take twice as long. If the response's last
    /// piece is what the peer does not take, hyper cannot reset the stream any more, and the
    /// connection is closed.
    ///
    /// It also limits the stream of a connection after an upgrade. The owner of that stream gets an
    /// error of the kind `TimedOut`, and [`on_timeout`](Self::on_timeout) is not called.
    pub fn send_timeout(mut self, time: Option<Duration>) -> Self {
        self.limits.send = time;
        self
    }

    /// How many bytes a second, on average over [`send_timeout`](Self::send_timeout), an HTTP/2 peer
    /// has to take for each stream that waits. Default: 240. 0: no such limit, and a peer that takes
    /// a byte of each stream in that time, or that keeps its socket full with one of them, keeps its
    /// other streams for as long.
    ///
    /// A stream that gets less is reset only if the peer takes less of all streams together than this
    /// rate for each of them. So a peer that takes 24,000 bytes a second can have 100 large responses
    /// at a time, in whatever order they come. HTTP/1 needs no such limit: see `send_timeout`.
    pub fn send_rate(mut self, bytes_a_second: u32) -> Self {
        self.limits.send_rate = bytes_a_second;
        self
    }

    /// How long an HTTP/2 peer may take to answer a ping; then its connection is closed. Otherwise, a
    /// peer that has vanished would keep its connection for ever. The server sends a ping when it has
    /// received no request and no piece of a body for [`ping_interval`](Self::ping_interval). Default:
    /// 60 seconds. `None`: no pings.
    ///
    /// The ping waits behind what the socket's send buffer has, so a peer that takes longer than this
    /// for those bytes is cut off, too. [`on_timeout`](Self::on_timeout) is not called.
    pub fn ping_timeout(mut self, time: Option<Duration>) -> Self {
        self.limits.ping = time;
        self
    }

    /// How long an HTTP/2 peer may send no request and no piece of a body before it gets a ping: see
    /// [`ping_timeout`](Self::ping_timeout). Default: 30 seconds.
    pub fn ping_interval(mut self, time: Duration) -> Self {
        self.limits.ping_interval = time;
        self
    }

    /// Calls `tell` with the peer of each connection that is closed, and each HTTP/2 stream that is
    /// reset, because of a [`Timeout`], but not for an idle connection. Default: no call.
    ///
    /// The task of the connection or of the stream calls it, so it must not block.
    pub fn on_timeout(
        mut self,
        tell: impl Fn(SocketAddr, Timeout) + Send + Sync + 'static,
    ) -> Self {
        self.limits.on_timeout = Some(Arc::new(tell));
        self
    }

    /// Calls `tell` with the peer of each connection of HTTP/1 that ends because the head of a request
    /// is malformed or too large, and with hyper's error for it (`hyper::Error::is_parse`). Default: no
    /// call.
    ///
    /// `service` does not see such a request. hyper answers it: by 431 or 414 if it is too large, and
    /// otherwise by 400; but a preface of HTTP/2 that comes after another request gets no answer
    /// (`is_parse_version_h2`).
    ///
    /// The task of the connection calls it, so it must not block.
    pub fn on_malformed(
        mut self,
        tell: impl Fn(SocketAddr, &hyper::Error) + Send + Sync + 'static,
    ) -> Self {
        self.limits.on_malformed = Some(Arc::new(tell));
        self
    }

    /// Is what is written sent at once? Default: yes.
    pub fn nodelay(mut self, yes: bool) -> Self {
        self.limits.nodelay = yes;
        self
    }

    /// Sets hyper's options; the executor and the timers are set already.
    ///
    /// hyper's `header_read_timeout`, `keep_alive_interval` and `keep_alive_timeout` have no effect
    /// here. hyper adds them to the present time, and panics in the task of a connection if that
    /// exceeds what an `Instant` can hold. [`head_timeout`](Self::head_timeout),
    /// [`ping_interval`](Self::ping_interval) and [`ping_timeout`](Self::ping_timeout) set them, and take
    /// any duration.
    pub fn configure(mut self, set: impl FnOnce(&mut auto::Builder<StreamExecutor<R>>)) -> Self {
        set(&mut self.limits.builder);
        self
    }

    /// When this is cancelled it stops: it closes the listener, tells each connection to end
    /// after the request that it is in, and waits for them for as long as
    /// [`grace`](Self::grace) says. Default: it stops with the runtime.
    ///
    /// It neither ends nor awaits connections of HTTP/1 that were upgraded, such as WebSockets: the
    /// service that has taken such a stream ends it. A tunnel of HTTP/2 is a stream of a connection,
    /// which is awaited and cut as any other.
    pub fn stop(mut self, token: &CancellationToken) -> Self {
        self.stop = Some(token.clone());
        self
    }

    /// How long connections may go on once it stops; then they are dropped, except for those of HTTP/1
    /// that were upgraded. Default: 30 seconds.
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace = time;
        self
    }

    /// Calls `tell` with each error of `accept`: the process has no descriptors or no memory for
    /// another connection ([`is_exhausted`](fourway_net::is_exhausted)), another error of the
    /// system, or the error that ends the loop ([`is_final`]). It is not called for an error of one
    /// connection, such as an abort by the peer. After an error the loop pauses for up to half a
    /// second ([one socket holds up no other](fourway_core::contract#NE-3)) and continues, so
    /// `tell` runs a few times a second at most. Default: no call; [`Drain::accept_errors`] counts
    /// the errors in any case.
    ///
    /// The future of [`serve`](Self::serve) calls `tell`, so `tell` must not block. If `tell`
    /// panics, that future panics.
    ///
    /// # Examples
    ///
    /// ```
    /// # use fourway_core::Runtime;
    /// # use fourway_hyper::Server;
    /// # use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// # fn example<R: Runtime>(rt: &R, failures: Arc<AtomicU64>) -> Server<R> {
    /// Server::new(rt).on_accept_error(move |_| {
    ///     failures.fetch_add(1, Ordering::Relaxed); // for the metrics
    /// })
    /// # }
    /// ```
    pub fn on_accept_error(mut self, tell: impl Fn(&io::Error) + Send + Sync + 'static) -> Self {
        self.on_accept_error = Some(Arc::new(tell));
        self
    }

    /// Accepts and serves until it is [stopped](Self::stop), its runtime is shut down, or the
    /// listener no longer listens ([`Drain::error`]). When it returns, the futures of `service` and the
    /// bodies of its responses are destroyed, also those of connections that were cut.
    ///
    /// `service` is cloned for each connection; its futures run in the connection's task, on the
    /// runtime: they must not block. After any other error of `accept` the loop
    /// [reports](Self::on_accept_error) it and continues. A failed connection ends without a report,
    /// except for [timeouts](Self::on_timeout) and [malformed heads](Self::on_malformed): the service
    /// has seen its requests.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the listener and tells the connections to end as `stop` does, but
    /// waits for none, and cuts none off.
    pub async fn serve<S, B>(self, listener: TcpListener, service: S) -> Drain
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.serve_each(listener, move |_| service.clone()).await
    }

    /// As [`serve`](Self::serve), with a service that is made for each connection, and knows its
    /// peer. The returned future calls `make`.
    pub async fn serve_each<S, B>(
        self,
        listener: TcpListener,
        make: impl FnMut(SocketAddr) -> S,
    ) -> Drain
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let plain = |stream| ready(Ok::<TcpStream, io::Error>(stream));
        self.serve_over(listener, plain, make).await
    }

    /// As [`serve_each`](Self::serve_each), over what `shake_hands` makes of each stream: TLS,
    /// say, by an acceptor for streams of `futures-io`, such as `futures-rustls`'.
    ///
    /// It is called in the connection's task, once the peer has sent something, and may take as
    /// long as [`first_byte_timeout`](Self::first_byte_timeout). If it fails, the connection ends
    /// without a report.
    ///
    /// # Examples
    ///
    /// ```
    /// # use fourway_core::Runtime;
    /// # use fourway_hyper::Server;
    /// # use fourway_net::TcpListener;
    /// # use hyper::{Response, service::service_fn};
    /// use futures_rustls::{TlsAcceptor, rustls::ServerConfig};
    /// use std::{convert::Infallible, sync::Arc};
    ///
    /// async fn serve<R: Runtime>(rt: &R, listener: TcpListener, config: Arc<ServerConfig>) {
    ///     let tls = TlsAcceptor::from(config);
    ///     let hello = |_peer| {
    ///         service_fn(async |_| Ok::<_, Infallible>(Response::new(String::from("hello"))))
    ///     };
    ///     let shake_hands = move |stream| tls.accept(stream);
    ///     Server::new(rt).serve_over(listener, shake_hands, hello).await;
    /// }
    /// ```
    pub async fn serve_over<S, B, T, H>(
        self,
        listener: TcpListener,
        shake_hands: impl Fn(TcpStream) -> H + Send + Sync + 'static,
        mut make: impl FnMut(SocketAddr) -> S,
    ) -> Drain
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Future<Output = io::Result<T>> + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let stop = self.stop.clone().unwrap_or_default();
        let connections = Connections::default();
        // A child token, so that dropping this future ends the connections without cancelling the
        // caller's token.
        let ending = stop.child();
        let end = ending.clone().drop_guard();
        let limits = Arc::new(self.limits.applied());
        let runtime = limits.runtime.clone();
        let shake_hands = Arc::new(shake_hands);
        let cut = CancellationToken::new();
        let mut drain = Drain::default();
        let accepting = async {
            loop {
                connections.fewer_than(self.max_connections).await;
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        drain.accepted += 1;
                        let one = Arc::new(connections.one_more());
                        let connection = Connection {
                            stream,
                            peer,
                            service: make(peer),
                            limits: limits.clone(),
                            end: ending.clone(),
                            one: one.clone(),
                        };
                        let (cut, shake_hands) = (cut.clone(), shake_hands.clone());
                        runtime.spawn_detached(async move {
                            // Destroyed before it counts as ended.
                            let running = connection.run(&*shake_hands);
                            let _ = cut.run_until_cancelled(running).await;
                            drop(one);
                        });
                    }
                    Err(error) => {
                        drain.accept_errors += 1;
                        if let Some(tell) = &self.on_accept_error {
                            tell(&error);
                        }
                        if is_final(&error) {
                            drain.error = Some(error);
                            return;
                        }
                        // The loop continues: the next accept waits before it tries again.
                    }
                }
            }
        };
        let _ = ending.run_until_cancelled(accepting).await;
        drop(listener);
        drop(end);
        let drained = connections.fewer_than(1);
        if runtime.timeout(self.grace, drained).await.is_err() {
            drain.cut = connections.count();
            cut.cancel();
            connections.fewer_than(1).await;
        }
        drain
    }
}

impl<R: fmt::Debug> fmt::Debug for Server<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("runtime", &self.limits.runtime)
            .field("max_connections", &self.max_connections)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

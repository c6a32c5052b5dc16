//! Serving connections until it is asked to stop: [`Server`].

use std::{
    error::Error,
    future::{Future, poll_fn, ready},
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use fourway_core::{Runtime, cancel::CancellationToken, implement::wake};
use fourway_net::{TcpListener, TcpStream, is_forked, is_shutdown};
use futures_io::{AsyncRead, AsyncWrite};
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    rt::bounds::Http2ServerConnExec,
    service::Service,
};
use hyper_util::server::conn::auto;

use crate::{Hyper, Io};

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
    runtime: R,
    builder: auto::Builder<Hyper<R>>,
    max_connections: usize,
    first_byte: Option<Duration>,
    nodelay: bool,
    stop: Option<CancellationToken>,
    grace: Duration,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drain {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that had not ended at the end of the grace period, and were dropped.
    pub cut: usize,
}

impl<R: Runtime> Server<R> {
    /// With the defaults below.
    pub fn new(runtime: &R) -> Self {
        let mut builder = auto::Builder::new(Hyper::new(runtime.clone()));
        builder.http1().timer(Hyper::new(runtime.clone()));
        builder.http2().timer(Hyper::new(runtime.clone()));
        Self {
            runtime: runtime.clone(),
            builder,
            max_connections: usize::MAX,
            first_byte: Some(Duration::from_secs(30)),
            nodelay: true,
            stop: None,
            grace: Duration::from_secs(30),
        }
    }

    /// At most this many connections at a time; others wait to be accepted. Default: no limit
    /// but that of descriptors, which it survives (NE-3).
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// How long a new connection may be silent before it is closed, and then (with TLS: after the
    /// handshake) how long it may take to send its first request. Default: 30 seconds, as in hyper
    /// for the header of a request. A connection has no buffer until it sends its first byte.
    pub fn first_byte_timeout(mut self, time: Option<Duration>) -> Self {
        self.first_byte = time;
        self
    }

    /// Is what is written sent at once? Default: yes.
    pub fn nodelay(mut self, yes: bool) -> Self {
        self.nodelay = yes;
        self
    }

    /// Sets hyper's options; the executor and the timers are set already.
    pub fn configure(mut self, set: impl FnOnce(&mut auto::Builder<Hyper<R>>)) -> Self {
        set(&mut self.builder);
        self
    }

    /// When this is cancelled it stops: it closes the listener, tells each connection to end
    /// after the request that it is in, and waits for them for as long as
    /// [`grace`](Self::grace) says. Default: it stops with the runtime.
    pub fn stop(mut self, token: &CancellationToken) -> Self {
        self.stop = Some(token.clone());
        self
    }

    /// How long connections may go on once it stops; then they are dropped. Default: 30
    /// seconds.
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace = time;
        self
    }

    /// Accepts and serves until it is [stopped](Self::stop), or its runtime is shut down.
    ///
    /// `service` is cloned for each connection; its futures run in the connection's task, on the
    /// runtime: they must not block. A failed `accept` is skipped, as the next one waits if needed.
    /// A failed connection ends without a report: the service has seen its requests.
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
        Hyper<R>: Http2ServerConnExec<S::Future, B>,
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
        Hyper<R>: Http2ServerConnExec<S::Future, B>,
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
        Hyper<R>: Http2ServerConnExec<S::Future, B>,
    {
        let stop = self.stop.clone().unwrap_or_default();
        let connections = Connections::default();
        // A child token, so that dropping this future ends the connections without cancelling the
        // caller's token.
        let ending = stop.child();
        let end = ending.clone().drop_guard();
        let builder = Arc::new(self.builder.clone());
        let shake_hands = Arc::new(shake_hands);
        let cut = CancellationToken::new();
        let mut drain = Drain::default();
        let accepting = async {
            loop {
                connections.fewer_than(self.max_connections).await;
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        drain.accepted += 1;
                        let guard = connections.one_more();
                        let connection = Connection {
                            stream,
                            service: make(peer),
                            builder: builder.clone(),
                            runtime: self.runtime.clone(),
                            first_byte: self.first_byte,
                            nodelay: self.nodelay,
                            end: ending.clone(),
                        };
                        let (cut, shake_hands) = (cut.clone(), shake_hands.clone());
                        self.runtime.spawn_detached(async move {
                            // Destroyed before it counts as ended.
                            let running = connection.run(&*shake_hands);
                            let _ = cut.run_until_cancelled(running).await;
                            drop(guard);
                        });
                    }
                    Err(error) if is_shutdown(&error) || is_forked(&error) => return,
                    Err(_) => {}
                }
            }
        };
        let _ = ending.run_until_cancelled(accepting).await;
        drop(listener);
        drop(end);
        let drained = connections.fewer_than(1);
        if self.runtime.timeout(self.grace, drained).await.is_err() {
            drain.cut = connections.count();
            cut.cancel();
            connections.fewer_than(1).await;
        }
        drain
    }
}

struct Connection<R, S> {
    stream: TcpStream,
    service: S,
    builder: Arc<auto::Builder<Hyper<R>>>,
    runtime: R,
    first_byte: Option<Duration>,
    nodelay: bool,
    end: CancellationToken,
}

impl<R: Runtime, S> Connection<R, S> {
    async fn run<B, T, H>(self, shake_hands: &(impl Fn(TcpStream) -> H + Sync))
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Future<Output = io::Result<T>>,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
        Hyper<R>: Http2ServerConnExec<S::Future, B>,
    {
        if self.nodelay {
            // A stream that the peer has closed already has no options; reading from it will show
            // that.
            let _ = self.stream.set_nodelay(true);
        }
        let first = self.end.run_until_cancelled(async {
            self.stream.readable().await?;
            shake_hands(self.stream).await
        });
        let first = match self.first_byte {
            Some(time) => self.runtime.timeout(time, first).await,
            None => Ok(first.await),
        };
        // It was late, failed, or was told to end before its first request.
        let Ok(Ok(Ok(stream))) = first else { return };
        let io = Io::new(stream);
        let has_asked = Arc::new(AtomicBool::new(false));
        let service = Noting {
            service: self.service,
            called: has_asked.clone(),
        };
        let connection = self.builder.serve_connection_with_upgrades(io, service);
        let mut connection = pin!(connection);
        // hyper's own header timer begins when it knows the version. It does not run before the
        // first byte behind TLS, nor after a first byte that two versions share.
        let too_late = self.first_byte.map(|time| self.runtime.sleep(time));
        let mut too_late = pin!(too_late);
        let mut ending = pin!(Some(self.end.cancelled()));
        let served = poll_fn(|cx| {
            let is_ending = ending
                .as_mut()
                .as_pin_mut()
                .is_some_and(|it| it.poll(cx).is_ready());
            if is_ending {
                ending.set(None);
                connection.as_mut().graceful_shutdown();
            }
            // Before the timer is checked: bytes that have come by now count.
            if connection.as_mut().poll(cx).is_ready() {
                // The failure of a connection concerns only its peer.
                return Poll::Ready(());
            }
            // Relaxed: set in this task by the poll above, so there is nothing to order.
            if has_asked.load(Ordering::Relaxed) {
                too_late.set(None);
            }
            match too_late.as_mut().as_pin_mut() {
                Some(too_late) => too_late.poll(cx),
                None => Poll::Pending,
            }
        });
        served.await;
    }
}

/// A service that notes that it was called.
struct Noting<S> {
    service: S,
    called: Arc<AtomicBool>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> S::Future {
        self.called.store(true, Ordering::Relaxed);
        self.service.call(request)
    }
}

/// How many connections there are.
#[derive(Clone, Default)]
struct Connections(Arc<Mutex<Count>>);

#[derive(Default)]
struct Count {
    connections: usize,
    /// The waker of the waiter, the future of `serve`.
    waker: Option<Waker>,
}

impl Connections {
    fn one_more(&self) -> One {
        self.lock().connections += 1;
        One(self.clone())
    }

    fn count(&self) -> usize {
        self.lock().connections
    }

    fn fewer_than(&self, limit: usize) -> impl Future<Output = ()> + '_ {
        poll_fn(move |cx: &mut Context<'_>| {
            if self.count() < limit {
                return Poll::Ready(());
            }
            let waker = cx.waker().clone();
            let mut count = self.lock();
            // Checked again, as the count may have fallen meanwhile.
            if count.connections < limit {
                return Poll::Ready(());
            }
            let before = count.waker.replace(waker);
            drop(count);
            drop(before);
            Poll::Pending
        })
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        // No user code runs under this lock, so it cannot be poisoned.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection, until this is dropped.
struct One(Connections);

impl Drop for One {
    fn drop(&mut self) {
        let mut count = self.0.lock();
        count.connections -= 1;
        let waker = count.waker.take();
        drop(count);
        if let Some(waker) = waker {
            wake(waker);
        }
    }
}

impl<R: std::fmt::Debug> std::fmt::Debug for Server<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("runtime", &self.runtime)
            .field("max_connections", &self.max_connections)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}
